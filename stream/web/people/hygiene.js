// "Needs a look": photos and people of the gallery that harm recognition, and what mends each.

import { api, attempt, encode } from "../connection/api.js";
import { confirm } from "../page/dialogs.js";
import { h, setText, toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { counted } from "../page/text.js";

/** @import { Identity } from "../connection/schemas.js" */

/**
 * @typedef {{action: "remove_photo" | "move_photo" | "merge", method: string, path: string, body: {name?: string, photo_ids?: number[], merge_into?: string} | null}} Mend
 * @typedef {{id: string, kind: "unlike" | "alike" | "redundant" | "poor", detail: string, people: Identity[],
 *   photos: {identity_id: string, photo_id: number, quality: number, has_crop: boolean}[],
 *   similarity: number | null, mend: Mend[]}} Finding
 */

const HIDDEN = "facewire-findings-hidden"; // ids that somebody looked at and kept
const TITLES = {
  unlike: "Unlike the other photos", alike: "Maybe the same person", redundant: "Nearly the same photo twice", poor: "Poor quality",
};
const KEEP = { unlike: "It is right", alike: "They are different", redundant: "Keep both", poor: "Keep it" };

/**
 * The panel. Events: "changed" after something was mended; "count" with the number of findings.
 * @extends {Emitter<{changed: void, count: number}>}
 */
export class Hygiene extends Emitter {
  /** @type {Set<string>} */
  #hidden = new Set(JSON.parse(localStorage.getItem(HIDDEN) ?? "[]"));
  /** @type {Finding[]} */
  #findings = [];
  #total = 0;
  #status = h("p", { class: "hint", role: "status" });
  #list = h("ul", { class: "findings", "aria-label": "Needs a look" });
  #again = h("button", { type: "button", class: "button small", hidden: true, onclick: () => this.#showHidden() });
  element = h("section", { class: "panel", id: "hygiene", "aria-labelledby": "hygiene-title", hidden: true },
    h("div", { class: "panel-head" }, h("h3", { id: "hygiene-title", tabindex: -1 }, "Needs a look"), this.#again),
    this.#status, this.#list);

  /** Read what was found. */
  async load() {
    setText(this.#status, this.#findings.length ? "" : "Looking at all photos.");
    const { findings, total, n_people: people, n_photos: photos } = await api("GET", "api/gallery/hygiene?limit=200");
    this.#findings = findings;
    this.#total = total;
    this.#show(`${photos === 1 ? "1 photo" : `${photos} photos`} of ${people === 1 ? "1 person" : `${people} people`}`);
  }

  get #shown() {
    return toDecide(this.#findings.filter(({ id }) => !this.#hidden.has(id)));
  }

  /** @param {string} [of] the photos that were looked at */
  #show(of = "") {
    const shown = this.#shown;
    const nHidden = this.#findings.filter(({ id }) => this.#hidden.has(id)).length;
    this.#list.replaceChildren(...shown.map((finding) => this.#card(finding)));
    const more = this.#total > this.#findings.length ? `, the first ${this.#findings.length} of ${this.#total}` : "";
    setText(this.#status, shown.length ? `${counted(shown.length, "finding")}${more}. Nothing changes until you decide.`
      : `Nothing needs a look${of ? `: ${of} were compared` : ""}.`);
    this.#again.hidden = nHidden === 0;
    setText(this.#again, `Show ${nHidden} kept`);
    this.emit("count", shown.length);
  }

  /** @param {Finding} finding */
  #card(finding) {
    const { id, kind, people, photos, mend } = finding;
    return h("li", { class: "finding", "data-kind": kind, "data-finding": id },
      h("div", { class: "finding-photos" }, ...photos.map((photo, index) => h("figure", {},
        photo.has_crop
          ? h("img", { src: `api/identities/${encode(photo.identity_id)}/photos/${photo.photo_id}.jpg`, alt: "", loading: "lazy", width: 112, height: 112 })
          : h("span", { class: "no-crop" }, "no image stored"),
        h("figcaption", {}, captionOf(finding, index))))),
      h("div", { class: "grow finding-text" },
        h("h4", {}, TITLES[kind]), h("p", {}, textOf(finding)),
        h("div", { class: "finding-tools", "data-changes": true },
          ...mend.map((each, index) => h("button", { type: "button", class: `button small ${index ? "" : "primary"}`, onclick: () => attempt(this.#mend(finding, each)) }, labelOf(each, people))),
          h("button", { type: "button", class: "button small", onclick: () => this.#keep(id) }, KEEP[kind]))));
  }

  /**
   * @param {Finding} finding
   * @param {Mend} mend
   */
  async #mend(finding, mend) {
    const { people: [who, other], photos } = finding;
    const run = async () => (await api(mend.method, mend.path, mend.body ?? undefined)) ?? true;
    if (mend.action === "move_photo") { // this can be undone, thus is done at once
      const to = await run();
      this.#done(finding, `The photo was moved to ${to.name}.`, async () => {
        await api("POST", `api/identities/${encode(to.identity_id)}/split`, { photo_ids: mend.body?.photo_ids, name: who.identity_id });
        toast(`The photo is ${who.name}’s again.`);
      });
      return;
    }
    const isMerge = mend.action === "merge";
    const [gone, kept] = mend.body?.merge_into === who.identity_id ? [other, who] : [who, other];
    const done = await confirm(isMerge
      ? { title: `Merge ${gone.name} into ${kept.name}?`, text: `All photos and events of ${gone.name} move to ${kept.name}, and ${gone.name} is removed. This cannot be undone.`, yes: "Merge", run }
      : { title: "Remove this photo?", text: `Photo ${photos[0].photo_id} of ${who.name} is erased. This cannot be undone.`, yes: "Remove photo", run });
    if (done) {
      this.#done(finding, isMerge ? `${gone.name} was merged into ${kept.name}.` : "The photo was removed.", null);
    }
  }

  /**
   * @param {Finding} finding
   * @param {string} text
   * @param {(() => Promise<void>) | null} undo
   */
  #done({ id }, text, undo) {
    const card = /** @type {HTMLElement | null} */ (this.#list.querySelector(`[data-finding="${CSS.escape(id)}"]`));
    const back = () => attempt((async () => {
      await undo?.();
      await this.load();
      this.emit("changed");
    })());
    const note = h("p", { class: "finding-done", tabindex: -1 }, text, undo && h("button", { type: "button", class: "button small", onclick: back }, "Undo"));
    this.#findings = this.#findings.filter((each) => each.id !== id);
    card?.replaceChildren(note);
    card?.setAttribute("data-done", "");
    note.focus();
    if (!undo) {
      toast(text);
      attempt(this.load()); // others may have changed by it
    }
    this.emit("count", this.#shown.length);
    this.emit("changed");
  }

  /** @param {string} id */
  #keep(id) {
    this.#hidden.add(id);
    this.#store();
    this.#show();
    (this.#list.querySelector("button") ?? this.#again).focus();
  }

  #showHidden() {
    this.#findings.forEach(({ id }) => this.#hidden.delete(id));
    this.#store();
    this.#show();
  }

  #store() {
    localStorage.setItem(HIDDEN, JSON.stringify([...this.#hidden]));
  }
}

/**
 * The findings to decide about now: two people who look alike only because of a photo that is in the
 * wrong place would be merged by mistake, so the photo comes first.
 * @param {Finding[]} findings
 */
export function toDecide(findings) {
  const misplaced = new Set(findings.filter(({ kind }) => kind === "unlike").map(({ photos: [photo] }) => photo.photo_id));
  return findings.filter(({ kind, photos }) => kind !== "alike" || !photos.some(({ photo_id: id }) => misplaced.has(id)));
}

/**
 * What a button does.
 * @param {Mend} mend
 * @param {Identity[]} people
 */
export function labelOf({ action, body }, people) {
  if (action === "merge") {
    const kept = people.find(({ identity_id: id }) => id === body?.merge_into);
    return kept ? `Merge into ${kept.name}` : "Merge";
  }
  return action === "move_photo" ? `Move to ${body?.name}` : "Remove the photo";
}

/**
 * What was found, for people.
 * @param {Finding} finding
 */
export function textOf({ kind, people: [who, other], similarity, detail }) {
  const value = similarity === null ? "" : similarity.toFixed(2);
  switch (kind) {
    case "unlike":
      return `This photo of ${who.name} differs from the others (similarity ${value || "unknown"})${other ? `: it may be ${other.name}` : ""}.`;
    case "alike":
      return `${who.name} and ${other.name} look alike (similarity ${value}). Enrolled twice, each is recognized less often.`;
    case "redundant":
      return `Two photos of ${who.name} are nearly the same (similarity ${value}): one adds nothing.`;
    default:
      return `${detail[0].toUpperCase()}${detail.slice(1)}.`.replace("..", ".");
  }
}

/**
 * @param {Finding} finding
 * @param {number} index of the photo
 */
function captionOf({ kind, people }, index) {
  if (kind === "redundant") {
    return index ? "stays" : "removed";
  }
  return people[kind === "alike" ? index : 0]?.name ?? "";
}
