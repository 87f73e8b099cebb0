// The wall, in pages of 16 cameras: those of a page that are in view play.

import { byId, setText } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { MAX_PLAYING, choosePlaying, gridOf, pageOf } from "./playing.js";
import { Tile } from "./tile.js";

/** @import { Cameras } from "../cameras/cameras.js" */
/** @import { Event } from "../connection/schemas.js" */
/** @import { Socket } from "../connection/socket.js" */

const AWAY_MS = 3000; // time out of view before a tile is paused, so that scrolling does not pause it
const NEWS_MS = 20000;
const TURN_MS = 15000; // how long a page is shown while pages turn by themselves

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
  #page = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #turning;
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
    byId("wall-previous").addEventListener("click", () => this.#turn(-1));
    byId("wall-next").addEventListener("click", () => this.#turn(1));
    byId("wall-turning").addEventListener("click", () => this.#turnByItself(!this.#turning));
    document.addEventListener("keydown", ({ key }) => {
      if (document.fullscreenElement === byId("wall") && (key === "PageDown" || key === "PageUp")) {
        this.#turn(key === "PageDown" ? 1 : -1);
      }
    });
  }

  show() {
    this.#isShown = true;
    this.#update();
    this.#updatePlaying();
  }

  hide() {
    this.#isShown = false;
    this.#turnByItself(false);
    clearTimeout(this.#timer);
    this.#tiles.forEach((tile) => tile.pause());
  }

  /**
   * Focus a camera, such as the one shown before, on its page.
   * @param {string} name
   */
  focus(name) {
    const place = this.#cameras.all.findIndex((camera) => camera.name === name);
    if (place >= 0) {
      this.#page = Math.floor(place / MAX_PLAYING);
      this.#update();
    }
    this.#tiles.get(name)?.anchor.focus();
  }

  /**
   * Show the next page or the one before; after the last comes the first.
   * @param {number} by
   */
  #turn(by) {
    const { pages } = pageOf(this.#cameras.all.length, this.#page);
    this.#page = (this.#page + by + pages) % Math.max(1, pages);
    this.#update();
  }

  /** @param {boolean} isWanted */
  #turnByItself(isWanted) {
    clearInterval(this.#turning);
    this.#turning = isWanted ? setInterval(() => this.#turn(1), TURN_MS) : undefined;
    byId("wall-turning").setAttribute("aria-pressed", String(isWanted));
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
    const { page, pages, from, to } = pageOf(all.length, this.#page);
    this.#page = page;
    for (const [place, camera] of all.entries()) {
      let tile = this.#tiles.get(camera.name);
      if (!tile) {
        tile = new Tile(this.#socket, this.#cameras, camera.name);
        this.#tiles.set(camera.name, tile);
        byId("wall").append(tile.element);
        this.#observer.observe(tile.element);
      }
      tile.update(camera, this.#cameras.titleOf(camera.name));
      tile.element.hidden = place < from || place >= to; // then it is not in view, and is paused
    }
    const { columns, rows } = gridOf(Math.min(all.length, MAX_PLAYING));
    byId("wall").style.setProperty("--columns", String(columns));
    byId("wall").style.setProperty("--rows", String(rows));
    byId("wall").dataset.count = String(all.length);
    byId("wall-empty").hidden = !this.#cameras.isKnown || all.length > 0;
    byId("wall-pages").hidden = pages < 2;
    setText(byId("wall-page"), `${from + 1} to ${to} of ${all.length}`);
    if (pages < 2) {
      this.#turnByItself(false);
    }
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
