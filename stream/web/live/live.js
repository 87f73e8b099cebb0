// The live view of one camera: its picture, the faces in it, and what happened lately before it.

import { told } from "../connection/api.js";
import { byId, setText } from "../page/dom.js";
import { EventList } from "../events/event_list.js";
import { Faces } from "./faces.js";
import { Link } from "../connection/link.js";
import { RawFaces, chooseRaw, wantsRaw } from "./raw_faces.js";
import { routeTo } from "../page/router.js";
import { Stage } from "./stage.js";

const LISTS_AFTER_MS = 400; // the picture first: a list's thumbnails would compete with it

/** Event: "name" of `Stage`, and "event-name" with an unknown face's event to be named. */
export class Live extends EventTarget {
  stage;
  #socket;
  #cameras;
  #own;
  #name = null;
  #watched = null; // the link of a camera that is watched; this browser's own has its own
  #raw = null;
  #recent = new EventList(byId("recent-list"), { page: 20, maxShown: 40 });

  constructor(socket, router, cameras) {
    super();
    this.#socket = socket;
    this.#cameras = cameras;
    this.stage = new Stage(socket);
    new Faces(this.stage);
    this.stage.addEventListener("name", ({ detail }) => this.dispatchEvent(new CustomEvent("name", { detail })));
    this.stage.addEventListener("action", ({ detail }) => {
      if (detail === "off") {
        told(cameras.turn(this.#name, true));
      } else {
        router.go("#/wall");
      }
    });
    socket.addEventListener("event", ({ detail }) => this.#recent.add(detail.event));
    this.#recent.addEventListener("change", () => { byId("recent-empty").hidden = this.#recent.length > 0; });
    this.#recent.addEventListener("name", ({ detail }) => this.dispatchEvent(new CustomEvent("event-name", { detail })));
    cameras.addEventListener("change", () => this.update());
    byId("live-settings").addEventListener("click", () => cameras.edit(this.#name));
    byId("raw").addEventListener("click", () => {
      chooseRaw(!wantsRaw());
      this.#watch();
      this.update();
    });
    document.addEventListener("fullscreenchange", () => this.update());
  }

  get name() {
    return this.#name;
  }

  /** Make known where this browser's camera is; it is shown by the link that sends it. */
  set own(own) {
    this.#own = own;
  }

  show(name) {
    this.hide();
    this.#name = name;
    const isOwn = this.#own?.link?.name === name;
    if (isOwn) {
      this.stage.show(this.#own.link);
    } else {
      this.#watch();
    }
    byId("live-options").hidden = isOwn;
    byId("enrol").hidden = !isOwn;
    byId("recent-all").href = routeTo("events", "", { camera: name });
    setText(byId("recent-empty"), "Nothing has happened here yet.");
    setTimeout(() => told(this.reload()), LISTS_AFTER_MS);
    this.update();
  }

  /** Connect, in the way that is chosen now. */
  #watch() {
    this.#unwatch();
    const raw = wantsRaw();
    this.#watched = new Link(this.#socket, { camera: this.#name, raw });
    this.#raw = raw ? new RawFaces(byId("video"), this.#watched) : null;
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

  /** Read what happened anew, such as after somebody was erased. */
  async reload() {
    const name = this.#name;
    if (name !== null) {
      const query = new URLSearchParams({ camera: name });
      await this.#recent.open(query, (event) => event.camera === name);
    }
  }

  /** Show an event, with the others of its face, under the name that it was given. */
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
    setText(byId("camera-name"), this.#cameras.titleOf(name));
    setText(byId("live-figures"), camera?.state === "live" && camera.viewers > 1 ? `${camera.viewers} watching` : "");
    byId("live-settings").hidden = camera === null;
    const names = this.#cameras.all.map((each) => each.name);
    const at = names.indexOf(name);
    for (const [id, step] of [["live-previous", -1], ["live-next", 1]]) {
      const other = names[(at + step + names.length) % names.length];
      byId(id).hidden = at < 0 || names.length < 2;
      byId(id).href = routeTo("live", other ?? name);
      byId(id).title = other ?? "";
    }
  }
}
