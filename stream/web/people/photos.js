// The photos to add: chosen or dropped files, sent one by one, with the result of each.

import { ApiError, api, encode } from "../connection/api.js";
import { find, h, setText } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { counted, sentence } from "../page/text.js";
import { pickFace } from "./face_picker.js";
import { Sending, refusalOf } from "./sending.js";

/** @import { Enrol, Identity, Rejected } from "../connection/schemas.js" */
/** @import { Outcome } from "./sending.js" */

const TYPES = "image/*,.heic,.heif,.avif,.jfif,.jpe,.mpo,.jp2,.j2k";

/**
 * Event: "added" after each added photo.
 * @extends {Emitter<{added: void}>}
 */
export class PhotoSender extends Emitter {
  #input;
  #rows = h("ul", { class: "sending", "aria-label": "Chosen photos" });
  #progress = h("progress", { class: "sending-progress", "aria-label": "Photos sent", hidden: true });
  #status = h("p", { class: "hint", role: "status" });
  #force = h("input", { type: "checkbox", id: "person-form-force" });
  #check = h("label", { class: "check", title: "Skip the checks of quality and identity; a face must still be detected" },
    this.#force, "Add anyway: also photos of poor quality, or that look like another person");
  /** @type {Set<File>} */
  #done = new Set();
  /** @type {Map<File, number>} */
  #faces = new Map(); // the chosen face of photos with several

  /**
   * Attach to a file input; the list is inserted after an element.
   * @param {HTMLInputElement} input
   * @param {HTMLElement} field
   */
  constructor(input, field) {
    super();
    this.#input = input;
    input.accept = TYPES;
    input.addEventListener("change", () => this.#list());
    field.after(this.#rows, this.#progress, this.#status, this.#check);
  }

  /** @param {boolean} isHidden */
  set hidden(isHidden) {
    [this.#rows, this.#status, this.#check].forEach((each) => { each.hidden = isHidden; });
  }

  /** Clear the list. */
  clear() {
    this.#input.value = "";
    this.#force.checked = false;
    this.#list();
  }

  /** @returns {File[]} */
  get #files() {
    return [...(this.#input.files ?? [])];
  }

  /**
   * Add dropped files to the chosen ones.
   * @param {File[]} files
   */
  take(files) {
    const all = new DataTransfer();
    [...this.#files, ...files].forEach((file) => all.items.add(file));
    this.#input.files = all.files;
    this.#list();
  }

  /**
   * Send the photos not added yet, to a person or to the one called `name`. Resolves to the number of
   * photos added and rejected; an aborted signal stops before the next one.
   * @param {{person: Identity | null, name: string, signal: AbortSignal}} options
   */
  async send({ person, name, signal }) {
    const pending = this.#files.filter((file) => !this.#done.has(file));
    let id = person?.identity_id ?? null;
    const sending = new Sending(pending, (file, index) => {
      setText(this.#status, `Sending photo ${index + 1} of ${pending.length}`);
      this.#mark(file, "sending", "sending");
      return this.#post(file, id, name, signal);
    });
    this.#progress.max = pending.length;
    this.#progress.value = 0;
    this.#progress.hidden = pending.length < 2;
    this.#input.disabled = true;
    try {
      await sending.run(signal, (file, { identity, reason }) => {
        this.#progress.value = sending.sent;
        this.#mark(file, reason === null ? "good" : "bad", reason ?? "added");
        if (reason === null) {
          this.#done.add(file);
          id = identity?.identity_id ?? id;
          this.emit("added");
        }
      });
    } finally {
      this.#input.disabled = false;
      this.#progress.hidden = true;
      setText(this.#status, sending.sent ? `${counted(sending.added, "photo")} added, ${sending.refused} refused.` : "");
    }
    return { added: sending.added, refused: sending.refused };
  }

  /**
   * Send one photo.
   * @param {File} file
   * @param {string | null} id of the person, null for the one called `name`
   * @param {string} name
   * @param {AbortSignal} signal
   * @returns {Promise<Outcome>}
   */
  async #post(file, id, name, signal) {
    const form = new FormData();
    if (id === null) {
      form.append("name", name);
    }
    if (this.#force.checked) {
      form.append("force", "true");
    }
    const face = this.#faces.get(file);
    if (face !== undefined) {
      form.append("face", String(face));
    }
    form.append("photos", file);
    const path = id === null ? "api/identities" : `api/identities/${encode(id)}/photos`;
    try {
      /** @type {Enrol} */
      const report = await api("POST", path, form, { signal });
      return { identity: report.identity, reason: report.rejected[0]?.detail ?? null };
    } catch (error) {
      const reason = error instanceof ApiError ? refusalOf(error) : null;
      if (reason === null) {
        this.#mark(file, "", "not sent");
        throw error;
      }
      this.#offer(file, name, error instanceof ApiError ? error.rejected?.[0] : undefined);
      return { identity: null, reason };
    }
  }

  /**
   * Offer to choose the face of a photo with several.
   * @param {File} file
   * @param {string} name
   * @param {Rejected | undefined} rejected
   */
  #offer(file, name, rejected) {
    const row = this.#rows.children[this.#files.indexOf(file)];
    if (!row || !rejected || rejected.faces.length < 2) {
      return;
    }
    row.querySelector("button")?.remove();
    const choose = h("button", { type: "button", class: "button small", onclick: async () => {
      const face = await pickFace({ file, person: { name }, ...rejected });
      if (face !== null) {
        this.#faces.set(file, face);
        this.#mark(file, "", "face chosen: add it again");
        choose.remove();
      }
    } }, "Choose the face");
    row.append(choose);
  }

  #list() {
    this.#done.clear();
    this.#faces.clear();
    setText(this.#status, "");
    this.#rows.replaceChildren(...this.#files.map((file) =>
      h("li", {}, h("span", { class: "sending-name" }, file.name), h("span", { class: "sending-outcome" }))));
  }

  /**
   * Show the state of a photo.
   * @param {File} file
   * @param {"" | "sending" | "good" | "bad"} state
   * @param {string} text
   */
  #mark(file, state, text) {
    const row = this.#rows.children[this.#files.indexOf(file)];
    if (row instanceof HTMLElement) {
      row.dataset.state = state;
      setText(find(row, ".sending-outcome"), sentence(text));
      row.scrollIntoView({ block: "nearest" });
    }
  }
}
