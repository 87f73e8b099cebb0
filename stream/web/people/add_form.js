// Adding a person: from photo files, or from a camera with only that person in view.

import { api, encode } from "../connection/api.js";
import { STAY, ask } from "../page/dialogs.js";
import { byId, h, setText, toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { mayChange } from "../page/role.js";
import { parseRoute } from "../page/router.js";
import { counted } from "../page/text.js";
import { hasFolder } from "./entries.js";
import { PhotoSender } from "./photos.js";

/** @import { Camera, Identity } from "../connection/schemas.js" */

const LOOK_MS = 700; // between two snapshots of the camera
const OWN = ""; // this browser's camera, not published yet
const OWN_STARTS = Symbol("the browser's camera starts");
const HINTS = {
  photos: "One face per photo, looking roughly at the camera. Two or three photos are better than one. Files can be dropped here.",
  camera: "Only one person in view, looking at the camera. The best frames so far are used.",
};

/**
 * Events: "added" after each photo; if no dialog is open, "dropped" with files, or "folders" with the drop.
 * @extends {Emitter<{added: void, dropped: File[], folders: DataTransfer}>}
 */
export class AddForm extends Emitter {
  #sources;
  #fromPhotos = h("input", { type: "radio", name: "person-source", value: "photos" });
  #fromCamera = h("input", { type: "radio", name: "person-source", value: "camera" });
  #cameras = h("select", { id: "person-form-camera" });
  #preview = h("img", { class: "camera-preview", alt: "Current view of the camera", hidden: true });
  #cameraField;
  #input = byId("person-form-photos", HTMLInputElement);
  #photosField = byId("person-form-photos-field");
  #photos = new PhotoSender(this.#input, byId("person-hint"));
  /** @type {Identity | null | undefined} */
  #person; // whose photos are requested, null for a new person, undefined while the form is closed

  constructor() {
    super();
    this.#photos.on("added", () => this.emit("added"));
    this.#takeDrops();
    this.#sources = h("fieldset", { class: "sources" },
      h("legend", { class: "visually-hidden" }, "From"),
      h("label", {}, this.#fromPhotos, "From photos"), h("label", {}, this.#fromCamera, "From a camera"));
    this.#sources.addEventListener("change", () => this.#switch());
    this.#cameraField = h("div", { class: "field" },
      h("label", { class: "field" }, h("span", {}, "Camera"), this.#cameras), this.#preview);
    this.#photosField.before(this.#sources);
    this.#photosField.after(this.#cameraField);
    this.#cameras.addEventListener("change", () => this.#updatePreview());
    this.#preview.addEventListener("load", () => { this.#preview.hidden = false; });
    this.#preview.addEventListener("error", () => { this.#preview.hidden = true; });
  }

  /**
   * Ask for photos of a person, null for a new one; resolves to whether any were added.
   * @param {Identity | null} person
   * @param {File[]} files
   */
  async ask(person, files = []) {
    if (this.#person !== undefined) {
      this.#photos.take(files); // the form is about to open
      return false;
    }
    try {
      return await this.#ask(person, files);
    } finally {
      this.#person = undefined;
    }
  }

  /**
   * @param {Identity | null} person
   * @param {File[]} files
   */
  async #ask(person, files) {
    this.#person = person;
    const name = byId("person-form-name", HTMLInputElement);
    name.value = person?.name ?? "";
    name.readOnly = person !== null;
    this.#photos.clear();
    this.#photos.take(files);
    setText(byId("person-dialog-title"), person ? `Add photos of ${person.name}` : "Add a person");
    setText(byId("person-save"), person ? "Add photos" : "Add person");
    this.#fromPhotos.checked = true;
    await this.#listCameras();
    this.#switch();
    const looking = setInterval(() => this.#updatePreview(), LOOK_MS);
    let added = 0;
    let isStopped = false;
    const done = await ask("person", async (signal) => {
      if (this.#isCamera) {
        return this.#enroll(name.value.trim());
      }
      const sent = await this.#photos.send({ person, name: name.value.trim(), signal });
      added += sent.added;
      isStopped = signal.aborted; // the current photo may still be added
      setText(byId("person-save"), "Try again");
      return sent.refused ? STAY : sent;
    });
    clearInterval(looking);
    if (added) {
      toast(`${counted(added, "photo")} ${added === 1 ? "was" : "were"} added.`);
    }
    return added > 0 || isStopped || (done !== null && done !== OWN_STARTS);
  }

  get #isCamera() {
    return this.#fromCamera.checked;
  }

  #switch() {
    const isCamera = this.#isCamera;
    this.#photosField.hidden = isCamera;
    this.#input.required = !isCamera;
    this.#photos.hidden = isCamera;
    this.#cameraField.hidden = !isCamera;
    setText(byId("person-hint"), isCamera ? HINTS.camera : HINTS.photos);
    this.#updatePreview();
  }

  async #listCameras() {
    /** @type {Camera[]} */
    const live = (await api("GET", "api/cameras")).filter((/** @type {Camera} */ { state }) => state === "live");
    const options = live.map((camera) =>
      h("option", { value: camera.name }, isOwn(camera) ? `A browser’s camera (${camera.name})` : camera.name));
    if (!byId("own-camera").hasAttribute("data-on")) {
      options.push(h("option", { value: OWN }, "This browser’s camera"));
    }
    const before = this.#cameras.value;
    this.#cameras.replaceChildren(...options);
    const { view, name } = parseRoute(location.hash);
    this.#cameras.value = chooseCamera(live, view === "live" ? name : "", before) ?? OWN;
  }

  #updatePreview() {
    if (!this.#isCamera || !this.#cameras.value) {
      this.#preview.hidden = true;
      return;
    }
    this.#preview.src = `api/cameras/${encode(this.#cameras.value)}/snapshot.jpg?width=640&at=${Date.now()}`;
  }

  /** Accept dropped files: on the dialog, or on the list of people. */
  #takeDrops() {
    const dialog = byId("person-dialog", HTMLDialogElement);
    /** @param {DragEvent} event */
    const mayDrop = ({ dataTransfer }) => mayChange() && dataTransfer?.types.includes("Files") &&
      (dialog.open ? !this.#isCamera && !this.#input.disabled
        : !byId("view-people").hidden && !document.querySelector("dialog[open]"));
    window.addEventListener("dragover", (event) => {
      if (mayDrop(event) && event.dataTransfer) {
        event.preventDefault();
        event.dataTransfer.dropEffect = "copy";
      }
    });
    window.addEventListener("drop", (event) => {
      if (!mayDrop(event) || !event.dataTransfer) {
        return;
      }
      event.preventDefault();
      const files = [...event.dataTransfer.files];
      if (dialog.open) {
        this.#photos.take(files);
      } else if (hasFolder(event.dataTransfer) || (event.target instanceof Element && event.target.closest("#many"))) {
        this.emit("folders", event.dataTransfer);
      } else {
        this.emit("dropped", files);
      }
    });
  }

  /** @param {string} name of the person in view */
  async #enroll(name) {
    const camera = this.#cameras.value;
    if (camera === OWN) {
      byId("enroll-name", HTMLInputElement).value = name;
      byId("own-camera").click(); // its view has the form to enroll the person in front of it
      return OWN_STARTS;
    }
    /** @type {Identity} */
    const identity = await api("POST", "api/identities/from-camera", { camera, name });
    toast(`${identity.name} was added from ${camera}.`);
    return identity;
  }
}

/** @param {{url: string}} camera */
function isOwn({ url }) {
  return url.startsWith("browser:");
}

/**
 * The camera to select: the watched one, a browser's, the previous one, or any.
 * @param {{name: string, url: string}[]} live
 * @param {string} watched
 * @param {string} before
 * @returns {string | undefined} undefined if none is live
 */
export function chooseCamera(live, watched, before) {
  const wanted = [watched, live.find(isOwn)?.name, before];
  return wanted.find((name) => live.some((camera) => camera.name === name)) ?? live[0]?.name;
}
