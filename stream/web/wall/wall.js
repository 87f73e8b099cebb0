// The wall: up to 16 of the visible cameras play.

import { byId, setText } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { choosePlaying, gridOf } from "./playing.js";
import { Tile } from "./tile.js";

/** @import { Cameras } from "../cameras/cameras.js" */
/** @import { Event } from "../connection/schemas.js" */
/** @import { Socket } from "../connection/socket.js" */

const AWAY_MS = 3000; // time out of view before a tile is paused, so that scrolling does not pause it
const NEWS_MS = 20000;

/**
 * Event: "add" to add a camera.
 * @extends {Emitter<{add: void}>}
 */
export class Wall extends Emitter {
  #socket;
  #cameras;
  /** @type {Map<string, Tile>} */
  #tiles = new Map();
  #isShown = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #observer = new IntersectionObserver((entries) => this.#onVisibility(entries), { rootMargin: "100px" });

  /**
   * @param {Socket} socket
   * @param {Cameras} cameras
   */
  constructor(socket, cameras) {
    super();
    this.#socket = socket;
    this.#cameras = cameras;
    cameras.on("change", () => this.#update());
    socket.on("event", ({ event }) => this.#announce(event));
    document.addEventListener("visibilitychange", () => this.#updatePlaying());
    for (const id of ["wall-add", "wall-empty-add"]) {
      byId(id).addEventListener("click", () => this.emit("add"));
    }
    byId("wall-fullscreen").hidden = !document.fullscreenEnabled;
    byId("wall-fullscreen").addEventListener("click", () => byId("wall").requestFullscreen());
  }

  show() {
    this.#isShown = true;
    this.#update();
    this.#updatePlaying();
  }

  hide() {
    this.#isShown = false;
    clearTimeout(this.#timer);
    this.#tiles.forEach((tile) => tile.pause());
  }

  /**
   * Focus a camera, such as the one shown before.
   * @param {string} name
   */
  focus(name) {
    this.#tiles.get(name)?.anchor.focus();
  }

  #update() {
    if (!this.#isShown) {
      return;
    }
    const { all } = this.#cameras;
    const before = this.#tiles.size;
    for (const [name, tile] of this.#tiles) {
      if (!this.#cameras.find(name)) {
        this.#observer.unobserve(tile.element);
        tile.pause();
        tile.element.remove();
        this.#tiles.delete(name);
      }
    }
    for (const camera of all) {
      let tile = this.#tiles.get(camera.name);
      if (!tile) {
        tile = new Tile(this.#socket, camera.name);
        this.#tiles.set(camera.name, tile);
        byId("wall").append(tile.element);
        this.#observer.observe(tile.element);
      }
      tile.update(camera, this.#cameras.titleOf(camera.name));
    }
    const { columns, rows } = gridOf(all.length);
    byId("wall").style.setProperty("--columns", String(columns));
    byId("wall").style.setProperty("--rows", String(rows));
    byId("wall").dataset.count = String(all.length);
    byId("wall-empty").hidden = !this.#cameras.isKnown || all.length > 0;
    const live = all.filter((camera) => camera.state === "live").length;
    setText(byId("wall-figures"), all.length ? `${live} of ${all.length} live` : "");
    if (this.#tiles.size !== before) {
      this.#updatePlaying(); // a single tile plays the full rendition
    }
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #onVisibility(entries) {
    for (const { target, isIntersecting } of entries) {
      const tile = this.#tiles.get(target.getAttribute("data-camera") ?? "");
      if (tile) {
        tile.isVisible = isIntersecting;
      }
    }
    this.#updatePlaying();
  }

  /** Play visible tiles at once; pause the others a little later. */
  #updatePlaying() {
    clearTimeout(this.#timer);
    /** @param {Tile} tile */
    const isSeen = (tile) => this.#isShown && !document.hidden && tile.isVisible;
    const { play, linger, pause } = choosePlaying([...this.#tiles.values()], isSeen);
    pause.forEach((tile) => tile.pause());
    play.forEach((tile) => tile.play({ small: this.#tiles.size > 1 }));
    if (linger.length) {
      this.#timer = setTimeout(() => {
        linger.filter((tile) => !isSeen(tile)).forEach((tile) => tile.pause());
      }, AWAY_MS);
    }
  }

  /** @param {Event} event */
  #announce(event) {
    const tile = this.#tiles.get(event.camera);
    if (tile && (event.kind === "enter" || event.kind === "unknown" || event.kind === "renamed")) {
      const text = event.name ?? "Unknown face";
      tile.announce(text, event.name ? "known" : "unknown");
      setTimeout(() => {
        if (tile.news.textContent === text) {
          tile.announce("", "");
        }
      }, NEWS_MS);
    }
  }
}
