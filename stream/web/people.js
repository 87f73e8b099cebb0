// Everybody who is enrolled: search, add, and open one's sheet.

import { api, encode, told } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, glyph, h, portrait, setText, toast } from "./dom.js";
import { AddForm } from "./people_add.js";
import { askErase, counted } from "./people_ask.js";
import { PersonSheet } from "./people_person.js";
import { mayChange } from "./role.js";

const MAX_SHOWN = 300; // a gallery may hold many thousands: search finds the others

/** Event: "removed" after somebody was erased, and after anything that past events show. */
export class People extends EventTarget {
  #people = [];
  #form = new AddForm();
  #sheet = new PersonSheet();
  #count = h("p", { class: "people-count", role: "status" });

  constructor() {
    super();
    byId("people-list").before(this.#count);
    byId("people-search").addEventListener("input", () => this.#show());
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

  async load() {
    this.#people = await api("GET", "api/identities");
    byId("people-count").textContent = this.#people.length || "";
    byId("known-names").replaceChildren(
      ...this.#people.slice(0, MAX_SHOWN).map(({ name }) => h("option", { value: name })));
    this.#sheet.people = this.#people;
    this.#show();
  }

  #show() {
    const wanted = byId("people-search").value.trim().toLocaleLowerCase();
    const found = this.#people.filter(({ name }) => name.toLocaleLowerCase().includes(wanted));
    const hidden = found.length - MAX_SHOWN;
    byId("people-list").replaceChildren(
      ...found.slice(0, MAX_SHOWN).map((person) => this.#row(person)),
      ...(hidden > 0 ? [h("li", { class: "empty" }, `and ${hidden} more: search to find them`)] : []));
    setText(this.#count, wanted && found.length ? `${found.length} of ${this.#people.length}` : "");
    const empty = byId("people-empty");
    empty.hidden = found.length > 0;
    setText(empty, this.#people.length
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
