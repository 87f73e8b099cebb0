// The enrolled people: search, add, and open a person's sheet.

import { api, apiList, attempt, encode } from "../connection/api.js";
import { ask } from "../page/dialogs.js";
import { byId, glyph, h, portrait, setChildren, setText, toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { mayChange } from "../page/role.js";
import { counted } from "../page/text.js";
import { Turns } from "../page/turns.js";
import { AddForm } from "./add_form.js";
import { CalibrationPanel } from "./calibration.js";
import { Hygiene } from "./hygiene.js";
import { ManyPeople } from "./many.js";
import { PersonSheet } from "./person.js";
import { askErase } from "./questions.js";
import { Visitors } from "./visitors.js";

/** @import { Identity, Person } from "../connection/schemas.js" */

const PAGE = 100; // people per request: a gallery may hold many thousands
const PARTS = ["visitors", "look", "threshold"];
const MOST = 1000; // maximum of one response
const QUICK = 1000; // people whose photos are compared in less than half a second
const SEARCH_MS = 200; // from the last keystroke to the request

/**
 * Event: "removed" after a person was erased, and after any change that past events show.
 * @extends {Emitter<{removed: void}>}
 */
export class People extends Emitter {
  /** @type {Person[]} */
  #people = [];
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map(); // by what they show
  /** @type {string | null} */
  #next = null;
  #total = 0;
  #turns = new Turns();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;
  #form = new AddForm();
  #sheet = new PersonSheet();
  #many = new ManyPeople();
  #hygiene = new Hygiene();
  #calibration = new CalibrationPanel();
  #visitors = new Visitors();
  #nFindings = h("span", { class: "count" });
  #tabs = h("nav", { class: "tabs", "aria-label": "People" },
    h("a", { href: "#/people" }, "Everybody"),
    h("a", { href: "#/people/visitors" }, "Visitors"),
    h("a", { href: "#/people/look" }, "Needs a look ", this.#nFindings),
    h("a", { href: "#/people/threshold" }, "Threshold"));
  #count = h("p", { class: "people-count", role: "status" });
  #more = h("button", { type: "button", class: "button small people-more", hidden: true, onclick: () => attempt(this.#turns.run(() => this.#readMore())) }, "Show more");

  constructor() {
    super();
    byId("people-list").before(this.#count);
    byId("people-list").after(this.#more);
    byId("people-search").addEventListener("input", () => this.#soon(() => this.#turns.run(() => this.#read(PAGE))));
    // Suggest names of all people, not only of those listed.
    document.addEventListener("input", ({ target }) => {
      if (target instanceof HTMLInputElement && target.getAttribute("list") === "known-names") {
        this.#soon(() => this.#suggest(target.value.trim()));
      }
    });
    byId("add-person").addEventListener("click", () => attempt(this.#add()));
    this.#addPanels();
    this.#form.on("added", () => attempt(this.load()));
    this.#form.on("dropped", (files) => attempt(this.#add(null, files)));
    this.#sheet.on("add", (person) => attempt(this.#add(person)));
    this.#sheet.on("rename", (person) => attempt(this.#rename(person)));
    this.#sheet.on("change", () => {
      attempt(this.load());
      this.emit("removed");
    });
  }

  #addPanels() {
    const list = byId("people-panel");
    list.before(this.#tabs, this.#many.element);
    list.after(this.#visitors.element, this.#hygiene.element, this.#calibration.element);
    this.#visitors.on("named", () => attempt(this.#changed()));
    this.#visitors.on("erased", () => this.emit("removed"));
    byId("add-person").after(h("button", { type: "button", class: "button small", id: "add-many", "data-changes": true, onclick: () => this.#many.open() },
      glyph("plus"), "Add many"));
    this.#many.on("added", () => attempt(this.load()));
    this.#hygiene.on("count", (n) => setText(this.#nFindings, n ? String(n) : ""));
    this.#hygiene.on("changed", () => attempt(this.#changed()));
    this.#form.on("folders", (transfer) => {
      location.hash = "#/people";
      attempt(this.#many.drop(transfer));
    });
  }

  /**
   * Show a part of the view.
   * @param {string} part "visitors", "look", "threshold", or any other for the list
   */
  async show(part) {
    const shown = PARTS.includes(part) ? part : "";
    byId("people-panel").hidden = shown !== "";
    this.#many.isAside = shown !== "";
    this.#visitors.element.hidden = shown !== "visitors";
    this.#hygiene.element.hidden = shown !== "look";
    this.#calibration.element.hidden = shown !== "threshold";
    for (const link of this.#tabs.querySelectorAll("a")) {
      if (link.getAttribute("href") === `#/people${shown && `/${shown}`}`) {
        link.setAttribute("aria-current", "page");
      } else {
        link.removeAttribute("aria-current");
      }
    }
    if (shown === "visitors") {
      await this.#visitors.load();
    } else if (shown === "look") {
      await this.#hygiene.load();
    } else if (shown === "threshold") {
      await this.#calibration.load();
    } else {
      await this.load();
      if (this.#total <= QUICK) { // for the number beside "Needs a look"
        await this.#hygiene.load();
      }
    }
  }

  /** Read the visitors again if they are shown: one was seen. */
  visitorSeen() {
    this.#visitors.seen();
  }

  /** Read the number of people, names to suggest, and as many people as were listed. */
  async load() {
    await this.#suggest("");
    await this.#turns.run(() => this.#read(Math.min(Math.max(PAGE, this.#people.length), MOST)));
  }

  get #wanted() {
    return byId("people-search", HTMLInputElement).value.trim();
  }

  /** @param {() => Promise<void>} read */
  #soon(read) {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => attempt(read()), SEARCH_MS);
  }

  /** @param {string} text that the names contain */
  async #suggest(text) {
    const { rows, total } = await apiList(`api/identities?limit=${PAGE}&q=${encode(text)}`);
    byId("known-names").replaceChildren(...rows.map(({ name }) => h("option", { value: name })));
    if (!text) {
      this.#total = total;
      byId("people-count").textContent = total ? String(total) : "";
    }
  }

  /** @param {number} limit */
  async #read(limit) {
    const answer = await apiList(`api/identities?limit=${limit}&q=${encode(this.#wanted)}`);
    this.#people = answer.rows;
    this.#show(answer, true);
  }

  async #readMore() {
    if (this.#next !== null) { // else the list was reloaded meanwhile, and is complete
      const answer = await apiList(this.#next);
      this.#people.push(...answer.rows);
      this.#show(answer, false);
    }
  }

  /**
   * @param {{rows: Person[], total: number, next: string | null}} answer
   * @param {boolean} isAnew else the rows are appended
   */
  #show({ rows: people, total, next }, isAnew) {
    this.#next = next;
    const list = byId("people-list");
    /** @type {Map<string, HTMLElement>} */
    const rows = new Map(isAnew ? [] : this.#rows);
    for (const person of people) {
      const key = JSON.stringify([person.identity_id, person.name, person.n_photos]);
      rows.set(key, this.#rows.get(key) ?? this.#row(person));
    }
    this.#rows = rows;
    const nBefore = list.children.length;
    setChildren(list, [...rows.values()]);
    if (!isAnew) {
      list.children[nBefore]?.querySelector("button")?.focus();
    }
    this.#more.hidden = next === null;
    const wanted = this.#wanted;
    setText(this.#count, countText({
      isSearch: wanted !== "", hasMore: next !== null,
      nShown: this.#people.length, nFound: total, nAll: this.#total,
    }));
    const empty = byId("people-empty");
    empty.hidden = total > 0;
    setText(empty, this.#total
      ? `No person matches “${wanted}”.`
      : `Nobody is enrolled.${mayChange() ? " Click an unknown face in the video, or add photos." : ""}`);
  }

  /** @param {Person} person */
  #row(person) {
    const { identity_id: id, name, n_photos: n } = person;
    // The number of photos makes a new URL when the portrait may have changed.
    const picture = portrait(`api/identities/${encode(id)}/photo.jpg?n=${n}`, name);
    return h("li", { class: "person", "data-name": name },
      h("button", { type: "button", class: "person-open", "aria-label": `${name}, ${counted(n, "photo")}`, onclick: () => attempt(this.#sheet.open(id)) },
        picture,
        h("span", { class: "event-text" },
          h("strong", { class: "event-who" }, name),
          h("span", { class: "event-where person-photos" }, counted(n, "photo")))),
      this.#tool("plus", `Add photos of ${name}`, () => attempt(this.#add(person))),
      this.#tool("pen", `Rename ${name}`, () => attempt(this.#rename(person))),
      this.#tool("trash", `Remove ${name}`, () => attempt(this.#erase(person))));
  }

  /**
   * @param {string} icon
   * @param {string} label
   * @param {() => void} onclick
   */
  #tool(icon, label, onclick) {
    return h("button", { type: "button", class: "icon-button", "data-changes": true, "aria-label": label, title: label, onclick }, glyph(icon));
  }

  /**
   * @param {Identity | null} person null for a new person
   * @param {File[]} files
   */
  async #add(person = null, files = []) {
    if (await this.#form.ask(person, files)) {
      await this.#changed();
    }
  }

  /** @param {Identity} person */
  async #rename(person) {
    const input = byId("rename-input", HTMLInputElement);
    input.value = person.name;
    /** @type {Identity | null} */
    const renamed = await ask("rename", () =>
      api("PATCH", `api/identities/${encode(person.identity_id)}`, { name: input.value.trim() }));
    if (renamed) {
      toast(`${person.name} was renamed to ${renamed.name}.`);
      await this.#changed();
    }
  }

  /** @param {Identity} person */
  async #erase(person) {
    if (await askErase(await api("GET", `api/identities/${encode(person.identity_id)}`))) {
      await this.#changed();
    }
  }

  async #changed() {
    await this.load();
    await this.#sheet.refresh();
    this.emit("removed");
  }
}

/**
 * The number of people found by a search, or shown if there are more.
 * @param {{isSearch: boolean, hasMore: boolean, nShown: number, nFound: number, nAll: number}} numbers
 */
export function countText({ isSearch, hasMore, nShown, nFound, nAll }) {
  if (isSearch && nFound) {
    return `${nFound} of ${nAll}`;
  }
  return hasMore ? `${nShown} of ${nFound}` : "";
}
