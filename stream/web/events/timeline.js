// The timeline: events by camera, person, kind and day; the filters are in the address.

import { attempt } from "../connection/api.js";
import { byId, h, setText } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { routeTo } from "../page/router.js";
import { EventList } from "./event_list.js";
import { FILTERS, filterOf } from "./filter.js";

/** @import { Cameras } from "../cameras/cameras.js" */
/** @import { Event, Identity } from "../connection/schemas.js" */
/** @import { Socket } from "../connection/socket.js" */
/** @import { Router } from "../page/router.js" */
/** @import { Values } from "./filter.js" */

const TYPING_MS = 350;

/**
 * Event: "name" with the event of an unknown face to name.
 * @extends {Emitter<{name: Event}>}
 */
export class Timeline extends Emitter {
  #router;
  #cameras;
  #list = new EventList(byId("event-list"), { page: 50, maxShown: 300, days: true });
  #fields = {
    kind: byId("filter-kind", HTMLSelectElement),
    camera: byId("filter-camera", HTMLSelectElement),
    name: byId("filter-name", HTMLInputElement),
    day: byId("filter-day", HTMLInputElement),
  };
  #isShown = false;
  #event = 0; // to begin with, from a notification; 0 for the newest
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {Socket} socket
   * @param {Router} router
   * @param {Cameras} cameras
   */
  constructor(socket, router, cameras) {
    super();
    this.#router = router;
    this.#cameras = cameras;
    socket.on("event", ({ event }) => this.#isShown && !this.#event && this.#list.add(event));
    this.#list.on("change", () => this.#showSummary());
    this.#list.on("name", (event) => this.emit("name", event));
    byId("events-more").addEventListener("click", () => attempt(this.#list.older()));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("filters").addEventListener("reset", (event) => {
      event.preventDefault();
      router.go(routeTo("events"));
    });
    for (const each of FILTERS) {
      this.#fields[each].addEventListener("input", () => {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#chosen(), each === "name" ? TYPING_MS : 0);
      });
    }
    // Updating the options while the list is open would close it.
    this.#fields.camera.addEventListener("focus", () => this.#fillCameras());
  }

  /** @param {URLSearchParams} query of the address */
  show(query) {
    this.#isShown = true;
    this.#event = Number(query.get("event")) || 0;
    this.#fillCameras(query.get("camera") ?? "");
    for (const each of FILTERS) {
      const value = query.get(each) ?? "";
      if (this.#fields[each].value !== value) {
        this.#fields[each].value = value;
      }
    }
    return this.reload();
  }

  hide() {
    this.#isShown = false;
    clearTimeout(this.#timer);
  }

  /** Reload, such as after a person was erased. */
  async reload() {
    if (this.#isShown) {
      const { query, accepts } = filterOf(this.#values);
      if (this.#event) {
        query.set("cursor", String(this.#event + 1));
      }
      await this.#list.open(query, this.#event ? () => false : accepts);
    }
  }

  /**
   * Show an event, and the others of its track, under the name that it was given.
   * @param {Event} event
   * @param {Identity} identity
   */
  named(event, identity) {
    this.#list.named(event, identity);
  }

  async refresh() {
    if (this.#isShown && !this.#event) {
      await this.#list.refresh();
    }
  }

  #fillCameras(chosen = this.#fields.camera.value) {
    const names = this.#cameras.all.map(({ name }) => name);
    const all = chosen && !names.includes(chosen) ? [...names, chosen] : names; // events of removed cameras are kept
    this.#fields.camera.replaceChildren(
      h("option", { value: "" }, "All cameras"),
      ...all.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  }

  /** @returns {Values} */
  get #values() {
    const { kind, camera, name, day } = this.#fields;
    return { kind: kind.value, camera: camera.value, name: name.value.trim(), day: day.value };
  }

  #chosen() {
    // Replaced: the back button leaves the timeline instead of undoing each letter.
    this.#router.go(routeTo("events", "", this.#values), { replace: true });
  }

  #showSummary() {
    const n = this.#list.length;
    const isFiltered = this.#event > 0 || FILTERS.some((each) => this.#fields[each].value);
    byId("event-list").hidden = n === 0;
    byId("events-empty").hidden = n > 0;
    setText(byId("events-empty"), isFiltered
      ? "No events match these filters."
      : "Nothing has happened yet. Events appear here.");
    byId("events-more").hidden = !this.#list.hasOlder;
    byId("filter-reset", HTMLButtonElement).disabled = !isFiltered;
  }
}
