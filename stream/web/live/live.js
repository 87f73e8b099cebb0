// The live view of one camera: its video, the faces in it, and recent events.

import { RotationHint } from "../cameras/rotation_hint.js";
import { attempt } from "../connection/api.js";
import { Link } from "../connection/link.js";
import { EventList } from "../events/event_list.js";
import { byId, setText } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { routeTo } from "../page/router.js";
import { Faces } from "./faces.js";
import { RawFaces, chooseRaw, wantsRaw } from "./raw_faces.js";
import { Stage } from "./stage.js";
import { ZoneOutlines } from "./zone_outlines.js";

/** @import { Cameras } from "../cameras/cameras.js" */
/** @import { Event, Identity } from "../connection/schemas.js" */
/** @import { Socket } from "../connection/socket.js" */
/** @import { Router } from "../page/router.js" */
/** @import { Picked } from "./naming.js" */
/** @import { OwnCamera } from "./own_camera.js" */

const LISTS_AFTER_MS = 400; // the video first: thumbnails would compete with it

/**
 * Events: "name" of `Stage`, and "event-name" with the event of an unknown face to name.
 * @extends {Emitter<{name: Picked, "event-name": Event}>}
 */
export class Live extends Emitter {
  stage;
  #socket;
  #cameras;
  /** @type {OwnCamera | null} */
  #own = null;
  /** @type {string | null} */
  #name = null;
  /** @type {Link | null} */
  #watched = null; // the link of a watched camera; this browser's camera has its own
  /** @type {RawFaces | null} */
  #raw = null;
  #hint;
  #zones;
  #recent = new EventList(byId("recent-list"), { page: 20, maxShown: 40 });

  /**
   * @param {Socket} socket
   * @param {Router} router
   * @param {Cameras} cameras
   */
  constructor(socket, router, cameras) {
    super();
    this.#socket = socket;
    this.#cameras = cameras;
    this.stage = new Stage(socket);
    new Faces(this.stage);
    this.#zones = new ZoneOutlines(this.stage.video);
    this.stage.on("tracks", () => this.#zones.mark(this.stage.tracks));
    this.#hint = new RotationHint(cameras);
    byId("stage").before(this.#hint.element);
    this.stage.on("name", (picked) => this.emit("name", picked));
    this.stage.on("action", (state) => {
      if (state === "off" && this.#name !== null) {
        attempt(cameras.turn(this.#name, true));
      } else {
        router.go("#/wall");
      }
    });
    socket.on("event", ({ event }) => this.#recent.add(event));
    this.#recent.on("change", () => { byId("recent-empty").hidden = this.#recent.length > 0; });
    this.#recent.on("name", (event) => this.emit("event-name", event));
    cameras.on("change", () => this.update());
    byId("live-settings").addEventListener("click", () => this.#name !== null && cameras.edit(this.#name));
    byId("raw").addEventListener("click", () => {
      chooseRaw(!wantsRaw());
      if (this.#name !== null) {
        this.#watch(this.#name);
        this.update();
      }
    });
    document.addEventListener("fullscreenchange", () => this.update());
  }

  /**
   * Set this browser's camera; it is shown by the link that publishes it.
   * @param {OwnCamera | null} own
   */
  set own(own) {
    this.#own = own;
  }

  /** @param {string} name of a camera */
  show(name) {
    this.hide();
    this.#name = name;
    const ownLink = this.#own?.link ?? null;
    const isOwn = ownLink?.name === name;
    if (isOwn) {
      this.stage.show(ownLink);
    } else {
      this.#watch(name);
    }
    byId("live-options").hidden = isOwn;
    byId("enroll").hidden = !isOwn;
    byId("recent-all", HTMLAnchorElement).href = routeTo("events", "", { camera: name });
    setText(byId("recent-empty"), "Nothing has happened here yet.");
    setTimeout(() => attempt(this.reload()), LISTS_AFTER_MS);
    this.update();
  }

  /**
   * Connect, as raw or annotated video.
   * @param {string} name
   */
  #watch(name) {
    this.#unwatch();
    const raw = wantsRaw();
    this.#watched = new Link(this.#socket, { camera: name, raw });
    this.#watched.on("state", () => this.update());
    this.#raw = raw ? new RawFaces(this.stage.video, this.#watched) : null;
    byId("raw").setAttribute("aria-checked", String(raw));
    this.stage.show(this.#watched);
  }

  #unwatch() {
    this.#watched?.end();
    this.#watched = null;
    this.#raw?.end();
    this.#raw = null;
  }

  hide() {
    this.#unwatch();
    this.#name = null;
    this.#recent.clear();
    this.stage.show(null);
  }

  /** Reload the recent events, such as after a person was erased. */
  async reload() {
    const name = this.#name;
    if (name !== null) {
      const query = new URLSearchParams({ camera: name });
      await this.#recent.open(query, (event) => event.camera === name);
    }
  }

  /**
   * Show an event, and the others of its track, under the name that it was given.
   * @param {Event} event
   * @param {Identity} identity
   */
  eventNamed(event, identity) {
    this.#recent.named(event, identity);
  }

  async refresh() {
    if (this.#name !== null) {
      await this.#recent.refresh();
    }
  }

  update() {
    const name = this.#name;
    if (name === null) {
      return;
    }
    const camera = this.#cameras.find(name);
    this.stage.update(camera);
    this.#hint.show(camera);
    this.#zones.show(camera?.settings.zones ?? {});
    setText(byId("camera-name"), this.#cameras.titleOf(name));
    const watching = camera?.state === "live" && camera.viewers > 1 ? `${camera.viewers} watching` : "";
    setText(byId("live-figures"), [watching, wayOf(this.#watched)].filter(Boolean).join(" · "));
    byId("live-figures").title = this.#watched?.notice ?? "";
    byId("live-settings").hidden = camera === null;
    this.#showNeighbor("live-previous", -1);
    this.#showNeighbor("live-next", 1);
  }

  /**
   * Link to the camera before or after the shown one.
   * @param {string} id of the link
   * @param {number} step
   */
  #showNeighbor(id, step) {
    const link = byId(id, HTMLAnchorElement);
    const other = neighborOf(this.#cameras.all.map(({ name }) => name), this.#name, step);
    link.hidden = other === null;
    link.href = routeTo("live", other ?? "");
    link.title = other ?? "";
  }
}

/**
 * How the video arrives, where that is not by facewire itself as configured.
 * @param {Link | null} link
 */
function wayOf(link) {
  if (link?.state !== "connected") {
    return "";
  }
  if (link.via !== "facewire") {
    return `by way of ${link.via === "janus" ? "Janus" : "the SFU"}`;
  }
  return link.notice ? "without the SFU" : "";
}

/**
 * The name so many steps from another, wrapping around; null if there is no other.
 * @param {string[]} names
 * @param {string | null} name
 * @param {number} step
 */
export function neighborOf(names, name, step) {
  const at = names.findIndex((each) => each === name);
  return at < 0 || names.length < 2 ? null : names[(at + step + names.length) % names.length];
}
