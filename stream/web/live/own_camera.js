// This browser's camera: sent to the service and back with names; and enrolling who sits before it.

import { byId, setText, toast } from "../page/dom.js";
import { Link } from "../connection/link.js";
import { nameTrack } from "./naming.js";

const WANTED = {
  audio: false,
  video: {
    width: { ideal: 1280 },
    height: { ideal: 720 },
    frameRate: { ideal: 25, max: 30 },
    facingMode: "user",
  },
};
const LOOK_MS = 8000; // how long a face is waited for
const REASONS = {
  NotAllowedError: "The browser may not use the camera. Allow it beside the address, then try again.",
  NotFoundError: "This device has no camera.",
  NotReadableError: "Another program is using the camera.",
  OverconstrainedError: "The camera cannot give such a picture.",
};

/** Events: "start" and "stop". */
export class OwnCamera extends EventTarget {
  link = null;
  #socket;
  #stream = null;
  #stage;

  constructor(socket, stage) {
    super();
    this.#socket = socket;
    this.#stage = stage;
    byId("own-camera").addEventListener("click", () => (this.link ? this.stop() : this.start()));
    byId("enrol").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enrol();
    });
  }

  async start() {
    const button = byId("own-camera");
    if (!navigator.mediaDevices) {
      toast("Browsers give their camera only to https:// pages and to 127.0.0.1.", "bad");
      return;
    }
    button.disabled = true;
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia(WANTED);
    } catch (error) {
      toast(REASONS[error.name] ?? `The camera did not start: ${error.message}`, "bad");
      return;
    } finally {
      button.disabled = false;
    }
    const [track] = this.#stream.getVideoTracks();
    track.addEventListener("ended", () => this.stop());
    this.link = new Link(this.#socket, { publish: newName() }, this.#stream);
    button.dataset.on = "";
    setText(byId("own-camera-text"), "Stop this browser’s camera");
    this.dispatchEvent(new Event("start"));
  }

  stop() {
    if (!this.link) {
      return;
    }
    this.link.end();
    this.link = null;
    for (const track of this.#stream.getTracks()) {
      track.stop();
    }
    delete byId("own-camera").dataset.on;
    setText(byId("own-camera-text"), "Use this browser’s camera");
    this.dispatchEvent(new Event("stop"));
  }

  async #enrol() {
    const name = byId("enrol-name").value.trim();
    const button = byId("enrol-submit");
    const hint = byId("enrol-hint");
    if (!name || !this.link) {
      return;
    }
    button.disabled = true;
    setText(hint, "Look at the camera …");
    const until = performance.now() + LOOK_MS;
    let reason = "No face was seen. Come closer, and look at the camera.";
    while (performance.now() < until && this.link) {
      const track = largest(this.#stage.tracks);
      if (track) {
        try {
          const identity = await nameTrack(this.link.name, track.track_id, name);
          reason = "";
          toast(`Welcome, ${identity.name}.`);
          setText(hint, `You are enrolled as ${identity.name}. Enrol again in another light to be known better.`);
          this.dispatchEvent(new Event("enrolled"));
          break;
        } catch (error) {
          reason = error.message;
          if (error.status !== 404 && error.status !== 400) {
            break; // only a face that has just left or is not yet clear is worth waiting for
          }
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    if (reason) {
      setText(hint, reason);
      toast(reason, "bad");
    }
    button.disabled = false;
  }
}

function largest(tracks) {
  const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  return tracks.reduce((best, track) => (!best || area(track) > area(best) ? track : best), null);
}

/** A name of this page's own: two tabs, or a page and its reload, never meet. */
function newName() {
  const random = crypto.getRandomValues(new Uint8Array(3));
  return `browser-${[...random].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
