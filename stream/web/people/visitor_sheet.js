// The sheet of one visitor: its crops, and corrections.

import { api, attempt, encode } from "../connection/api.js";
import { confirm } from "../page/dialogs.js";
import { glyph, h, setText, toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { routeTo } from "../page/router.js";
import { counted } from "../page/text.js";
import { timeText } from "../page/time.js";
import { askWho } from "./questions.js";

/** @import { Identity } from "../connection/schemas.js" */

/**
 * @typedef {{visitor_id: string, number: number, name: string, visit_count: number, sightings: number, cameras: string[],
 *   first_seen: string, last_seen: string, is_ignored: boolean, is_provisional: boolean, crop_id: number | null, merged: string[], merges: Merged[]}} Visitor
 * @typedef {{visitor_id: string, name: string, at: string | null, similarity: number | null}} Merged
 * @typedef {{sighting_id: number, event_id: number, camera: string, began: string, ended: string, has_crop: boolean}} Seen
 */

/**
 * The URL of a visitor's best crop, or null.
 * @param {Pick<Visitor, "crop_id">} visitor
 */
export function cropOf({ crop_id: id }) {
  return id === null ? null : `api/sightings/${id}/crop.jpg`;
}

/**
 * Ask for a visitor's name, and enroll its crops; resolves to the person, or null.
 * @param {Visitor} visitor
 * @returns {Promise<Identity | true | null>}
 */
export async function askNameOfVisitor({ visitor_id: id, name }) {
  const person = /** @type {Identity | true | null} */ (await askWho({
    title: `Who is ${name}?`,
    hint: "A new or an existing name. The past events and the live video get it.",
    yes: "Save name",
    canForce: true,
    run: (who, force) => api("POST", `api/visitors/${encode(id)}/name`, { name: who, force }),
  }));
  if (person && person !== true) {
    toast(`${name} is ${person.name} from now on.`);
  }
  return person;
}

/**
 * When and why a visitor was merged into the one that is shown.
 * @param {Merged} merged
 */
export function mergedText({ name, at, similarity }) {
  const when = at === null ? "" : ` on ${timeText(new Date(at), { dateStyle: "medium", timeStyle: "short" })}`;
  const why = similarity === null ? "" : ` It was merged without being asked: on average, both are similar by ${similarity.toFixed(2)}.`;
  return `${name} was merged into this one${when}.${why}`;
}

/**
 * Events: "change" after any change, "named" and "erased" after what past events show.
 * @extends {Emitter<{change: void, named: void, erased: void}>}
 */
export class VisitorSheet extends Emitter {
  /** @type {Visitor & {seen: Seen[]} | null} */
  #visitor = null;
  #title = h("h2", { id: "visitor-sheet-title", tabindex: -1 });
  #figures = h("p", { class: "hint", role: "status" });
  #grid = h("ul", { class: "photos", "aria-label": "Sightings" });
  #ignore = this.#button("close", "Ignore", () => this.#toggleIgnored());
  #merges = h("ul", { class: "findings", "aria-label": "Merged visitors" });
  #chosenText = h("span", { role: "status" });
  #chosen = h("div", { class: "chosen", hidden: true }, this.#chosenText, this.#button(null, "This is somebody else", () => this.#split()));
  #dialog = h("dialog", { class: "person-sheet", id: "visitor-sheet", "aria-labelledby": "visitor-sheet-title" },
    h("div", { class: "person-sheet-head" },
      h("div", {}, this.#title, this.#figures),
      h("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => this.#dialog.close() }, glyph("close"))),
    h("div", { class: "person-tools", "data-changes": true },
      this.#button("pen", "Name", () => this.#name()),
      this.#button("search", "Search", async () => { this.#dialog.close(); location.hash = routeTo("search", "", { visitor: this.#shown.visitor_id }); }),
      this.#button("person", "Merge", () => this.#merge()),
      this.#ignore,
      this.#button("trash", "Erase", () => this.#erase(), "danger-text")),
    this.#merges, this.#grid, this.#chosen);

  constructor() {
    super();
    document.body.append(this.#dialog);
  }

  /**
   * @param {string | null} icon
   * @param {string} text
   * @param {() => Promise<void>} act
   */
  #button(icon, text, act, kind = "") {
    return h("button", { type: "button", class: `button small ${kind}`, onclick: () => attempt(act()) }, icon && glyph(icon), h("span", {}, text));
  }

  /** @param {string} id of a visitor */
  async open(id) {
    await this.#fill(id);
    this.#dialog.showModal();
    this.#title.focus();
  }

  get #shown() {
    if (this.#visitor === null) {
      throw new Error("no visitor is shown");
    }
    return this.#visitor;
  }

  get #path() {
    return `api/visitors/${encode(this.#shown.visitor_id)}`;
  }

  /** @param {string} id */
  async #fill(id) {
    this.#visitor = await api("GET", `api/visitors/${encode(id)}`);
    const { name, visit_count: n, seen, merges, is_ignored: isIgnored, is_provisional: isProvisional, first_seen: first } = this.#shown;
    setText(this.#title, name);
    const since = timeText(new Date(first), { dateStyle: "long" });
    setText(this.#figures, `${n === 1 ? "Seen once" : `Seen ${n} times`} since ${since}${isIgnored ? " · ignored" : ""}${isProvisional ? " · briefly, so it may be a known one" : ""}`);
    setText(this.#ignore.lastElementChild ?? this.#ignore, isIgnored ? "Announce again" : "Ignore");
    this.#merges.replaceChildren(...merges.map((each) => this.#merged(each)));
    this.#grid.replaceChildren(...seen.map((each) => this.#card(each)));
    this.#showChosen();
  }

  /** @param {Merged} merged */
  #merged(merged) {
    return h("li", { class: "finding" },
      h("div", { class: "grow finding-text" }, h("p", {}, mergedText(merged))),
      h("div", { class: "finding-tools", "data-changes": true },
        h("button", { type: "button", class: "button small", "aria-label": `Undo the merge of ${merged.name}`, onclick: () => attempt(this.#unmerge(merged)) }, "Undo")));
  }

  /** @param {Seen} seen */
  #card({ sighting_id: id, camera, began }) {
    const when = timeText(new Date(began), { dateStyle: "medium", timeStyle: "short" });
    return h("li", { class: "photo", "data-sighting": String(id) },
      h("label", {},
        h("input", { type: "checkbox", value: id, "data-changes": true, onchange: () => this.#showChosen() }),
        h("span", { class: "visually-hidden" }, "Sighting: "),
        h("span", { class: "photo-image" }, h("img", { src: `api/sightings/${id}/crop.jpg`, alt: "", loading: "lazy" })),
        h("span", { class: "photo-text" }, h("span", {}, camera), h("br"), when)));
  }

  /** @returns {number[]} */
  get #checked() {
    return [...this.#grid.querySelectorAll("input")].filter((input) => input.checked).map(({ value }) => Number(value));
  }

  #showChosen() {
    const n = this.#checked.length;
    this.#chosen.hidden = n === 0 || n === this.#shown.seen.length;
    setText(this.#chosenText, n ? `${counted(n, "sighting")} selected` : "");
  }

  /** @param {string} id */
  async #changed(id = this.#shown.visitor_id) {
    this.emit("change");
    await this.#fill(id);
    this.#title.focus();
  }

  async #name() {
    if (await askNameOfVisitor(this.#shown)) {
      this.#dialog.close();
      this.emit("named");
      this.emit("change");
    }
  }

  async #merge() {
    const { name, visitor_id: id, is_ignored: isIgnored } = this.#shown;
    const kept = /** @type {Visitor | true | null} */ (await askWho({
      title: `Who is the same as ${name}?`,
      hint: `Another visitor, such as Visitor 2. ${name} becomes that one; this can be undone.`,
      yes: "Merge",
      canForce: "They are the same person",
      run: async (who, force) => {
        const { visitors } = await api("GET", `api/visitors?name=${encode(who)}`);
        const into = /** @type {Visitor[]} */ (visitors).find((each) => each.visitor_id !== id);
        if (!into) {
          throw new Error(`no other visitor is called ${who}`);
        }
        if (into.is_ignored !== isIgnored) {
          throw new Error(`${into.is_ignored ? into.name : name} is ignored and the other one is not: ignore both first, or none`);
        }
        return api("POST", `${this.#path}/merge`, { into: into.visitor_id, force });
      },
    }));
    if (kept && kept !== true) {
      toast(`${name} is ${kept.name} now.`);
      await this.#changed(kept.visitor_id);
    }
  }

  /** @param {Merged} merged */
  async #unmerge({ visitor_id: id }) {
    const { visitors } = await api("POST", `${this.#path}/unmerge`, { visitor_id: id });
    toast(`${visitors.map((/** @type {Visitor} */ each) => each.name).join(" and ")} are two again.`);
    await this.#changed();
  }

  async #split() {
    const other = await api("POST", `${this.#path}/split`, { sighting_ids: this.#checked });
    toast(`${other.name} was made of them.`);
    await this.#changed();
  }

  async #toggleIgnored() {
    const { name, is_ignored: isIgnored } = this.#shown;
    await api("POST", `${this.#path}/ignore`, { is_ignored: !isIgnored });
    toast(isIgnored ? `${name} is announced again.` : `${name} is not announced any more, on any camera.`);
    await this.#changed();
  }

  async #erase() {
    const { name } = this.#shown;
    const erased = await confirm({
      title: `Erase ${name}?`,
      text: "This erases the visitor with its crops and events. This cannot be undone.",
      yes: "Erase visitor",
      run: () => api("DELETE", this.#path),
    });
    if (erased) {
      toast(`${name} was erased.`);
      this.#dialog.close();
      this.emit("erased");
      this.emit("change");
    }
  }
}
