// Everybody who is enrolled.

import { api, encode, told } from "./api.js";
import { ask, confirm } from "./dialogs.js";
import { byId, glyph, h, portrait, toast } from "./dom.js";

const MAX_SHOWN = 300; // a gallery may hold many thousands: search finds the others

/** Event: "removed" after a person was erased. */
export class People extends EventTarget {
  #people = [];

  constructor() {
    super();
    byId("people-search").addEventListener("input", () => this.#show());
    byId("add-person").addEventListener("click", () => this.#add());
  }

  async load() {
    this.#people = await api("GET", "api/identities");
    byId("people-count").textContent = this.#people.length || "";
    byId("known-names").replaceChildren(
      ...this.#people.slice(0, MAX_SHOWN).map(({ name }) => h("option", { value: name })));
    this.#show();
  }

  #show() {
    const wanted = byId("people-search").value.trim().toLocaleLowerCase();
    const found = this.#people.filter(({ name }) => name.toLocaleLowerCase().includes(wanted));
    const hidden = found.length - MAX_SHOWN;
    byId("people-list").replaceChildren(
      ...found.slice(0, MAX_SHOWN).map((person) => this.#row(person)),
      ...(hidden > 0 ? [h("li", { class: "empty" }, `and ${hidden} more: search to find them`)] : []));
    const empty = byId("people-empty");
    empty.hidden = found.length > 0;
    empty.textContent = this.#people.length
      ? `Nobody is called “${wanted}”.`
      : "Nobody is enrolled. Click an unknown face in the video, or add photos.";
  }

  #row(person) {
    const { identity_id: id, name, n_photos: n } = person;
    // Another picture where the number of photos has changed.
    const picture = portrait(`api/identities/${encode(id)}/photo.jpg?n=${n}`, name);
    return h("li", { class: "person", "data-name": name },
      picture,
      h("div", { class: "event-text" },
        h("p", { class: "event-who" }, h("strong", {}, name)),
        h("p", { class: "event-where" }, n === 1 ? "1 photo" : `${n} photos`)),
      this.#tool("plus", `Add photos of ${name}`, () => this.#add(person)),
      this.#tool("pen", `Rename ${name}`, () => this.#rename(person)),
      this.#tool("trash", `Remove ${name}`, () => this.#remove(person)));
  }

  #tool(icon, label, onclick) {
    return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick }, glyph(icon));
  }

  async #add(person = null) {
    const name = byId("person-form-name");
    const photos = byId("person-form-photos");
    name.value = person?.name ?? "";
    name.readOnly = person !== null;
    photos.value = "";
    byId("person-dialog-title").textContent = person ? `Add photos of ${person.name}` : "Add a person";
    byId("person-save").textContent = person ? "Add photos" : "Add person";
    const report = await ask("person", () => {
      const form = new FormData();
      [...photos.files].forEach((file) => form.append("photos", file));
      if (person) {
        return api("POST", `api/identities/${encode(person.identity_id)}/photos`, form);
      }
      form.append("name", name.value.trim());
      return api("POST", "api/identities", form);
    });
    if (report) {
      const { enrolled, rejected } = report;
      toast(`${enrolled.length === 1 ? "1 photo was" : `${enrolled.length} photos were`} added.`);
      rejected.forEach(({ image, detail }) => toast(`${image}: ${detail}`, "bad"));
      await told(this.load());
    }
  }

  async #rename(person) {
    const input = byId("rename-input");
    input.value = person.name;
    const renamed = await ask("rename", () =>
      api("PATCH", `api/identities/${encode(person.identity_id)}`, { name: input.value.trim() }));
    if (renamed) {
      toast(`${person.name} is now called ${renamed.name}.`);
      await told(this.load());
    }
  }

  async #remove(person) {
    const removed = await confirm({
      title: `Remove ${person.name}?`,
      text: `This erases the name, ${person.n_photos === 1 ? "the photo" : `all ${person.n_photos} photos`}, and ${person.name}’s events with their pictures. It cannot be undone.`,
      yes: "Erase person",
      run: () => api("DELETE", `api/identities/${encode(person.identity_id)}`),
    });
    if (removed) {
      toast(`${person.name} was erased.`);
      await told(this.load());
      this.dispatchEvent(new Event("removed"));
    }
  }
}
