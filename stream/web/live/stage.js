// The big live view: one link's picture, what to say where there is none, and the faces in it.

import { conditionOf } from "../cameras/condition.js";
import { byId, setText } from "../page/dom.js";
import { Overlay } from "./overlay.js";

const FRESH_MS = 1500; // a picture younger than this is live
const STALLED_MS = 4000; // no picture for so long from a live camera: connect anew

/** Events: "name" with {camera, track, size} when a face was picked; "tracks"; "action". */
export class Stage extends EventTarget {
  #socket;
  #video = byId("video");
  #overlay;
  #link = null;
  #detach = null;
  #status = null;
  #lastFrameAt = -Infinity;
  #sinceLive = 0;

  constructor(socket) {
    super();
    this.#socket = socket;
    this.#overlay = new Overlay(byId("faces"), this.#video, (track) => this.pick(track));
    socket.addEventListener("tracks", ({ detail }) => this.#showTracks(detail));
    const counted = () => {
      this.#lastFrameAt = performance.now();
      this.#video.requestVideoFrameCallback(counted);
    };
    this.#video.requestVideoFrameCallback(counted);
    byId("fullscreen").addEventListener("click", () => {
      if (document.fullscreenElement) {
        document.exitFullscreen();
      } else {
        byId("stage").requestFullscreen?.();
      }
    });
    byId("veil-action").addEventListener("click", () => {
      const detail = byId("stage").dataset.state;
      this.dispatchEvent(new CustomEvent("action", { detail }));
    });
    setInterval(() => this.#link && this.#look(), 250);
  }

  get video() {
    return this.#video;
  }

  get camera() {
    return this.#link?.name ?? null;
  }

  get link() {
    return this.#link;
  }

  get size() {
    return this.#overlay.size;
  }

  get tracks() {
    return this.#overlay.tracks;
  }

  /** Ask for a face's name; the list beside the picture does too. */
  pick(track) {
    const detail = { camera: this.camera, track, size: this.size };
    this.dispatchEvent(new CustomEvent("name", { detail }));
  }

  /** Show a link's picture; null for none. */
  show(link) {
    this.#detach?.abort();
    this.#detach = new AbortController();
    this.#link = link;
    this.#status = null;
    this.#lastFrameAt = -Infinity;
    this.#video.srcObject = link?.stream ?? null;
    this.#clear();
    this.#socket.follow(link?.name ?? null);
    link?.addEventListener("stream", () => {
      this.#video.srcObject = link.stream;
    }, { signal: this.#detach.signal });
    this.#look();
  }

  /** Hear how the shown camera is doing. */
  update(status) {
    if (status?.state !== this.#status?.state) {
      this.#sinceLive = performance.now();
    }
    this.#status = status;
    this.#look();
  }

  #showTracks(message) {
    if (message.camera === this.camera) {
      this.#overlay.show(message);
      this.dispatchEvent(new Event("tracks"));
    }
  }

  #clear() {
    this.#overlay.clear();
    this.dispatchEvent(new Event("tracks"));
  }

  #look() {
    const isFresh = performance.now() - this.#lastFrameAt < FRESH_MS;
    byId("live-pill").hidden = !isFresh;
    const size = byId("hud-size");
    size.hidden = !isFresh || !this.#status;
    setText(size, `${this.#video.videoWidth}×${this.#video.videoHeight} · ${Math.round(this.#status?.fps_in ?? 0)} fps`);
    const { state, title, text } = conditionOf({
      name: this.#link?.isOwn ? "your camera" : (this.camera ?? "the camera"),
      status: this.#status,
      link: this.#link,
      isFresh,
      isConnected: this.#socket.isOpen,
    });
    const veil = byId("veil");
    veil.hidden = state === "playing";
    veil.dataset.state = state;
    setText(byId("veil-title"), title);
    setText(byId("veil-text"), text);
    const action = { off: "Turn on", ended: "All cameras" }[state];
    byId("veil-action").hidden = !action;
    setText(byId("veil-action"), action ?? "");
    byId("veil-action").toggleAttribute("data-changes", state === "off");
    byId("stage").dataset.state = state;
    if (state !== "playing" && this.tracks.length) {
      this.#clear();
    }
    this.#reviveStalled();
  }

  #reviveStalled() {
    const now = performance.now();
    const isStalled =
      !document.hidden &&
      this.#link?.state === "connected" &&
      this.#status?.state === "live" &&
      now - this.#lastFrameAt > STALLED_MS &&
      now - this.#sinceLive > STALLED_MS;
    if (isStalled) {
      this.#sinceLive = now;
      this.#link.restart("the picture stood still");
    }
  }
}
