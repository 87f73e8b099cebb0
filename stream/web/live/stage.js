// The video of the live view: one link's stream, a message if there is none, and the faces in it.

import { conditionOf, isBack, isStalled } from "../cameras/condition.js";
import { byId, setText } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { mayChange } from "../page/role.js";
import { Overlay } from "./overlay.js";

/** @import { Link } from "../connection/link.js" */
/** @import { Camera, Track, Tracks } from "../connection/schemas.js" */
/** @import { Socket } from "../connection/socket.js" */
/** @import { Picked } from "./naming.js" */

const FRESH_MS = 1500; // a newer frame counts as live

/**
 * Events: "name" when a face was picked; "tracks"; "action" with the state on which its button acts.
 * @extends {Emitter<{name: Picked, tracks: void, action: string}>}
 */
export class Stage extends Emitter {
  #socket;
  #video = byId("video", HTMLVideoElement);
  #overlay;
  /** @type {Link | null} */
  #link = null;
  /** @type {AbortController | null} */
  #detach = null;
  /** @type {Camera | null} */
  #status = null;
  #lastFrameAt = -Infinity;
  #sinceLive = 0;

  /** @param {Socket} socket */
  constructor(socket) {
    super();
    this.#socket = socket;
    this.#overlay = new Overlay(byId("faces"), (track) => this.pick(track));
    socket.on("tracks", (message) => this.#showTracks(message));
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
      this.emit("action", byId("stage").dataset.state ?? "");
    });
    setInterval(() => this.#link && this.#check(), 250);
  }

  get video() {
    return this.#video;
  }

  get camera() {
    return this.#link?.name ?? null;
  }

  get size() {
    return this.#overlay.size;
  }

  get tracks() {
    return this.#overlay.tracks;
  }

  /**
   * Start naming a face; the list beside the video does too.
   * @param {Track} track
   */
  pick(track) {
    if (this.camera !== null) {
      this.emit("name", { camera: this.camera, track, size: this.size });
    }
  }

  /**
   * Show a link's stream; null for none.
   * @param {Link | null} link
   */
  show(link) {
    this.#detach?.abort();
    this.#detach = new AbortController();
    this.#link = link;
    this.#status = null;
    this.#lastFrameAt = -Infinity;
    this.#video.srcObject = link?.stream ?? null;
    this.#clear();
    this.#socket.follow(link?.name ?? null);
    link?.on("stream", () => {
      this.#video.srcObject = link.stream;
    }, { signal: this.#detach.signal });
    this.#check();
  }

  /**
   * Update the status of the shown camera; null if unknown.
   * @param {Camera | null} status
   */
  update(status) {
    if (status?.state !== this.#status?.state) {
      this.#sinceLive = performance.now();
    }
    const before = this.#status;
    this.#status = status;
    if (!this.#link?.isOwn && isBack({ before, status, link: this.#link })) {
      this.#link?.renew();
    }
    this.#check();
  }

  /** @param {Tracks} message */
  #showTracks(message) {
    if (message.camera === this.camera) {
      this.#overlay.show(message);
      this.emit("tracks");
    }
  }

  #clear() {
    this.#overlay.clear();
    this.emit("tracks");
  }

  #check() {
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
      mayChange: mayChange(),
    });
    const veil = byId("veil");
    veil.hidden = state === "playing";
    veil.dataset.state = state;
    setText(byId("veil-title"), title);
    setText(byId("veil-text"), text);
    const action = state === "off" ? "Turn on" : state === "ended" ? "All cameras" : "";
    byId("veil-action").hidden = !action;
    setText(byId("veil-action"), action);
    byId("veil-action").toggleAttribute("data-changes", state === "off");
    byId("stage").dataset.state = state;
    if (state !== "playing" && this.tracks.length) {
      this.#clear();
    }
    this.#reviveStalled();
  }

  #reviveStalled() {
    const now = performance.now();
    const forMs = now - Math.max(this.#lastFrameAt, this.#sinceLive);
    if (!document.hidden && isStalled({ status: this.#status, link: this.#link, forMs })) {
      this.#sinceLive = now;
      this.#link?.restart("the video stalled");
    }
  }
}
