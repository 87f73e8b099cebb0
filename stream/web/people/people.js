// Everybody who is enrolled: search, add, and open one's sheet.

import { api, apiList, encode, told } from "../connection/api.js";
import { ask } from "../page/dialogs.js";
import { byId, glyph, h, portrait, setText, toast } from "../page/dom.js";
import { AddForm } from "./add_form.js";
import { askErase, counted } from "./questions.js";
import { PersonSheet } from "./person.js";
import { mayChange } from "../page/role.js";

const PAGE = 100; // people read at a time: a gallery may hold many thousands
const MOST = 1000; // people that one answer may hold
const SEARCH_MS = 200; // from the last letter typed to the question

/** Event: "removed" after somebody was erased, and after anything that past events show. */
export class People extends EventTarget {
  #people = [];
  #next = null;
  #total = 0;
  #last = Promise.resolve();
  #typing = null;
  #form = new AddForm();
  #sheet = new PersonSheet();
  #count = h("p", { class: "people-count", role: "status" });
  #more = h("button", { type: "button", class: "button small people-more", hidden: true, onclick: () => told(this.#inTurn(() => this.#readMore())) }, "Show more");

  constructor() {
    super();
    byId("people-list").before(this.#count);
    byId("people-list").after(this.#more);
    byId("people-search").addEventListener("input", () => this.#soon(() => this.#inTurn(() => this.#read(PAGE))));
    // Names are suggested where one is typed: of all people, not of those that are listed.
    document.addEventListener("input", ({ target }) => {
      if (target.getAttribute("list") === "known-names") {
        this.#soon(() => this.#suggest(target.value.trim()));
      }
    });
    byId("add-person").addEventListener("click", () => told(this.#add()));
    this.#form.addEventListener("added", () => told(this.load()));
    this.#form.addEventListener("dropped", ({ detail }) => told(this.#add(null, detail)));
    this.#sheet.addEventListener("add", ({ detail }) => told(this.#add(detail)));
    this.#sheet.addEventListener("rename", ({ detail }) => told(this.#rename(detail)));
    this.#sheet.addEventListener("change", () => {
      told(this.load());
      this.dispatchEvent(new Event("removed"));
    });
  }

  /** Read everybody's number, names to suggest, and as many people as were listed. */
  async load() {
    await this.#suggest("");
    await this.#inTurn(() => this.#read(Math.min(Math.max(PAGE, this.#people.length), MOST)));
  }

  /** Read after what was asked before: no answer undoes a later one, and none is lost. */
  #inTurn(read) {
    const turn = this.#last.then(read);
    this.#last = turn.catch(() => {});
    return turn;
  }

  get #wanted() {
    return byId("people-search").value.trim();
  }

  #soon(read) {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => told(read()), SEARCH_MS);
  }

  async #suggest(text) {
    const { rows, total } = await apiList(`api/identities?limit=${PAGE}&q=${encode(text)}`);
    byId("known-names").replaceChildren(...rows.map(({ name }) => h("option", { value: name })));
    if (!text) {
      this.#total = total;
      byId("people-count").textContent = total || "";
    }
  }

  async #read(limit) {
    const answer = await apiList(`api/identities?limit=${limit}&q=${encode(this.#wanted)}`);
    this.#people = answer.rows;
    this.#show(answer, true);
  }

  async #readMore() {
    if (this.#next !== null) { // else the list was read anew meanwhile, and is whole
      const answer = await apiList(this.#next);
      this.#people.push(...answer.rows);
      this.#show(answer, false);
    }
  }

  #show({ rows: people, total, next }, isAnew) {
    this.#next = next;
    const list = byId("people-list");
    const rows = people.map((person) => this.#row(person));
    if (isAnew) {
      list.replaceChildren(...rows);
    } else {
      list.append(...rows);
      rows[0]?.querySelector("button").focus();
    }
    this.#more.hidden = next === null;
    const wanted = this.#wanted;
    const shown = `${this.#people.length} of ${total}`;
    setText(this.#count, wanted && total ? `${total} of ${this.#total}` : next === null ? "" : shown);
    const empty = byId("people-empty");
    empty.hidden = total > 0;
    setText(empty, this.#total
      ? `Nobody is called “${wanted}”.`
      : `Nobody is enrolled.${mayChange() ? " Click an unknown face in the video, or add photos." : ""}`);
  }

  #row(person) {
    const { identity_id: id, name, n_photos: n } = person;
    // Another picture where the number of photos has changed.
    const picture = portrait(`api/identities/${encode(id)}/photo.jpg?n=${n}`, name);
    return h("li", { class: "person", "data-name": name },
      h("button", { type: "button", class: "person-open", "aria-label": `${name}, ${counted(n, "photo")}`, onclick: () => told(this.#sheet.open(id)) },
        picture,
        h("span", { class: "event-text" },
          h("strong", { class: "event-who" }, name),
          h("span", { class: "event-where person-photos" }, counted(n, "photo")))),
      this.#tool("plus", `Add photos of ${name}`, () => told(this.#add(person))),
      this.#tool("pen", `Rename ${name}`, () => told(this.#rename(person))),
      this.#tool("trash", `Remove ${name}`, () => told(this.#erase(person))));
  }

  #tool(icon, label, onclick) {
    return h("button", { type: "button", class: "icon-button", "data-changes": true, "aria-label": label, title: label, onclick }, glyph(icon));
  }

  async #add(person = null, files = []) {
    if (await this.#form.ask(person, files)) {
      await this.#changed();
    }
  }

  async #rename(person) {
    const input = byId("rename-input");
    input.value = person.name;
    const renamed = await ask("rename", () =>
      api("PATCH", `api/identities/${encode(person.identity_id)}`, { name: input.value.trim() }));
    if (renamed) {
      toast(`${person.name} is now called ${renamed.name}.`);
      await this.#changed();
    }
  }

  async #erase(person) {
    if (await askErase(await api("GET", `api/identities/${encode(person.identity_id)}`))) {
      await this.#changed();
    }
  }

  async #changed() {
    await this.load();
    await this.#sheet.refresh();
    this.dispatchEvent(new Event("removed"));
  }
}
