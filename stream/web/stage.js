// The big live view: one link's picture, what to say where there is none, and the faces in it.

import { byId, h, sentence, setText } from "./dom.js";
import { Overlay } from "./overlay.js";

const FRESH_MS = 1500; // a picture younger than this is live
const STALLED_MS = 4000; // no picture for so long from a live camera: connect anew

/** Event: "name" with {camera, track, size} when a face was picked. */
export class Stage extends EventTarget {
  #socket;
  #video = byId("video");
  #overlay;
  #link = null;
  #detach = null;
  #status = null;
  #hasCameras = true;
  #lastFrameAt = -Infinity;
  #sinceLive = 0;

  constructor(socket) {
    super();
    this.#socket = socket;
    this.#overlay = new Overlay(byId("faces"), this.#video, (track, size) => {
      this.dispatchEvent(new CustomEvent("name", { detail: { camera: this.camera, track, size } }));
    });
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
    byId("veil-action").addEventListener("click", () => this.dispatchEvent(new Event("action")));
    setInterval(() => this.#look(), 250);
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

  get tracks() {
    return this.#overlay.tracks;
  }

  /** Show a link's picture; null for none. */
  show(link) {
    this.#detach?.abort();
    this.#detach = new AbortController();
    this.#link = link;
    this.#status = null;
    this.#lastFrameAt = -Infinity;
    this.#video.srcObject = link?.stream ?? null;
    this.#overlay.clear();
    this.#showChips([]);
    this.#socket.follow(link?.name ?? null);
    link?.addEventListener("stream", () => {
      this.#video.srcObject = link.stream;
    }, { signal: this.#detach.signal });
    setText(byId("camera-name"), link ? (link.isOwn ? "This browser’s camera" : link.name) : "No camera");
    this.#look();
  }

  /** Hear how the shown camera is doing. */
  update(status, hasCameras) {
    if (status?.state !== this.#status?.state) {
      this.#sinceLive = performance.now();
    }
    this.#status = status;
    this.#hasCameras = hasCameras;
    this.#look();
  }

  #showTracks(message) {
    if (message.camera === this.camera) {
      this.#overlay.show(message);
      this.#showChips(message.tracks);
    }
  }

  #showChips(tracks) {
    const list = byId("in-view");
    const known = tracks.filter((track) => track.name).map((track) => [track.name, "known"]);
    const unknown = tracks.filter((track) => track.state === "unknown").length;
    if (unknown) {
      known.push([unknown === 1 ? "1 unknown" : `${unknown} unknown`, "unknown"]);
    }
    const key = JSON.stringify(known);
    if (list.dataset.key !== key) {
      list.dataset.key = key;
      list.replaceChildren(...known.map(([text, state]) => h("li", { class: "chip", "data-state": state }, text)));
    }
  }

  #look() {
    const isFresh = performance.now() - this.#lastFrameAt < FRESH_MS;
    byId("live-pill").hidden = !isFresh;
    const size = byId("hud-size");
    size.hidden = !isFresh || !this.#status;
    setText(size, `${this.#video.videoWidth}×${this.#video.videoHeight} · ${Math.round(this.#status?.fps_in ?? 0)} fps`);
    const { state, title, text, action } = this.#condition(isFresh);
    const veil = byId("veil");
    veil.hidden = state === "playing";
    veil.dataset.state = state;
    setText(byId("veil-title"), title ?? "");
    setText(byId("veil-text"), text ?? "");
    byId("veil-action").hidden = !action;
    setText(byId("veil-action"), action ?? "");
    byId("stage").dataset.state = state;
    if (!isFresh && state !== "playing") {
      this.#overlay.clear();
    }
    this.#reviveStalled();
  }

  #condition(isFresh) {
    const link = this.#link;
    const status = this.#status;
    const name = link?.isOwn ? "your camera" : link?.name;
    if (isFresh) {
      return { state: "playing" };
    }
    if (!this.#socket.isOpen) {
      return { state: "connecting", title: "Connecting to facewire", text: "The picture returns as soon as the service answers." };
    }
    if (!link) {
      return this.#hasCameras
        ? { state: "connecting", title: "Connecting" }
        : { state: "empty", title: "No camera yet", text: "Add a camera by its address, or use this browser’s.", action: "Add a camera" };
    }
    if (status?.state === "failing") {
      return { state: "failing", title: `No picture from ${name}`, text: `${sentence(status.reason)}. Trying again by itself.` };
    }
    if (status?.state === "ended") {
      return { state: "ended", title: "The video has ended", text: sentence(status.reason) };
    }
    if (link.state === "failing") {
      return { state: "failing", title: "The video connection failed", text: `${sentence(link.reason)}. Trying again by itself.` };
    }
    return { state: "connecting", title: `Connecting to ${name}` };
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
