// The cameras of the service, and the actions on them.

import { api, encode } from "../connection/api.js";
import { ask, confirm } from "../page/dialogs.js";
import { toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { fillForm, readForm } from "./camera_form.js";

/** @import { Camera } from "../connection/schemas.js" */
/** @import { Socket } from "../connection/socket.js" */

/**
 * Events: "change"; "added" with a camera's name; "renamed"; "stop-own" where this browser's camera
 * is to be removed.
 * @extends {Emitter<{change: void, added: string, renamed: {from: string, to: string}, "stop-own": void}>}
 */
export class Cameras extends Emitter {
  /** @type {Camera[]} */
  all = [];
  isKnown = false; // whether the service has sent the list
  /** @type {string | null} */
  own = null; // the name of this browser's camera while it is published

  /** @param {Socket} socket */
  constructor(socket) {
    super();
    socket.on("cameras", ({ cameras }) => this.#set(cameras));
  }

  /**
   * @param {string | null} name
   * @returns {Camera | null}
   */
  find(name) {
    return this.all.find((camera) => camera.name === name) ?? null;
  }

  /** @param {string} name */
  titleOf(name) {
    return name === this.own ? "This browser’s camera" : name;
  }

  async add() {
    const end = fillForm(null);
    /** @type {Camera | null} */
    const camera = await ask("camera", () => api("POST", "api/cameras", readForm(null)));
    end();
    if (camera) {
      toast(`${camera.name} was added.`);
      this.#set(withCamera(this.all, camera));
      this.emit("added", camera.name);
    }
  }

  /** @param {string} name */
  async edit(name) {
    const camera = this.find(name);
    const end = fillForm(camera);
    /** @type {Camera | null} */
    const changed = await ask("camera", () =>
      api("PATCH", `api/cameras/${encode(name)}`, readForm(camera)));
    end();
    if (changed) {
      const isRenamed = changed.name !== name;
      toast(isRenamed ? `${name} was renamed to ${changed.name}.` : `${name} was changed.`);
      this.#set(withCamera(this.all, changed, name));
      if (isRenamed) {
        this.emit("renamed", { from: name, to: changed.name });
      }
    }
  }

  /**
   * @param {string} name
   * @param {boolean} isOn
   */
  async turn(name, isOn) {
    this.#set(withCamera(this.all, await api("PATCH", `api/cameras/${encode(name)}`, { enabled: isOn })));
  }

  /**
   * @param {string} name
   * @param {number} rotation degrees clockwise
   */
  async rotate(name, rotation) {
    this.#set(withCamera(this.all, await api("PATCH", `api/cameras/${encode(name)}`, { rotation })));
    toast(`${name} was changed.`);
  }

  /** @param {string} name */
  async remove(name) {
    if (name === this.own) {
      this.emit("stop-own");
      return;
    }
    const removed = await confirm({
      title: `Remove ${name}?`,
      text: "The camera is removed permanently. People and events are kept.",
      yes: "Remove camera",
      run: () => api("DELETE", `api/cameras/${encode(name)}`),
    });
    if (removed) {
      this.#set(this.all.filter((camera) => camera.name !== name));
    }
  }

  /** @param {Camera[]} cameras */
  #set(cameras) {
    this.all = cameras;
    this.isKnown = true;
    this.emit("change");
  }
}

/**
 * The cameras with one that the API returned; the service sends the list to all pages shortly after.
 * @param {Camera[]} cameras
 * @param {Camera} camera
 * @param {string} formerName
 */
export function withCamera(cameras, camera, formerName = camera.name) {
  const others = cameras.filter((each) => each.name !== camera.name || each.name === formerName);
  return others.some((each) => each.name === formerName)
    ? others.map((each) => (each.name === formerName ? camera : each))
    : [...others, camera];
}
