// The timeline: who came and went, by camera, person, kind and day; the filters are in the address.

import { told } from "../connection/api.js";
import { byId, h, setText } from "../page/dom.js";
import { EventList } from "./event_list.js";
import { routeTo } from "../page/router.js";

const FILTERS = ["kind", "camera", "name", "day"];
const TYPING_MS = 350;
const FACES = ["enter", "exit", "unknown", "renamed"];
const KINDS = { faces: FACES, cameras: ["camera_up", "camera_down"] };

/** Event: "name" with an unknown face's event to be named. */
export class Timeline extends EventTarget {
  #router;
  #cameras;
  #list = new EventList(byId("event-list"), { page: 50, maxShown: 300, days: true });
  #isShown = false;
  #timer = 0;

  constructor(socket, router, cameras) {
    super();
    this.#router = router;
    this.#cameras = cameras;
    socket.addEventListener("event", ({ detail }) => this.#isShown && this.#list.add(detail.event));
    this.#list.addEventListener("change", () => this.#say());
    this.#list.addEventListener("name", ({ detail }) => this.dispatchEvent(new CustomEvent("name", { detail })));
    byId("events-more").addEventListener("click", () => told(this.#list.older()));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("filters").addEventListener("reset", (event) => {
      event.preventDefault();
      router.go(routeTo("events"));
    });
    for (const each of FILTERS) {
      byId(`filter-${each}`).addEventListener("input", () => {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#chosen(), each === "name" ? TYPING_MS : 0);
      });
    }
    // A camera that comes or goes while the list of them is open would close it.
    byId("filter-camera").addEventListener("focus", () => this.#fillCameras());
  }

  show(query) {
    this.#isShown = true;
    this.#fillCameras(query.get("camera") ?? "");
    for (const each of FILTERS) {
      const field = byId(`filter-${each}`);
      const value = query.get(each) ?? "";
      if (field.value !== value) {
        field.value = value;
      }
    }
    return this.reload();
  }

  hide() {
    this.#isShown = false;
    clearTimeout(this.#timer);
  }

  /** Read anew, such as after somebody was erased. */
  async reload() {
    if (this.#isShown) {
      const { query, accepts } = this.#filter();
      await this.#list.open(query, accepts);
    }
  }

  /** Show an event, with the others of its face, under the name that it was given. */
  named(event, identity) {
    this.#list.named(event, identity);
  }

  async refresh() {
    if (this.#isShown) {
      await this.#list.refresh();
    }
  }

  #fillCameras(chosen = byId("filter-camera").value) {
    const names = this.#cameras.all.map(({ name }) => name);
    const all = chosen && !names.includes(chosen) ? [...names, chosen] : names; // a removed one's events stay
    byId("filter-camera").replaceChildren(
      h("option", { value: "" }, "All cameras"),
      ...all.map((name) => h("option", { value: name, selected: name === chosen }, name)));
  }

  #chosen() {
    const values = Object.fromEntries(FILTERS.map((each) => [each, byId(`filter-${each}`).value.trim()]));
    // Replaced: the back button leaves the timeline, it does not undo letter by letter.
    this.#router.go(routeTo("events", "", values), { replace: true });
  }

  #filter() {
    const [kind, camera, name, day] = FILTERS.map((each) => byId(`filter-${each}`).value.trim());
    const kinds = KINDS[kind] ?? (kind ? [kind] : []);
    const query = new URLSearchParams(kinds.map((each) => ["kind", each]));
    let accepts = (event) => (!kinds.length || kinds.includes(event.kind)) && (!camera || event.camera === camera) && (!name || event.name === name);
    if (camera) {
      query.set("camera", camera);
    }
    if (name) {
      query.set("name", name);
    }
    if (day) {
      const from = new Date(`${day}T00:00`);
      const to = new Date(from);
      to.setDate(from.getDate() + 1);
      query.set("after", from.toISOString());
      query.set("before", to.toISOString());
      const matches = accepts;
      accepts = (event) => matches(event) && new Date(event.at) >= from && new Date(event.at) < to;
    }
    return { query, accepts };
  }

  #say() {
    const n = this.#list.length;
    const isFiltered = FILTERS.some((each) => byId(`filter-${each}`).value);
    byId("event-list").hidden = n === 0;
    byId("events-empty").hidden = n > 0;
    setText(byId("events-empty"), isFiltered
      ? "Nothing of that kind is kept."
      : "Nothing has happened yet. Who comes and goes shows up here.");
    byId("events-more").hidden = !this.#list.hasOlder;
    byId("filter-reset").disabled = !isFiltered;
  }
}
