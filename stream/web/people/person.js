// One person's sheet: their photos, and what can be put right about them.

import { api, encode, told } from "../connection/api.js";
import { confirm } from "../page/dialogs.js";
import { glyph, h, setText, toast } from "../page/dom.js";
import { askErase, askWho, counted } from "./questions.js";

/** Events: "add" and "rename" with the person; "change" after photos or people changed. */
export class PersonSheet extends EventTarget {
  #person = null;
  #title = h("h2", { id: "sheet-title", tabindex: -1 });
  #figures = h("p", { class: "hint", id: "sheet-figures", role: "status" });
  #grid = h("ul", { class: "photos", "aria-label": "Photos" });
  #empty = h("p", { class: "empty" }, "No photo is left: this person is not recognised until photos are added.");
  #chosenText = h("span", { role: "status" });
  #chosen;
  #dialog;

  constructor() {
    super();
    const button = (icon, text, onclick, kind = "") =>
      h("button", { type: "button", class: `button small ${kind}`, onclick }, icon && glyph(icon), text);
    this.#chosen = h("div", { class: "chosen", hidden: true },
      this.#chosenText,
      button(null, "Move to another person", () => told(this.#move())),
      button(null, "Choose none", () => this.#chooseNone()));
    this.#dialog = h("dialog", { class: "person-sheet", id: "person-sheet", "aria-labelledby": "sheet-title" },
      h("div", { class: "person-sheet-head" },
        h("div", {}, this.#title, this.#figures),
        h("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => this.#dialog.close() }, glyph("close"))),
      h("div", { class: "person-tools", "data-changes": true },
        button("plus", "Add photos", () => this.#tell("add")),
        button("pen", "Rename", () => this.#tell("rename")),
        button("person", "Merge", () => told(this.#merge())),
        button("trash", "Erase", () => told(this.#erase()), "danger-text")),
      this.#grid, this.#empty, this.#chosen);
    document.body.append(this.#dialog);
  }

  async open(id) {
    await this.#fill(id);
    this.#dialog.showModal();
    this.#title.focus();
  }

  /** Show the person as they are now, if the sheet is open. */
  async refresh() {
    if (this.#dialog.open) {
      await this.#fill(this.#person.identity_id);
    }
  }

  async #fill(id) {
    this.#person = await api("GET", `api/identities/${encode(id)}`);
    const { name, photos, n_events: n } = this.#person;
    setText(this.#title, name);
    setText(this.#figures, `${counted(photos.length, "photo")} · ${counted(n, "event")}`);
    this.#grid.replaceChildren(...photos.map((photo) => this.#card(photo)));
    this.#empty.hidden = photos.length > 0;
    this.#showChosen();
  }

  #card({ photo_id: id, quality, created_at: at, has_crop: hasCrop }) {
    const percent = Math.round(quality * 100);
    const day = new Date(at * 1000).toLocaleDateString([], { dateStyle: "medium" });
    const picture = hasCrop
      ? h("img", { src: `api/identities/${encode(this.#person.identity_id)}/photos/${id}.jpg`, alt: "", loading: "lazy" })
      : "no picture kept";
    return h("li", { class: "photo", "data-photo": id },
      h("label", {},
        h("input", { type: "checkbox", value: id, "data-changes": true, onchange: () => this.#showChosen() }),
        h("span", { class: "visually-hidden" }, `Photo ${id}`),
        h("span", { class: "photo-picture" }, picture),
        h("span", { class: "photo-text" },
          `Quality ${percent} %`,
          h("meter", { min: 0, max: 100, low: 30, high: 50, optimum: 100, value: percent, "aria-hidden": "true" }),
          day)),
      h("button", { type: "button", class: "icon-button", "data-changes": true, "aria-label": `Remove photo ${id}`, title: "Remove this photo", onclick: () => told(this.#removePhoto(id)) }, glyph("trash")));
  }

  get #ids() {
    return [...this.#grid.querySelectorAll("input:checked")].map(({ value }) => Number(value));
  }

  #showChosen() {
    const n = this.#ids.length;
    this.#chosen.hidden = n === 0;
    setText(this.#chosenText, n ? `${counted(n, "photo")} chosen` : "");
  }

  #chooseNone() {
    this.#grid.querySelectorAll("input:checked").forEach((box) => { box.checked = false; });
    this.#showChosen();
    this.#title.focus();
  }

  #tell(what) {
    this.dispatchEvent(new CustomEvent(what, { detail: this.#person }));
  }

  async #changed(id = this.#person.identity_id) {
    this.dispatchEvent(new Event("change"));
    await this.#fill(id);
    this.#title.focus();
  }

  async #removePhoto(photoId) {
    const { identity_id: id, name, photos } = this.#person;
    const removed = await confirm({
      title: "Remove this photo?",
      text: photos.length === 1
        ? `It is the only photo of ${name}, who is then recognised no more. It cannot be undone.`
        : `${name} keeps ${counted(photos.length - 1, "photo")}. It cannot be undone.`,
      yes: "Remove photo",
      run: () => api("DELETE", `api/identities/${encode(id)}/photos/${photoId}`),
    });
    if (removed) {
      toast("The photo was removed.");
      await this.#changed();
    }
  }

  async #move() {
    const ids = this.#ids;
    const { identity_id: id, name } = this.#person;
    const other = await askWho({
      title: `Who is on ${ids.length === 1 ? "this photo" : `these ${ids.length} photos`}?`,
      hint: `Somebody new, or known already. Past events that show them are ${name}’s no more.`,
      yes: "Move photos",
      run: (to) => api("POST", `api/identities/${encode(id)}/split`, { photo_ids: ids, name: to }),
    });
    if (other) {
      toast(`${counted(ids.length, "photo")} moved to ${other.name}.`);
      await this.#changed();
    }
  }

  async #merge() {
    const { identity_id: id, name } = this.#person;
    const kept = await askWho({
      title: `Merge with ${name}`,
      hint: `All photos and events of ${name} go to that person, and the name ${name} ends.`,
      yes: "Merge",
      run: async (into) => {
        try {
          return await api("PATCH", `api/identities/${encode(id)}`, { merge_into: into });
        } catch (error) {
          if (error.status === 404) {
            throw new Error(`nobody is called ${into}: choose one of the known people`);
          }
          throw error;
        }
      },
    });
    if (kept) {
      toast(`${name} is ${kept.name}.`);
      await this.#changed(kept.identity_id);
    }
  }

  async #erase() {
    if (await askErase(this.#person)) {
      this.#dialog.close();
      this.dispatchEvent(new Event("change"));
    }
  }
}
