// A list of events, newest first: live ones at the top, older ones on demand.

import { api } from "../connection/api.js";
import { glyph, h, portrait } from "../page/dom.js";
import { routeTo } from "../page/router.js";
import { timeText } from "../page/time.js";
import { EventLog } from "./event_log.js";
import { dayOf, describe } from "./event_text.js";

/** @import { Event } from "../connection/schemas.js" */

/** Events: those of `EventLog`, and "name" with the event of an unknown face to name. */
export class EventList extends EventLog {
  #list;
  #days;

  /**
   * @param {HTMLElement} list
   * @param {{page: number, maxShown: number, days?: boolean}} options `page` rows are read at a
   *   time, at most `maxShown` stay; `days` puts headings between days
   */
  constructor(list, { page, maxShown, days = false }) {
    super({ page, maxShown, read: (search) => api("GET", `api/events?${search}`) });
    this.#list = list;
    this.#days = days;
    this.on("clear", () => this.#list.replaceChildren());
    this.on("put", ({ event, before, isLive }) => {
      const item = this.#row(event);
      item.classList.toggle("new", isLive);
      this.#list.insertBefore(item, before === null ? null : this.#rowOf(before));
    });
    this.on("replace", (event) => this.#rowOf(event.id)?.replaceWith(this.#row(event)));
    this.on("drop", (id) => this.#rowOf(id)?.remove());
    this.on("change", () => this.#separate());
  }

  /** @param {number} id of an event */
  #rowOf(id) {
    return this.#list.querySelector(`[data-id="${id}"]`);
  }

  /** @param {Event} event */
  #row(event) {
    const { about, who, verb, canName } = describe(event);
    const isCamera = about === "camera";
    const when = new Date(event.at);
    const clock = timeText(when, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const picture = isCamera
      ? h("span", { class: "portrait plain", "aria-hidden": "true" }, glyph("camera"))
      : portrait(event.has_crop ? `api/events/${event.id}/crop.jpg` : null, event.name);
    const where = isCamera ? null : h("a", { href: routeTo("live", event.camera) }, event.camera);
    const name = () => this.emit("name", event);
    return h("li", { class: "event", "data-id": event.id, "data-at": event.at, "data-kind": event.kind, "data-about": about, "data-name": event.name },
      picture,
      h("div", { class: "event-text" },
        h("p", { class: "event-who", dir: "auto" }, h("strong", {}, who)),
        h("p", { class: "event-where" }, verb, where && " · ", where, event.detail && ` · ${event.detail}`)),
      event.has_crop ? h("a", { class: "icon-button", href: routeTo("search", "", { event: String(event.id) }), "aria-label": `Search past sightings of ${who}`, title: "Search past sightings" }, glyph("search")) : null,
      canName ? h("button", { type: "button", class: "button small", "data-changes": true, onclick: name }, "Name") : null,
      h("time", { datetime: event.at, title: timeText(when) }, clock));
  }

  /** Put a heading before the first event of each day. */
  #separate() {
    if (!this.#days) {
      return;
    }
    this.#list.querySelectorAll(".day").forEach((heading) => heading.remove());
    const now = new Date();
    let last = "";
    for (const { id, at } of this.events) {
      const day = dayOf(new Date(at), now);
      if (day !== last) {
        last = day;
        this.#rowOf(id)?.before(h("li", { class: "day" }, day));
      }
    }
  }
}
