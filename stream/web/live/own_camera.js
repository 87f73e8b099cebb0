// This browser's camera: published and shown with names, and used to enroll the person in front of it.

import { ApiError } from "../connection/api.js";
import { Link } from "../connection/link.js";
import { byId, setText, toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { messageOf } from "../page/text.js";
import { openCamera } from "../page/user_camera.js";
import { largest } from "./geometry.js";
import { nameTrack } from "./naming.js";

/** @import { Socket } from "../connection/socket.js" */
/** @import { Stage } from "./stage.js" */

const LOOK_MS = 8000; // how long to wait for a face
const PAUSE_MS = 150; // between two tries

/**
 * Events: "start" with the camera's name, "stop", and "enrolled".
 * @extends {Emitter<{start: string, stop: void, enrolled: void}>}
 */
export class OwnCamera extends Emitter {
  /** @type {Link | null} */
  link = null;
  #socket;
  /** @type {MediaStream | null} */
  #stream = null;
  #stage;

  /**
   * @param {Socket} socket
   * @param {Stage} stage
   */
  constructor(socket, stage) {
    super();
    this.#socket = socket;
    this.#stage = stage;
    byId("own-camera").addEventListener("click", () => (this.link ? this.stop() : this.start()));
    byId("enroll").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enroll();
    });
  }

  async start() {
    const button = byId("own-camera", HTMLButtonElement);
    button.disabled = true;
    this.#stream = await openCamera();
    button.disabled = false;
    if (!this.#stream) {
      return;
    }
    const [track] = this.#stream.getVideoTracks();
    track.addEventListener("ended", () => this.stop());
    this.link = new Link(this.#socket, { publish: newName() }, this.#stream);
    button.dataset.on = "";
    setText(byId("own-camera-text"), "Stop this browser’s camera");
    this.emit("start", this.link.name);
  }

  stop() {
    if (!this.link) {
      return;
    }
    this.link.end();
    this.link = null;
    for (const track of this.#stream?.getTracks() ?? []) {
      track.stop();
    }
    delete byId("own-camera").dataset.on;
    setText(byId("own-camera-text"), "Use this browser’s camera");
    this.emit("stop");
  }

  async #enroll() {
    const name = byId("enroll-name", HTMLInputElement).value.trim();
    const button = byId("enroll-submit", HTMLButtonElement);
    const hint = byId("enroll-hint");
    if (!name || !this.link) {
      return;
    }
    button.disabled = true;
    setText(hint, "Look at the camera …");
    const until = performance.now() + LOOK_MS;
    let reason = "No face was detected. Come closer, and look at the camera.";
    while (performance.now() < until && this.link) {
      const track = largest(this.#stage.tracks);
      if (track) {
        try {
          const identity = await nameTrack(this.link.name, track.track_id, name);
          reason = "";
          toast(`Welcome, ${identity.name}.`);
          setText(hint, `You are enrolled as ${identity.name}. Enroll again in different light for better recognition.`);
          this.emit("enrolled");
          break;
        } catch (error) {
          reason = messageOf(error);
          if (!(error instanceof ApiError && (error.status === 404 || error.status === 400))) {
            break; // wait only for a face that just left or is not clear yet
          }
        }
      }
      await new Promise((resolve) => { setTimeout(resolve, PAUSE_MS); });
    }
    if (reason) {
      setText(hint, reason);
      toast(reason, "bad");
    }
    button.disabled = false;
  }
}

/** A unique name: two tabs, or a page and its reload, do not collide. */
function newName() {
  const random = crypto.getRandomValues(new Uint8Array(3));
  return `browser-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
