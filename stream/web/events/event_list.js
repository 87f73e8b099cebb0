// A list of events, newest first: live on top, older ones on demand.

import { api, told } from "../connection/api.js";
import { glyph, h, portrait, sentence } from "../page/dom.js";
import { routeTo } from "../page/router.js";

const VERBS = {
  enter: "came into view",
  exit: "left",
  unknown: "seen",
  renamed: "named now",
  camera_up: "is live",
  camera_down: "went down",
};

/** Events: "change" when rows came or went; "name" with an unknown face's event to be named. */
export class EventList extends EventTarget {
  #list;
  #accepts = () => false;
  #query = "";
  #events = new Map(); // by id, of the rows that are shown
  #cursor = null;
  #generation = 0;
  #last = null; // the newest id that came; the service counts them without gaps
  #floor = null; // where it is not known whether events after this id are missing
  #page;
  #maxShown;
  #days;

  /** `page` rows are read at a time, at most `maxShown` stay; `days` puts headings between days. */
  constructor(list, { page, maxShown, days = false }) {
    super();
    this.#list = list;
    this.#page = page;
    this.#maxShown = maxShown;
    this.#days = days;
  }

  get length() {
    return this.#events.size;
  }

  get hasOlder() {
    return this.#cursor !== null;
  }

  /** Begin anew: `query` is what the service filters by, `accepts` the same of a live event. */
  async open(query, accepts) {
    this.#query = query.toString();
    this.#accepts = accepts;
    this.clear();
    await this.refresh();
  }

  /** Show nothing until the next `open`. */
  clear() {
    this.#generation += 1;
    this.#list.replaceChildren();
    this.#events.clear();
    this.#cursor = this.#last = this.#floor = null;
  }

  /**
   * Read the newest, such as those of an outage: page by page down to what is shown already, so
   * that no gap stays. Where more were missed than fit, older rows go instead.
   */
  async refresh() {
    const generation = ++this.#generation;
    const isEmpty = this.#events.size === 0;
    const floor = (this.#floor ??= this.#last); // kept until all is read, should this fail
    let cursor = null;
    let nRead = 0;
    do {
      const answer = await this.#read(cursor, generation);
      if (!answer) {
        return; // another filter was chosen, or a newer refresh reads the same
      }
      answer.events.forEach((event) => this.#put(event));
      this.#last = Math.max(this.#last ?? 0, answer.events[0]?.id ?? 0);
      cursor = answer.cursor;
      nRead += answer.events.length;
      if (isEmpty) {
        this.#cursor = cursor;
        break;
      }
      if (answer.events.some(({ id }) => id <= floor)) {
        break;
      }
    } while (cursor !== null && nRead < this.#maxShown);
    this.#floor = null;
    this.#changed();
  }

  async older() {
    const answer = await this.#read(this.#cursor, this.#generation);
    if (answer) {
      this.#maxShown += this.#page; // what a person asked to see stays
      this.#cursor = answer.cursor;
      answer.events.forEach((event) => this.#put(event));
      this.#changed();
    }
  }

  /** Show a live event; where others before it did not arrive, they are read. */
  add(event) {
    const isGap = this.#last !== null && event.id > this.#last + 1;
    if (isGap) {
      this.#floor ??= this.#last;
    }
    this.#last = Math.max(this.#last ?? 0, event.id);
    if (this.#accepts(event) && !this.#events.has(event.id)) {
      this.#put(event).classList.add("new");
      this.#changed();
    }
    if (isGap) {
      told(this.refresh());
    }
  }

  /** Show an event that was given a name, with the others of its face, under the name. */
  named(event, identity) {
    const isSame = (other) => other.track_id === event.track_id && other.identity_id === event.identity_id;
    for (const other of [...this.#events.values()].filter(isSame)) {
      const changed = { ...other, name: identity.name, identity_id: identity.identity_id, similarity: null };
      this.#events.set(changed.id, changed);
      this.#rowOf(changed.id).replaceWith(this.#row(changed));
    }
  }

  /** Read a page of older events than `cursor`; null where another filter was chosen meanwhile. */
  async #read(cursor, generation) {
    const older = cursor === null ? "" : `&cursor=${cursor}`;
    const answer = await api("GET", `api/events?limit=${this.#page}&${this.#query}${older}`);
    return generation === this.#generation ? answer : null;
  }

  #rowOf(id) {
    return this.#list.querySelector(`[data-id="${id}"]`);
  }

  #row(event) {
    return row(event, () => this.dispatchEvent(new CustomEvent("name", { detail: event })));
  }

  #put(event) {
    const known = this.#rowOf(event.id);
    if (known) {
      return known;
    }
    this.#events.set(event.id, event);
    const item = this.#row(event);
    // What happens while the log is read arrives before it: the id decides the place.
    const older = [...this.#list.querySelectorAll(".event")].find(({ dataset }) => Number(dataset.id) < event.id);
    this.#list.insertBefore(item, older ?? null);
    return item;
  }

  #changed() {
    const rows = this.#list.querySelectorAll(".event");
    for (const row of [...rows].slice(this.#maxShown)) {
      this.#events.delete(Number(row.dataset.id));
      this.#cursor = Number(row.dataset.id) + 1;
      row.remove();
    }
    if (this.#days) {
      this.#separate();
    }
    this.dispatchEvent(new Event("change"));
  }

  #separate() {
    this.#list.querySelectorAll(".day").forEach((heading) => heading.remove());
    let last = "";
    for (const row of this.#list.querySelectorAll(".event")) {
      const day = dayOf(new Date(row.dataset.at));
      if (day !== last) {
        last = day;
        row.before(h("li", { class: "day" }, day));
      }
    }
  }
}

function dayOf(when) {
  const today = new Date();
  const yesterday = new Date(today);
  yesterday.setDate(today.getDate() - 1);
  const name = { [today.toDateString()]: "Today", [yesterday.toDateString()]: "Yesterday" }[when.toDateString()];
  return name ?? when.toLocaleDateString([], { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

function row(event, onName) {
  const isCamera = event.kind.startsWith("camera_");
  const about = isCamera ? "camera" : event.name ? "known" : "unknown";
  const when = new Date(event.at);
  const clock = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const who = isCamera ? event.camera : (event.name ?? "Unknown face");
  const picture = isCamera
    ? h("span", { class: "portrait plain", "aria-hidden": "true" }, glyph("camera"))
    : portrait(event.has_crop ? `api/events/${event.id}/crop.jpg` : null, event.name);
  const where = isCamera ? null : h("a", { href: routeTo("live", event.camera) }, event.camera);
  const verb = sentence(VERBS[event.kind] ?? event.kind);
  const canName = event.kind === "unknown" && event.has_crop && !event.name;
  return h("li", { class: "event", "data-id": event.id, "data-at": event.at, "data-kind": event.kind, "data-about": about, "data-name": event.name },
    picture,
    h("div", { class: "event-text" },
      h("p", { class: "event-who", dir: "auto" }, h("strong", {}, who)),
      h("p", { class: "event-where" }, verb, where && " · ", where, event.detail && ` · ${event.detail}`)),
    canName ? h("button", { type: "button", class: "button small", "data-changes": true, onclick: onName }, "Name") : null,
    h("time", { datetime: event.at, title: when.toLocaleString() }, clock));
}
