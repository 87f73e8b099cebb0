// Who came and went: live, newest first.

import { api, told } from "./api.js";
import { byId, glyph, h, portrait, sentence } from "./dom.js";

const MAX_SHOWN = 200;
const PAGE = 40;
const VERBS = {
  enter: "came into view",
  exit: "left",
  unknown: "seen",
  renamed: "named now",
  camera_up: "is live",
  camera_down: "went down",
};

/** Event: "person" when an event may have changed who is known. */
export class Events extends EventTarget {
  #list = byId("event-list");
  #cursor = null;
  #seen = new Set();
  #filter = "all";
  #isFilled = false;

  constructor(socket) {
    super();
    socket.addEventListener("event", ({ detail }) => this.#add(detail.event));
    byId("events-more").addEventListener("click", () => told(this.#more()));
    for (const button of document.querySelectorAll("[data-filter]")) {
      button.addEventListener("click", () => this.#choose(button.dataset.filter));
    }
  }

  forget() {
    this.#list.replaceChildren();
    this.#seen.clear();
    this.#isFilled = false;
    return this.load();
  }

  /** Read the log: the first page of it, and after an outage what was missed. */
  async load() {
    const { events, cursor } = await api("GET", `api/events?limit=${PAGE}`);
    if (!this.#isFilled) {
      this.#isFilled = true;
      this.#cursor = cursor;
      byId("events-more").hidden = cursor === null;
    }
    events.reverse().forEach((event) => this.#add(event));
    this.#say();
  }

  async #more() {
    const { events, cursor } = await api("GET", `api/events?limit=${PAGE}&cursor=${this.#cursor}`);
    this.#cursor = cursor;
    byId("events-more").hidden = cursor === null;
    for (const event of events.filter(({ id }) => !this.#seen.has(id))) {
      this.#seen.add(event.id);
      this.#list.append(row(event));
    }
    this.#say();
  }

  #add(event) {
    if (this.#seen.has(event.id)) {
      return;
    }
    this.#seen.add(event.id);
    const item = row(event);
    item.classList.add("new");
    // What happens while the log is read arrives before it: the id decides the place.
    const older = [...this.#list.children].find(({ dataset }) => Number(dataset.id) < event.id);
    this.#list.insertBefore(item, older ?? null);
    while (this.#list.children.length > MAX_SHOWN) {
      const last = this.#list.lastElementChild;
      this.#seen.delete(Number(last.dataset.id));
      this.#cursor = Number(last.dataset.id) + 1;
      byId("events-more").hidden = false;
      last.remove();
    }
    if (event.kind === "renamed") {
      this.dispatchEvent(new Event("person"));
    }
    this.#say();
  }

  #choose(filter) {
    this.#filter = filter;
    for (const button of document.querySelectorAll("[data-filter]")) {
      button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
    }
    this.#say();
  }

  #say() {
    this.#list.dataset.filter = this.#filter;
    const isShown = ({ dataset }) => this.#filter === "all" || dataset.about === this.#filter;
    byId("events-empty").hidden = [...this.#list.children].some(isShown);
  }
}

function row(event) {
  const isCamera = event.kind.startsWith("camera_");
  const about = isCamera ? "camera" : event.name ? "known" : "unknown";
  const when = new Date(event.at);
  const isToday = when.toDateString() === new Date().toDateString();
  const clock = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const who = isCamera ? event.camera : (event.name ?? "Unknown face");
  const picture = isCamera
    ? h("span", { class: "portrait plain", "aria-hidden": "true" }, glyph("camera"))
    : portrait(event.has_crop ? `api/events/${event.id}/crop.jpg` : null, event.name);
  const parts = [VERBS[event.kind] ?? event.kind, isCamera ? "" : event.camera, event.detail];
  const what = sentence(parts.filter(Boolean).join(" · "));
  return h("li", { class: "event", "data-id": event.id, "data-kind": event.kind, "data-about": about, "data-name": event.name },
    picture,
    h("div", { class: "event-text" },
      h("p", { class: "event-who" }, h("strong", {}, who)),
      h("p", { class: "event-where" }, what)),
    h("time", { datetime: event.at, title: when.toLocaleString() },
      isToday ? clock : `${when.toLocaleDateString([], { month: "short", day: "numeric" })} ${clock}`));
}
