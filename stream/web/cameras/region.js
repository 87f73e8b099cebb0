// The part of the image in which faces are detected: drawn with a pointer, or entered in percent.

import { byId } from "../page/dom.js";
import { WHOLE, between, fromPercent, placeWithin, toPercent } from "./rectangle.js";

/** @import { Rectangle } from "./rectangle.js" */

const SIDES = ["x1", "y1", "x2", "y2"];

export class Region {
  #area = byId("region-area");
  #image = byId("region-image", HTMLImageElement);
  #inputs = SIDES.map((side) => byId(`region-${side}`, HTMLInputElement));
  /** @type {[number, number] | null} */
  #from = null;

  constructor() {
    this.#image.addEventListener("load", () => { this.#image.hidden = false; });
    this.#image.addEventListener("error", () => { this.#image.hidden = true; });
    for (const input of this.#inputs) {
      input.addEventListener("input", () => this.#draw());
    }
    byId("region-all").addEventListener("click", () => this.#write(WHOLE));
    this.#area.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.#area.setPointerCapture(event.pointerId);
      this.#from = this.#place(event);
    });
    this.#area.addEventListener("pointermove", (event) => this.#stretch(event));
    this.#area.addEventListener("pointerup", () => { this.#from = null; });
    this.#area.addEventListener("pointercancel", () => { this.#from = null; });
  }

  /**
   * Show a region, null for the whole image, over an image by its URL, "" for none.
   * @param {Rectangle | null} region
   * @param {string} url
   */
  show(region, url) {
    this.#image.hidden = true;
    if (url) {
      this.#image.src = url;
    } else {
      this.#image.removeAttribute("src");
    }
    this.#write(region ?? WHOLE);
  }

  /** The region as in the API. */
  get value() {
    return fromPercent(this.#inputs.map((input) => input.value));
  }

  /** @param {PointerEvent} event */
  #stretch(event) {
    const rectangle = this.#from && between(this.#from, this.#place(event));
    if (rectangle) {
      this.#write(rectangle);
    }
  }

  /** @param {PointerEvent} event */
  #place(event) {
    return placeWithin(this.#area.getBoundingClientRect(), event);
  }

  /** @param {Rectangle} region */
  #write(region) {
    toPercent(region).forEach((text, index) => { this.#inputs[index].value = text; });
    this.#draw();
  }

  #draw() {
    const [x1, y1, x2, y2] = this.#inputs.map((input) => Number(input.value));
    const box = byId("region-box");
    box.style.left = `${x1}%`;
    box.style.top = `${y1}%`;
    box.style.width = `${Math.max(0, x2 - x1)}%`;
    box.style.height = `${Math.max(0, y2 - y1)}%`;
  }
}
