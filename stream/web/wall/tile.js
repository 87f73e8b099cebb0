// One camera on the wall: its video while visible, a message if there is none, and an offer to rotate it.

import { encode } from "../connection/api.js";
import { conditionOf, isBack } from "../cameras/condition.js";
import { RotationHint } from "../cameras/rotation_hint.js";
import { Link } from "../connection/link.js";
import { h, setLabel, setText } from "../page/dom.js";
import { mayChange } from "../page/role.js";
import { routeTo } from "../page/router.js";

/** @import { Cameras } from "../cameras/cameras.js" */
/** @import { Camera } from "../connection/schemas.js" */
/** @import { Socket } from "../connection/socket.js" */

const LOOK_MS = 500;
const FRESH_LOOKS = 3; // without a new frame until the video counts as lost
const STALLED_LOOKS = 12; // of a live camera, then reconnect

export class Tile {
  isVisible = false;
  #socket;
  #name;
  /** @type {Link | null} */
  #link = null;
  #isSmall = false;
  /** @type {Camera | null} */
  #status = null;
  #frames = 0;
  #looksWithout = Infinity;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;

  /**
   * @param {Socket} socket
   * @param {Cameras} cameras
   * @param {string} name of the camera
   */
  constructor(socket, cameras, name) {
    this.#socket = socket;
    this.#name = name;
    this.video = h("video", { muted: true, autoplay: true, playsinline: true, disablepictureinpicture: true, "aria-hidden": "true", tabindex: "-1" });
    this.video.muted = true; // the attribute alone does not allow a created element to play
    this.still = h("img", { alt: "", class: "still", hidden: true });
    this.still.addEventListener("load", () => { this.still.hidden = false; });
    this.still.addEventListener("error", () => { this.still.hidden = true; });
    this.title = h("span", { class: "tile-name" });
    this.news = h("span", { class: "tile-news", dir: "auto" });
    this.said = h("span", { class: "tile-title" });
    this.reason = h("span", { class: "tile-reason" });
    this.anchor = h("a", { class: "tile", href: routeTo("live", name) },
      this.still, this.video,
      h("span", { class: "tile-veil" }, h("span", { class: "spinner", "aria-hidden": "true" }), this.said, this.reason),
      h("span", { class: "tile-foot" }, h("span", { class: "dot" }), this.title, this.news));
    this.hint = new RotationHint(cameras);
    this.element = h("li", { "data-camera": name }, this.anchor, this.hint.element);
    this.#check();
  }

  get isPlaying() {
    return this.#link !== null;
  }

  /**
   * @param {Camera} status
   * @param {string} title
   */
  update(status, title) {
    const before = this.#status;
    this.#status = status;
    if (isBack({ before, status, link: this.#link })) {
      this.#link?.renew();
    }
    setText(this.title, title);
    this.hint.show(status);
    this.#check();
  }

  /**
   * Show who came into view.
   * @param {string} text
   * @param {"known" | "unknown" | ""} about
   */
  announce(text, about) {
    this.news.dataset.about = about;
    setText(this.news, text);
  }

  /**
   * @param {{small: boolean}} options `small` requests the small rendition, for one tile of many
   */
  play({ small }) {
    if (this.#link && this.#isSmall === small) {
      return;
    }
    this.#link?.end(); // the last frame stays until the next link's first
    this.#isSmall = small;
    const link = new Link(this.#socket, { camera: this.#name, small });
    this.#link = link;
    link.on("stream", () => { this.video.srcObject = link.stream; });
    this.#looksWithout = Infinity;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#check(), LOOK_MS);
    this.#check();
  }

  /** Close the connection; the last frame stays as a still image. */
  pause() {
    clearInterval(this.#timer);
    this.#link?.end();
    this.#link = null;
    this.video.srcObject = null;
    this.#frames = 0;
    this.#looksWithout = Infinity;
    if (this.#status?.state === "live") {
      this.still.src = `api/cameras/${encode(this.#name)}/snapshot.jpg?width=480&at=${Date.now()}`;
    }
    this.#check();
  }

  #check() {
    const frames = this.video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    this.#looksWithout = frames !== this.#frames ? 0 : this.#looksWithout + 1;
    this.#frames = frames;
    const condition = conditionOf({
      name: this.title.textContent || this.#name,
      status: this.#status,
      link: this.#link,
      isFresh: this.#looksWithout <= FRESH_LOOKS,
      isConnected: this.#socket.isOpen,
      mayChange: mayChange(),
    });
    const isStill = !this.#link && condition.state === "connecting";
    const state = isStill ? "paused" : condition.state;
    this.element.dataset.state = state;
    setText(this.said, state === "playing" || isStill ? "" : condition.title);
    setText(this.reason, isStill ? "" : condition.text);
    const notes = [this.news.textContent, this.reason.textContent].filter(Boolean).map((each) => `. ${each}`);
    setLabel(this.anchor, `${this.title.textContent}: ${state === "playing" ? "live" : state}${notes.join("")}`);
    if (this.#link?.state === "connected" && this.#status?.state === "live" && this.#looksWithout > STALLED_LOOKS) {
      this.#looksWithout = FRESH_LOOKS + 1;
      this.#link.restart("the video stalled");
    }
  }
}
