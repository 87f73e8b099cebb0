// The zones of the camera in the live view: outlines over its video, which can be switched off.

import { drawZones } from "../cameras/zone_shapes.js";
import { byId, h } from "../page/dom.js";
import { contain } from "./geometry.js";

/** @import { Track, Zones } from "../connection/schemas.js" */

const CHOICE = "facewire-zones"; // in this browser's storage

export class ZoneOutlines {
  #video;
  #box = h("div", { class: "zone-shapes", id: "live-zones" });
  #switch = byId("zones-shown");
  #drawn = "";

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.#video = video;
    video.after(this.#box);
    video.addEventListener("resize", () => this.#place());
    new ResizeObserver(() => this.#place()).observe(video);
    this.#switch.addEventListener("click", () => {
      localStorage.setItem(CHOICE, this.#isOn ? "0" : "1");
      this.#update();
    });
    this.#update();
  }

  get #isOn() {
    return localStorage.getItem(CHOICE) !== "0";
  }

  /** @param {Zones} zones of the camera that is shown */
  show(zones) {
    const text = JSON.stringify(zones);
    if (text !== this.#drawn) {
      this.#drawn = text;
      drawZones(this.#box, Object.entries(zones));
      byId("zones-option").hidden = !Object.keys(zones).length;
    }
  }

  /**
   * Mark the zones in which faces are.
   * @param {Track[]} tracks
   */
  mark(tracks) {
    const names = new Set(tracks.flatMap(({ zones }) => zones));
    for (const shape of this.#box.querySelectorAll("polygon")) {
      shape.toggleAttribute("data-occupied", names.has(shape.dataset.zone ?? ""));
    }
  }

  #update() {
    this.#box.hidden = !this.#isOn;
    this.#switch.setAttribute("aria-checked", String(this.#isOn));
  }

  /** Lay the outlines over the frame, which the video contains whole. */
  #place() {
    const { videoWidth: width, videoHeight: height, clientWidth, clientHeight } = this.#video;
    const { ratio, left, top } = contain({ width, height }, { width: clientWidth, height: clientHeight });
    Object.assign(this.#box.style, { left: `${left}px`, top: `${top}px`, width: `${width * ratio}px`, height: `${height * ratio}px` });
  }
}
