// Adding somebody: from photo files, or from a camera that sees them alone.

import { api, encode } from "../connection/api.js";
import { ask, STAY } from "../page/dialogs.js";
import { byId, h, setText, toast } from "../page/dom.js";
import { counted } from "./questions.js";
import { PhotoSender } from "./photos.js";
import { mayChange } from "../page/role.js";

const LOOK_MS = 700; // between two pictures of the camera
const OWN = ""; // the camera that is not sent yet: this browser's
const HINTS = {
  photos: "One face a photo, looking roughly at the camera. Two or three photos are better than one. Files can be dropped here.",
  camera: "One person alone in view, looking at the camera. The best shots so far are taken.",
};

/** Events: "added" after each photo; "dropped", with files, where no dialog is open. */
export class AddForm extends EventTarget {
  #sources;
  #cameras = h("select", { id: "person-form-camera" });
  #look = h("img", { class: "live-look", alt: "What the camera sees now", hidden: true });
  #cameraField;
  #photosField = byId("person-form-photos").closest(".field");
  #photos = new PhotoSender(byId("person-form-photos"), byId("person-hint"));
  #person; // whose photos are asked for, null for somebody new's, undefined while nothing is

  constructor() {
    super();
    this.#photos.addEventListener("added", () => this.dispatchEvent(new Event("added")));
    this.#takeDrops();
    const radio = (value, text) => h("label", {},
      h("input", { type: "radio", name: "person-source", value, onchange: () => this.#switch() }), text);
    this.#sources = h("fieldset", { class: "sources" },
      h("legend", { class: "visually-hidden" }, "From"),
      radio("photos", "From photos"), radio("camera", "From a camera"));
    this.#cameraField = h("div", { class: "field" },
      h("label", { class: "field" }, h("span", {}, "Camera"), this.#cameras), this.#look);
    this.#photosField.before(this.#sources);
    this.#photosField.after(this.#cameraField);
    this.#cameras.addEventListener("change", () => this.#see());
    this.#look.addEventListener("load", () => { this.#look.hidden = false; });
    this.#look.addEventListener("error", () => { this.#look.hidden = true; });
  }

  /** Ask for photos of a person, of somebody new where null; resolves to whether any were added. */
  async ask(person, files = []) {
    if (this.#person !== undefined) {
      this.#photos.take(files); // it is about to open
      return false;
    }
    try {
      return await this.#ask(person, files);
    } finally {
      this.#person = undefined;
    }
  }

  async #ask(person, files) {
    this.#person = person;
    const name = byId("person-form-name");
    name.value = person?.name ?? "";
    name.readOnly = person !== null;
    this.#photos.clear();
    this.#photos.take(files);
    setText(byId("person-dialog-title"), person ? `Add photos of ${person.name}` : "Add a person");
    setText(byId("person-save"), person ? "Add photos" : "Add person");
    this.#sources.querySelector("[value=photos]").checked = true;
    await this.#listCameras();
    this.#switch();
    const looking = setInterval(() => this.#see(), LOOK_MS);
    let added = 0;
    let isStopped = false;
    const done = await ask("person", async (signal) => {
      if (this.#isCamera) {
        return this.#fromCamera(name.value.trim());
      }
      const sent = await this.#photos.send({ person, name: name.value.trim(), signal });
      added += sent.added;
      isStopped = signal.aborted; // what was on its way may arrive
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
    return this.#sources.querySelector("[value=camera]").checked;
  }

  #switch() {
    const isCamera = this.#isCamera;
    this.#photosField.hidden = isCamera;
    byId("person-form-photos").required = !isCamera;
    this.#photos.hidden = isCamera;
    this.#cameraField.hidden = !isCamera;
    setText(byId("person-hint"), isCamera ? HINTS.camera : HINTS.photos);
    this.#see();
  }

  async #listCameras() {
    const watched = decodeURIComponent(location.hash.match(/^#\/live\/([^?]+)/)?.[1] ?? "");
    const live = (await api("GET", "api/cameras")).filter(({ state }) => state === "live");
    const isOwn = ({ url }) => url.startsWith("browser:");
    const options = live.map((camera) =>
      h("option", { value: camera.name }, isOwn(camera) ? `A browser’s camera (${camera.name})` : camera.name));
    if (!byId("own-camera").hasAttribute("data-on")) {
      options.push(h("option", { value: OWN }, "This browser’s camera"));
    }
    const before = this.#cameras.value;
    this.#cameras.replaceChildren(...options);
    const wanted = [watched, live.find(isOwn)?.name, before].find((name) => live.some((camera) => camera.name === name));
    this.#cameras.value = wanted ?? live[0]?.name ?? OWN;
  }

  #see() {
    if (!this.#isCamera || !this.#cameras.value) {
      this.#look.hidden = true;
      return;
    }
    this.#look.src = `api/cameras/${encode(this.#cameras.value)}/snapshot.jpg?width=640&at=${Date.now()}`;
  }

  /** Take files that are dropped: on the dialog, or on the list of people. */
  #takeDrops() {
    const dialog = byId("person-dialog");
    const mayDrop = ({ dataTransfer }) => mayChange() && dataTransfer?.types.includes("Files") &&
      (dialog.open ? !this.#isCamera && !byId("person-form-photos").disabled
        : !byId("view-people").hidden && !document.querySelector("dialog[open]"));
    window.addEventListener("dragover", (event) => {
      if (mayDrop(event)) {
        event.preventDefault();
        event.dataTransfer.dropEffect = "copy";
      }
    });
    window.addEventListener("drop", (event) => {
      if (!mayDrop(event)) {
        return;
      }
      event.preventDefault();
      const files = [...event.dataTransfer.files];
      if (dialog.open) {
        this.#photos.take(files);
      } else {
        this.dispatchEvent(new CustomEvent("dropped", { detail: files }));
      }
    });
  }

  async #fromCamera(name) {
    const camera = this.#cameras.value;
    if (camera === OWN) {
      byId("enrol-name").value = name;
      byId("own-camera").click(); // its view has the form to enrol who sits before it
      return OWN_STARTS;
    }
    const identity = await api("POST", "api/identities/from-camera", { camera, name });
    toast(`${identity.name} was added from ${camera}.`);
    return identity;
  }
}

const OWN_STARTS = Symbol("the browser's camera starts");
