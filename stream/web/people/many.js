// Adding many people at once: dropped folders, what became of each photo, and what can be done about it.

import { ApiError, api, encode } from "../connection/api.js";
import { byId, glyph, h, setChildren, setText, toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { counted, messageOf, sentence } from "../page/text.js";
import { unpacked } from "./archives.js";
import { listed } from "./csv_list.js";
import { ofInput, peopleOf, readDrop } from "./entries.js";
import { pickFace } from "./face_picker.js";
import { UploadQueue } from "./upload_queue.js";

/** @import { Enrol } from "../connection/schemas.js" */
/** @import { Found, Group } from "./entries.js" */
/** @import { PersonToAdd, Upload } from "./upload_queue.js" */

const SHOWN_PROBLEMS = 5;

/**
 * The panel of the view People. Event: "added" after photos were added.
 * @extends {Emitter<{added: void}>}
 */
export class ManyPeople extends Emitter {
  #queue = new UploadQueue(post);
  /** @type {Group[]} */
  #planned = [];
  /** @type {Map<Upload, {shown: string, row: HTMLElement}>} */
  #rows = new Map();
  #nAdded = 0;
  #isDrawn = true;
  #folder = h("input", { type: "file", id: "many-folder", webkitdirectory: true, multiple: true, class: "visually-hidden", tabindex: -1, "aria-label": "Folder of photos", onchange: () => this.#choose(this.#folder) });
  #files = h("input", { type: "file", id: "many-files", multiple: true, class: "visually-hidden", tabindex: -1, "aria-label": "Photos, a zip file or a list", onchange: () => this.#choose(this.#files) });
  #problem = h("p", { class: "problem", role: "alert", hidden: true });
  #plan = h("ul", { class: "many-plan", "aria-label": "People to add" });
  #start = button("Add", () => this.#begin(), "primary");
  #check = h("div", { class: "many-planned", hidden: true },
    h("p", { class: "hint" }, "Check the names. A person who is enrolled gets the photos."), this.#plan,
    h("div", { class: "actions" }, button("Discard", () => this.#discard()), this.#start));
  #status = h("p", { class: "many-status", role: "status" });
  #bar = h("progress", { class: "sending-progress", "aria-label": "Photos sent", value: 0, max: 1 });
  #outage = h("p", { class: "problem", role: "alert", hidden: true });
  #stop = button("Stop", () => this.#queue.stop(), "small");
  #go = button("Go on", () => this.#queue.resume(), "small");
  #onlyRefused = h("input", { type: "checkbox", id: "many-only-refused", onchange: () => this.#draw() });
  #list = h("ul", { class: "uploads", "aria-label": "Photos", tabindex: 0 });
  #running = h("div", { class: "many-running", hidden: true },
    h("div", { class: "many-head" }, this.#status, this.#stop, this.#go), this.#bar, this.#outage,
    h("label", { class: "check" }, this.#onlyRefused, "Only photos that were not added"), this.#list);
  #title = h("h3", { id: "many-title", tabindex: -1 }, "Add many people");
  #panel = h("section", { class: "panel many", id: "many", "aria-labelledby": "many-title", "data-changes": true, hidden: true },
    h("div", { class: "panel-head" }, this.#title,
      h("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => this.#close() }, glyph("close"))),
    h("div", { class: "drop-zone" },
      h("p", {}, "Drop folders, a zip file or photos here. A folder that holds folders is one person for each; a folder of photos is one person. A CSV list (name, file) beside the photos names them."),
      h("div", { class: "drop-buttons" },
        button("Choose a folder", () => this.#folder.click()), button("Choose files", () => this.#files.click())),
      this.#folder, this.#files),
    this.#problem, this.#check, this.#running);
  #frame = h("div", {}, this.#panel);

  constructor() {
    super();
    this.#queue.on("change", () => this.#soon());
    window.addEventListener("beforeunload", (event) => {
      if (this.#queue.isRunning) {
        event.preventDefault(); // the browser asks: photos would be left out
      }
    });
  }

  get element() {
    return this.#frame;
  }

  /** Whether another part of the view is shown; sending goes on. */
  set isAside(/** @type {boolean} */ isAside) {
    this.#frame.hidden = isAside;
  }

  /** Show the panel. */
  open() {
    this.#panel.hidden = false;
    this.#panel.scrollIntoView({ block: "nearest" });
    this.#title.focus({ preventScroll: true });
  }

  /**
   * Plan the people of a drop.
   * @param {DataTransfer} transfer
   */
  async drop(transfer) {
    const reading = readDrop(transfer);
    this.open();
    try {
      await this.#take(await reading);
    } catch (error) {
      this.#complain(`The files cannot be read: ${messageOf(error)}`);
    }
  }

  #close() {
    if (this.#queue.isRunning) {
      toast("Photos are still being added: stop first.", "bad");
      return;
    }
    this.#panel.hidden = true;
    this.#discard();
    this.#queue = new UploadQueue(post);
    this.#queue.on("change", () => this.#soon());
    this.#rows.clear();
    this.#nAdded = 0;
    this.#draw();
    byId("add-many").focus();
  }

  /** @param {HTMLInputElement} input */
  async #choose(input) {
    const found = ofInput(input.files ?? []);
    input.value = "";
    try {
      await this.#take(found);
    } catch (error) {
      this.#complain(`The files cannot be read: ${messageOf(error)}`);
    }
  }

  /** @param {Found[]} found */
  async #take(found) {
    const { found: photos, problems } = await listed(await unpacked(found));
    const groups = peopleOf([...this.#planned.flatMap((group) => group.photos), ...photos]);
    if (!groups.length) {
      this.#complain(["There are no photos in it.", ...problems.slice(0, SHOWN_PROBLEMS)].join(" "));
      return;
    }
    this.#problem.hidden = true;
    if (problems.length) {
      const more = problems.length - SHOWN_PROBLEMS;
      this.#complain([...problems.slice(0, SHOWN_PROBLEMS), ...(more > 0 ? [`${more} more`] : [])].map((each) => `${each}.`).join(" "));
    }
    this.#planned = groups;
    this.#showPlan();
  }

  #showPlan() {
    this.#plan.replaceChildren(...this.#planned.map((group, index) => h("li", {},
      h("label", { class: "grow" },
        h("span", { class: "visually-hidden" }, `Name for ${counted(group.photos.length, "photo")}`),
        h("input", { class: "plan-name", value: group.name, maxlength: 200, list: "known-names", autocomplete: "off", placeholder: "Whose photos? Without a name they are left out", oninput: () => this.#countPlan() })),
      h("span", { class: "hint" }, counted(group.photos.length, "photo")),
      h("button", { type: "button", class: "icon-button", "aria-label": `Leave out ${group.name || "the photos without a name"}`, onclick: () => this.#leaveOut(index) }, glyph("trash")))));
    this.#check.hidden = this.#planned.length === 0;
    this.#countPlan();
  }

  /** @param {number} index of a group */
  #leaveOut(index) {
    this.#planned.forEach((group, i) => { group.name = this.#names[i]; });
    this.#planned.splice(index, 1);
    this.#showPlan();
  }

  get #names() {
    return [...this.#plan.querySelectorAll("input")].map(({ value }) => value.trim());
  }

  #countPlan() {
    const names = this.#names;
    const named = this.#planned.filter((_, index) => names[index]);
    const n = named.reduce((sum, { photos }) => sum + photos.length, 0);
    const people = new Set(names.filter(Boolean).map((name) => name.toLowerCase())).size;
    setText(this.#start, n ? `Add ${counted(n, "photo")} of ${people === 1 ? "1 person" : `${people} people`}` : "Add");
    this.#start.disabled = n === 0;
  }

  #begin() {
    const names = this.#names;
    /** @type {Map<string, Found[]>} */
    const photosOf = new Map();
    this.#planned.forEach(({ photos }, index) => {
      if (names[index]) {
        const same = [...photosOf.keys()].find((name) => name.toLowerCase() === names[index].toLowerCase()) ?? names[index];
        photosOf.set(same, [...(photosOf.get(same) ?? []), ...photos]);
      }
    });
    this.#discard();
    this.#queue.halted = "";
    photosOf.forEach((photos, name) => this.#queue.add(name, photos));
    this.#title.focus();
  }

  #discard() {
    this.#planned = [];
    this.#problem.hidden = true;
    this.#showPlan();
  }

  /** @param {string} text */
  #complain(text) {
    setText(this.#problem, text);
    this.#problem.hidden = false;
  }

  #soon() {
    if (this.#isDrawn) {
      this.#isDrawn = false;
      setTimeout(() => {
        this.#isDrawn = true;
        this.#draw();
      }, 50);
    }
  }

  #draw() {
    const queue = this.#queue;
    const { photos, isRunning, halted, outage, done } = queue;
    this.#running.hidden = photos.length === 0;
    const [nAdded, nKnown, nNot] = [queue.count("added"), queue.count("known"), queue.count("refused") + queue.count("failed")];
    const parts = [`${nAdded} added`, nKnown && `${nKnown} there already`, nNot && `${nNot} not added`].filter(Boolean).join(", ");
    setText(this.#status, `${done} of ${photos.length}: ${parts}`);
    this.#bar.max = Math.max(photos.length, 1);
    this.#bar.value = done;
    this.#bar.hidden = !isRunning;
    this.#stop.hidden = !isRunning || halted !== "";
    this.#go.hidden = halted === "" || done === photos.length;
    const waits = outage && isRunning && !halted ? `${outage}: going on when it is back` : "";
    const why = waits || (done < photos.length && halted !== "Stopped" ? halted : "");
    setText(this.#outage, sentence(why));
    this.#outage.hidden = why === "";
    const isOnly = this.#onlyRefused.checked;
    const shown = photos.filter(({ state }) => state !== "waiting" && (!isOnly || state === "refused" || state === "failed"));
    setChildren(this.#list, shown.map((photo) => this.#rowOf(photo)));
    if (nAdded !== this.#nAdded) {
      this.#nAdded = nAdded;
      this.emit("added");
    }
  }

  /** @param {Upload} photo */
  #rowOf(photo) {
    const shown = JSON.stringify([photo.state, photo.detail, photo.photoId]);
    const before = this.#rows.get(photo);
    if (before?.shown === shown) {
      return before.row;
    }
    const hadFocus = before?.row.contains(document.activeElement);
    const row = this.#row(photo);
    this.#rows.set(photo, { shown, row });
    before?.row.replaceWith(row);
    if (hadFocus) {
      this.#list.focus({ preventScroll: true });
    }
    return row;
  }

  /** @param {Upload} photo */
  #row(photo) {
    const { person, path, state, detail, reason, faces } = photo;
    const isRefused = state === "refused";
    const why = reason === "several_faces" && faces.length > 1 ? `${faces.length} faces in the photo: choose the one who is meant` : detail;
    const say = { waiting: "", sending: "Sending", added: "Added", known: "Enrolled already", refused: why, failed: `Not sent: ${detail}` }[state];
    return h("li", { class: "upload", "data-state": state, "data-path": path },
      pictureOf(photo),
      h("div", { class: "grow" },
        h("strong", { class: "upload-name" }, person.name), h("span", { class: "hint upload-path" }, path),
        h("span", { class: "upload-outcome" }, sentence(say))),
      isRefused && faces.length > 1 ? button("Choose the face", () => this.#pick(photo), "small", `Choose the face in ${path}`) : null,
      isRefused && faces.length > 0 && (faces.length === 1 || photo.face !== null)
        ? button("Take it anyway", () => this.#queue.again(photo, { force: true }), "small", `Take ${path} anyway`) : null,
      state === "failed" ? button("Try again", () => this.#queue.again(photo), "small", `Try ${path} again`) : null);
  }

  /** @param {Upload} photo */
  async #pick(photo) {
    const face = await pickFace(photo);
    if (face !== null) {
      this.#queue.again(photo, { face, force: false });
    }
  }
}

/**
 * Send photos of one person together.
 * @param {PersonToAdd} person
 * @param {Upload[]} photos
 * @returns {Promise<Enrol>}
 */
async function post({ name, identityId }, photos) {
  const form = new FormData();
  if (identityId === null) {
    form.append("name", name);
  }
  const [{ face, force }] = photos;
  if (photos.length === 1 && face !== null) {
    form.append("face", String(face));
  }
  if (photos.length === 1 && force) {
    form.append("force", "true");
  }
  photos.forEach(({ file }) => form.append("photos", file));
  try {
    return await api("POST", identityId === null ? "api/identities" : `api/identities/${encode(identityId)}/photos`, form);
  } catch (error) {
    if (error instanceof ApiError && error.rejected?.length === photos.length) {
      return { identity: null, enrolled: [], rejected: error.rejected };
    }
    throw error;
  }
}

/** @param {Upload} photo */
function pictureOf({ file, state, person, photoId, faces, face }) {
  const box = h("span", { class: "portrait plain", "aria-hidden": "true" }, glyph("person"));
  let url = faces[face ?? -1]?.crop ?? (faces.length === 1 ? faces[0].crop : "");
  if (state === "added" && photoId !== null && person.identityId !== null) {
    url = `api/identities/${encode(person.identityId)}/photos/${photoId}.jpg`;
  }
  const isFile = !url && state === "refused";
  if (url || isFile) {
    const image = h("img", { src: url || URL.createObjectURL(file), alt: "", decoding: "async" });
    const release = () => isFile && URL.revokeObjectURL(image.src);
    image.addEventListener("load", release);
    image.addEventListener("error", () => { // such as HEIC, which not every browser shows
      release();
      image.remove();
    });
    box.append(image);
  }
  return box;
}

/**
 * @param {string} text
 * @param {() => unknown} onclick
 * @param {string} kind
 * @param {string | null} label
 */
function button(text, onclick, kind = "", label = null) {
  return h("button", { type: "button", class: `button ${kind}`, "aria-label": label, onclick }, text);
}
