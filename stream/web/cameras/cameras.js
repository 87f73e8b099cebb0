// What is known of the cameras, and what is done to them.

import { api, encode } from "../connection/api.js";
import { ask, confirm } from "../page/dialogs.js";
import { toast } from "../page/dom.js";
import { fillForm, readForm } from "./camera_form.js";

export const STATES = {
  live: "Live",
  connecting: "Connecting",
  frozen: "Frozen",
  failing: "No picture",
  ended: "Ended",
  off: "Off",
};

/** Events: "change"; "added" with a camera's name; "remove" with one, which can be prevented. */
export class Cameras extends EventTarget {
  all = [];
  isKnown = false; // whether the service has told which there are
  own = null; // the name of this browser's camera while it is sent

  constructor(socket) {
    super();
    socket.addEventListener("cameras", ({ detail }) => this.#hear(detail.cameras));
  }

  find(name) {
    return this.all.find((camera) => camera.name === name) ?? null;
  }

  titleOf(name) {
    return name === this.own ? "This browser’s camera" : name;
  }

  async add() {
    const end = fillForm(null);
    const camera = await ask("camera", () => api("POST", "api/cameras", readForm(null)));
    end();
    if (camera) {
      toast(`${camera.name} was added.`);
      this.#put(camera);
      this.dispatchEvent(new CustomEvent("added", { detail: camera.name }));
    }
  }

  async edit(name) {
    const camera = this.find(name);
    const end = fillForm(camera);
    const changed = await ask("camera", () =>
      api("PATCH", `api/cameras/${encode(name)}`, readForm(camera)));
    end();
    if (changed) {
      const isRenamed = changed.name !== name;
      toast(isRenamed ? `${name} is ${changed.name} now.` : `${name} was changed.`);
      this.#put(changed, name);
      if (isRenamed) {
        this.dispatchEvent(new CustomEvent("renamed", { detail: { from: name, to: changed.name } }));
      }
    }
  }

  async turn(name, isOn) {
    this.#put(await api("PATCH", `api/cameras/${encode(name)}`, { enabled: isOn }));
  }

  async remove(name) {
    if (!this.dispatchEvent(new CustomEvent("remove", { detail: name, cancelable: true }))) {
      return;
    }
    const removed = await confirm({
      title: `Remove ${name}?`,
      text: "The camera is no longer watched, also after the next start. People and events stay.",
      yes: "Remove camera",
      run: () => api("DELETE", `api/cameras/${encode(name)}`),
    });
    if (removed) {
      this.#hear(this.all.filter((camera) => camera.name !== name));
    }
  }

  /** Take in an answer at once; the service tells all pages a moment later. */
  #put(camera, formerName = camera.name) {
    const others = this.all.filter((each) => each.name !== camera.name || each.name === formerName);
    const isNew = !others.some((each) => each.name === formerName);
    this.#hear(isNew
      ? [...others, camera]
      : others.map((each) => (each.name === formerName ? camera : each)));
  }

  #hear(cameras) {
    this.all = cameras;
    this.isKnown = true;
    this.dispatchEvent(new Event("change"));
  }
}
