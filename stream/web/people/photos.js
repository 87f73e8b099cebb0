// The photos to add: chosen or dropped files, sent one by one, each with its outcome.

import { api, encode } from "../connection/api.js";
import { h, sentence, setText } from "../page/dom.js";
import { counted } from "./questions.js";

const TYPES = "image/*,.heic,.heif,.avif,.jfif,.jpe,.mpo,.jp2,.j2k";

/** Event: "added" after each photo that the service took. */
export class PhotoSender extends EventTarget {
  #input;
  #rows = h("ul", { class: "sending", "aria-label": "Chosen photos" });
  #progress = h("progress", { class: "sending-progress", "aria-label": "Photos sent", hidden: true });
  #status = h("p", { class: "hint", role: "status" });
  #force = h("input", { type: "checkbox", id: "person-form-force" });
  #done = new Set();

  /** Build on a file input, in its field. */
  constructor(input, field) {
    super();
    this.#input = input;
    input.accept = TYPES;
    input.addEventListener("change", () => this.#list());
    field.after(this.#rows, this.#progress, this.#status,
      h("label", { class: "check", title: "Take a photo whatever it looks like, if a face is found in it" },
        this.#force, "Add anyway: also photos that look like somebody else, or are poor"));
  }

  set hidden(isHidden) {
    [this.#rows, this.#status, this.#force.parentElement].forEach((each) => { each.hidden = isHidden; });
  }

  /** Forget the photos of the last time. */
  clear() {
    this.#input.value = "";
    this.#force.checked = false;
    this.#list();
  }

  /** Add dropped files to the chosen ones. */
  take(files) {
    const all = new DataTransfer();
    [...this.#input.files, ...files].forEach((file) => all.items.add(file));
    this.#input.files = all.files;
    this.#list();
  }

  /**
   * Send what was not added yet, to a person or to whoever is called `name`. Resolves to the number
   * of photos added and refused; an aborted signal stops before the next one.
   */
  async send({ person, name, signal }) {
    const pending = [...this.#input.files].filter((file) => !this.#done.has(file));
    let id = person?.identity_id ?? null;
    let added = 0;
    let sent = 0;
    this.#progress.max = pending.length;
    this.#progress.value = 0;
    this.#progress.hidden = pending.length < 2;
    this.#input.disabled = true;
    try {
      for (const file of pending) {
        if (signal.aborted) {
          break;
        }
        setText(this.#status, `Sending photo ${sent + 1} of ${pending.length}`);
        this.#mark(file, "sending", "sending");
        let outcome = null;
        try {
          outcome = await this.#post(file, id, name, signal);
        } catch (error) {
          if (signal.aborted) {
            break;
          }
          throw error;
        }
        sent += 1;
        this.#progress.value = sent;
        this.#mark(file, outcome.reason === null ? "good" : "bad", outcome.reason ?? "added");
        if (outcome.reason === null) {
          added += 1;
          this.#done.add(file);
          id = outcome.identity?.identity_id ?? id;
          this.dispatchEvent(new Event("added"));
        }
      }
    } finally {
      this.#input.disabled = false;
      this.#progress.hidden = true;
      setText(this.#status, sent ? `${counted(added, "photo")} added, ${sent - added} refused.` : "");
    }
    return { added, refused: sent - added };
  }

  /** Send one photo; resolves to whose it is now, or the reason why it was refused. */
  async #post(file, id, name, signal) {
    const form = new FormData();
    if (id === null) {
      form.append("name", name);
    }
    if (this.#force.checked) {
      form.append("force", "true");
    }
    form.append("photos", file);
    const path = id === null ? "api/identities" : `api/identities/${encode(id)}/photos`;
    try {
      const report = await api("POST", path, form, { signal });
      return { identity: report.identity, reason: report.rejected[0]?.detail ?? null };
    } catch (error) {
      if (error.rejected) {
        return { identity: null, reason: error.rejected[0].detail };
      }
      if (error.status === 413) {
        return { identity: null, reason: error.message };
      }
      this.#mark(file, "", "not sent");
      throw error;
    }
  }

  #list() {
    this.#done.clear();
    setText(this.#status, "");
    this.#rows.replaceChildren(...[...this.#input.files].map((file) =>
      h("li", {}, h("span", { class: "sending-name" }, file.name), h("span", { class: "sending-outcome" }))));
  }

  #mark(file, state, text) {
    const row = this.#rows.children[[...this.#input.files].indexOf(file)];
    if (row) {
      row.dataset.state = state;
      setText(row.lastElementChild, sentence(text));
      row.scrollIntoView({ block: "nearest" });
    }
  }
}
