// The part of the picture whose faces count: drawn with a pointer, or typed in percent.

import { byId } from "../page/dom.js";

const SIDES = ["x1", "y1", "x2", "y2"];
const WHOLE = [0, 0, 1, 1];
const MIN_PART = 0.02; // of the picture; a click is no rectangle

export class Region {
  #picture = byId("region-picture");
  #image = byId("region-image");
  #inputs = SIDES.map((side) => byId(`region-${side}`));
  #from = null;

  constructor() {
    this.#image.addEventListener("load", () => { this.#image.hidden = false; });
    this.#image.addEventListener("error", () => { this.#image.hidden = true; });
    for (const input of this.#inputs) {
      input.addEventListener("input", () => this.#draw());
    }
    byId("region-all").addEventListener("click", () => this.#write(WHOLE));
    this.#picture.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.#picture.setPointerCapture(event.pointerId);
      this.#from = this.#place(event);
    });
    this.#picture.addEventListener("pointermove", (event) => this.#stretch(event));
    this.#picture.addEventListener("pointerup", () => { this.#from = null; });
    this.#picture.addEventListener("pointercancel", () => { this.#from = null; });
  }

  /** Show a region, null for the whole picture, over a picture by its address. */
  show(region, picture) {
    this.#image.hidden = true;
    if (picture) {
      this.#image.src = picture;
    } else {
      this.#image.removeAttribute("src");
    }
    this.#write(region ?? WHOLE);
  }

  /** As the API takes it: x1, y1, x2, y2 in 0 to 1, or null for the whole picture. */
  get value() {
    const parts = this.#inputs.map((input) => Number(input.value) / 100);
    return parts.every((part, index) => part === WHOLE[index]) ? null : parts;
  }

  #stretch(event) {
    if (!this.#from) {
      return;
    }
    const [x, y] = this.#place(event);
    const [fromX, fromY] = this.#from;
    if (Math.abs(x - fromX) >= MIN_PART && Math.abs(y - fromY) >= MIN_PART) {
      this.#write([Math.min(x, fromX), Math.min(y, fromY), Math.max(x, fromX), Math.max(y, fromY)]);
    }
  }

  #place(event) {
    const { left, top, width, height } = this.#picture.getBoundingClientRect();
    const within = (part) => Math.min(1, Math.max(0, part));
    return [within((event.clientX - left) / width), within((event.clientY - top) / height)];
  }

  #write(region) {
    region.forEach((part, index) => { this.#inputs[index].value = String(Number((part * 100).toFixed(1))); });
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
