// The sheet of one person: photos, and corrections.

import { ApiError, api, attempt, encode } from "../connection/api.js";
import { confirm } from "../page/dialogs.js";
import { glyph, h, setText, toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { routeTo } from "../page/router.js";
import { counted } from "../page/text.js";
import { timeText } from "../page/time.js";
import { Past } from "./past.js";
import { askErase, askWho } from "./questions.js";

/** @import { Identity, Photo, WholePerson } from "../connection/schemas.js" */

/**
 * Events: "add" and "rename" with the person; "change" after photos or people changed.
 * @extends {Emitter<{add: WholePerson, rename: WholePerson, change: void}>}
 */
export class PersonSheet extends Emitter {
  /** @type {WholePerson} */
  #person = { identity_id: "", name: "", n_events: 0, photos: [] }; // empty until it is opened
  #title = h("h2", { id: "sheet-title", tabindex: -1 });
  #figures = h("p", { class: "hint", id: "sheet-figures", role: "status" });
  #grid = h("ul", { class: "photos", "aria-label": "Photos" });
  #empty = h("p", { class: "empty" }, "No photos left: this person is not recognized until photos are added.");
  #past = new Past();
  #chosenText = h("span", { role: "status" });
  #chosen;
  #dialog;

  constructor() {
    super();
    /**
     * @param {string | null} icon
     * @param {string} text
     * @param {() => void} onclick
     */
    const button = (icon, text, onclick, kind = "") =>
      h("button", { type: "button", class: `button small ${kind}`, onclick }, icon && glyph(icon), text);
    this.#chosen = h("div", { class: "chosen", hidden: true },
      this.#chosenText,
      button(null, "Move to another person", () => attempt(this.#move())),
      button(null, "Clear selection", () => this.#chooseNone()));
    this.#dialog = h("dialog", { class: "person-sheet", id: "person-sheet", "aria-labelledby": "sheet-title" },
      h("div", { class: "person-sheet-head" },
        h("div", {}, this.#title, this.#figures),
        h("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => this.#dialog.close() }, glyph("close"))),
      h("div", { class: "person-tools", "data-changes": true },
        button("plus", "Add photos", () => this.emit("add", this.#person)),
        button("pen", "Rename", () => this.emit("rename", this.#person)),
        button("search", "Search", () => { this.#dialog.close(); location.hash = routeTo("search", "", { identity: this.#person.identity_id }); }),
        button("person", "Merge", () => attempt(this.#merge())),
        button("trash", "Erase", () => attempt(this.#erase()), "danger-text")),
      this.#past.element, this.#grid, this.#empty, this.#chosen);
    document.body.append(this.#dialog);
    this.#past.on("named", () => attempt(this.#changed()));
  }

  /** @param {string} id of a person */
  async open(id) {
    await this.#fill(id);
    this.#dialog.showModal();
    this.#title.focus();
  }

  /** Reload the person if the sheet is open. */
  async refresh() {
    if (this.#dialog.open) {
      await this.#fill(this.#person.identity_id);
    }
  }

  /** @param {string} id */
  async #fill(id) {
    this.#person = await api("GET", `api/identities/${encode(id)}`);
    const { name, photos, n_events: n } = this.#person;
    setText(this.#title, name);
    setText(this.#figures, `${counted(photos.length, "photo")} · ${counted(n, "event")}`);
    this.#grid.replaceChildren(...photos.map((photo) => this.#card(photo)));
    this.#empty.hidden = photos.length > 0;
    this.#showChosen();
    attempt(this.#past.load(this.#person));
  }

  /** @param {Photo} photo */
  #card({ photo_id: id, quality, created_at: at, has_crop: hasCrop }) {
    const percent = Math.round(quality * 100);
    const day = timeText(new Date(at * 1000), { dateStyle: "medium" });
    const picture = hasCrop
      ? h("img", { src: `api/identities/${encode(this.#person.identity_id)}/photos/${id}.jpg`, alt: "", loading: "lazy" })
      : "no image stored";
    return h("li", { class: "photo", "data-photo": id },
      h("label", {},
        h("input", { type: "checkbox", value: id, "data-changes": true, onchange: () => this.#showChosen() }),
        h("span", { class: "visually-hidden" }, `Photo ${id}`),
        h("span", { class: "photo-image" }, picture),
        h("span", { class: "photo-text" },
          `Quality ${percent} %`,
          h("meter", { min: 0, max: 100, low: 30, high: 50, optimum: 100, value: percent, "aria-hidden": "true" }),
          day)),
      h("button", { type: "button", class: "icon-button", "data-changes": true, "aria-label": `Remove photo ${id}`, title: "Remove this photo", onclick: () => attempt(this.#removePhoto(id)) }, glyph("trash")));
  }

  /** @returns {HTMLInputElement[]} */
  get #checked() {
    return [...this.#grid.querySelectorAll("input")].filter((input) => input.checked);
  }

  #showChosen() {
    const n = this.#checked.length;
    this.#chosen.hidden = n === 0;
    setText(this.#chosenText, n ? `${counted(n, "photo")} selected` : "");
  }

  #chooseNone() {
    this.#checked.forEach((box) => { box.checked = false; });
    this.#showChosen();
    this.#title.focus();
  }

  async #changed(id = this.#person.identity_id) {
    this.emit("change");
    await this.#fill(id);
    this.#title.focus();
  }

  /** @param {number} photoId */
  async #removePhoto(photoId) {
    const { identity_id: id, name, photos } = this.#person;
    const removed = await confirm({
      title: "Remove this photo?",
      text: photos.length === 1
        ? `It is the only photo of ${name}: without it, ${name} is no longer recognized. This cannot be undone.`
        : `${name} keeps ${counted(photos.length - 1, "photo")}. This cannot be undone.`,
      yes: "Remove photo",
      run: () => api("DELETE", `api/identities/${encode(id)}/photos/${photoId}`),
    });
    if (removed) {
      toast("The photo was removed.");
      await this.#changed();
    }
  }

  async #move() {
    const ids = this.#checked.map(({ value }) => Number(value));
    const { identity_id: id, name } = this.#person;
    const other = /** @type {Identity | null} */ (await askWho({
      title: `Who is on ${ids.length === 1 ? "this photo" : `these ${ids.length} photos`}?`,
      hint: `A new or an existing name. Past events that show them are no longer assigned to ${name}.`,
      yes: "Move photos",
      run: (to) => api("POST", `api/identities/${encode(id)}/split`, { photo_ids: ids, name: to }),
    }));
    if (other) {
      toast(`${counted(ids.length, "photo")} moved to ${other.name}.`);
      await this.#changed();
    }
  }

  async #merge() {
    const { identity_id: id, name } = this.#person;
    const kept = /** @type {Identity | null} */ (await askWho({
      title: `Merge with ${name}`,
      hint: `All photos and events of ${name} move to that person, and ${name} is removed.`,
      yes: "Merge",
      run: async (into) => {
        try {
          return await api("PATCH", `api/identities/${encode(id)}`, { merge_into: into });
        } catch (error) {
          if (error instanceof ApiError && error.status === 404) {
            throw new Error(`no person is called ${into}: choose one of the enrolled people`, { cause: error });
          }
          throw error;
        }
      },
    }));
    if (kept) {
      toast(`${name} was merged into ${kept.name}.`);
      await this.#changed(kept.identity_id);
    }
  }

  async #erase() {
    if (await askErase(this.#person)) {
      this.#dialog.close();
      this.emit("change");
    }
  }
}
