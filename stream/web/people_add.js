// Adding somebody: from photo files, or from a camera that sees them alone.

import { api, encode } from "./api.js";
import { ask } from "./dialogs.js";
import { byId, h, setText, toast } from "./dom.js";
import { counted } from "./people_ask.js";

const LOOK_MS = 700; // between two pictures of the camera
const OWN = ""; // the camera that is not sent yet: this browser's
const HINTS = {
  photos: "One face a photo, looking roughly at the camera. Two or three photos are better than one.",
  camera: "One person alone in view, looking at the camera. The best shots so far are taken.",
};

export class AddForm {
  #sources;
  #cameras = h("select", { id: "person-form-camera" });
  #look = h("img", { class: "live-look", alt: "What the camera sees now", hidden: true });
  #cameraField;
  #photosField = byId("person-form-photos").closest(".field");
  #person = null;

  constructor() {
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
  async ask(person) {
    this.#person = person;
    const name = byId("person-form-name");
    name.value = person?.name ?? "";
    name.readOnly = person !== null;
    byId("person-form-photos").value = "";
    setText(byId("person-dialog-title"), person ? `Add photos of ${person.name}` : "Add a person");
    setText(byId("person-save"), person ? "Add photos" : "Add person");
    this.#sources.querySelector("[value=photos]").checked = true;
    await this.#listCameras();
    this.#switch();
    const looking = setInterval(() => this.#see(), LOOK_MS);
    const done = await ask("person", () => (this.#isCamera ? this.#fromCamera(name.value.trim()) : this.#fromPhotos(name.value.trim())));
    clearInterval(looking);
    return done !== null && done !== OWN_STARTS;
  }

  get #isCamera() {
    return this.#sources.querySelector("[value=camera]").checked;
  }

  #switch() {
    const isCamera = this.#isCamera;
    this.#photosField.hidden = isCamera;
    byId("person-form-photos").required = !isCamera;
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

  async #fromPhotos(name) {
    const form = new FormData();
    [...byId("person-form-photos").files].forEach((file) => form.append("photos", file));
    let path = "api/identities";
    if (this.#person) {
      path += `/${encode(this.#person.identity_id)}/photos`;
    } else {
      form.append("name", name);
    }
    const report = await api("POST", path, form);
    toast(`${counted(report.enrolled.length, "photo")} ${report.enrolled.length === 1 ? "was" : "were"} added.`);
    report.rejected.forEach(({ image, detail }) => toast(`${image}: ${detail}`, "bad"));
    return report;
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
