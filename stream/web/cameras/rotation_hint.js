// A note on a camera in whose video most faces are turned, with a button that sets its rotation.

import { attempt } from "../connection/api.js";
import { h, setText } from "../page/dom.js";

/** @import { Cameras } from "./cameras.js" */
/** @import { Camera } from "../connection/schemas.js" */

const DISMISSED = "facewire-rotation-dismissed-"; // and the camera's name; the rotation not to suggest

/** @type {Record<number, string>} */
const TURNED = {
  90: "turned by 90° clockwise",
  180: "upside down",
  270: "turned by 90° counterclockwise",
};

export class RotationHint {
  element;
  #text = h("span", { role: "status" });
  /** @type {Camera | null} */
  #camera = null;

  /** @param {Cameras} cameras */
  constructor(cameras) {
    /**
     * @param {string} label
     * @param {(camera: Camera) => void} act
     */
    const button = (label, act, kind = "") =>
      h("button", { type: "button", class: `button small ${kind}`, onclick: () => this.#camera && act(this.#camera) }, label);
    this.element = h("div", { class: "rotation-hint", "data-changes": true, hidden: true },
      this.#text,
      button("Rotate", ({ name, suggested_rotation: rotation }) => {
        if (rotation !== null) {
          attempt(cameras.rotate(name, rotation));
        }
      }, "primary"),
      button("Dismiss", (camera) => {
        localStorage.setItem(DISMISSED + camera.name, String(camera.suggested_rotation));
        this.show(camera);
      }));
  }

  /** @param {Camera | null} camera */
  show(camera) {
    this.#camera = camera;
    const text = camera ? rotationText(camera, localStorage.getItem(DISMISSED + camera.name)) : "";
    this.element.hidden = text === "";
    setText(this.#text, text);
  }
}

/**
 * The question whether to rotate the video; "" if there is nothing to suggest.
 * @param {Pick<Camera, "suggested_rotation" | "settings">} camera
 * @param {string | null} dismissed the suggestion that was dismissed
 */
export function rotationText({ suggested_rotation: suggested, settings }, dismissed) {
  const turned = suggested === null ? 0 : (settings.rotation - suggested + 360) % 360;
  return turned === 0 || dismissed === String(suggested) ? "" : `Most faces are ${TURNED[turned]}. Rotate the video?`;
}
