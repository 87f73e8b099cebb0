// The zones of a camera: drawn by clicks on its image, changed by dragging points or by keys.

import { byId, glyph, h } from "../page/dom.js";
import { placeWithin } from "./rectangle.js";
import { MAX_POINTS, MIN_POINTS, freeName, moved, within, zonesOf } from "./zone_points.js";
import { drawZones } from "./zone_shapes.js";

/** @import { Zones } from "../connection/schemas.js" */
/** @import { Point, Zone } from "./zone_points.js" */

/** A new zone that is not drawn by clicks.
 * @type {Point[]} */
const MIDDLE = [[0.3, 0.3], [0.7, 0.3], [0.7, 0.7], [0.3, 0.7]];

export class ZoneEditor {
  #area = byId("zone-area");
  #image = byId("zone-image", HTMLImageElement);
  #shapes = byId("zone-shapes");
  #points = byId("zone-points");
  #list = byId("zone-list");
  /** @type {Zone[]} */
  #zones = [];
  /** @type {Point[] | null} of a zone that is drawn now */
  #drawn = null;
  /** @type {{points: Point[], index: number} | null} the point that is dragged */
  #held = null;

  constructor() {
    this.#image.addEventListener("load", () => { this.#image.hidden = false; });
    this.#image.addEventListener("error", () => { this.#image.hidden = true; });
    byId("zone-add").addEventListener("click", () => {
      this.#add(MIDDLE.map(within));
      /** @type {HTMLElement} */ (this.#points.lastElementChild).focus();
    });
    this.#area.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      if (event.target === this.#area) {
        this.#click(this.#place(event));
      }
    });
    this.#area.addEventListener("pointermove", (event) => {
      if (this.#held) {
        this.#held.points[this.#held.index] = this.#place(event);
        this.#draw();
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.#area.addEventListener(end, () => { this.#held = null; });
    }
  }

  /**
   * Show zones over an image by its URL, "" for none.
   * @param {Zones} zones
   * @param {string} url
   */
  show(zones, url) {
    this.#image.hidden = true;
    if (url) {
      this.#image.src = url;
    } else {
      this.#image.removeAttribute("src");
    }
    this.#drawn = this.#held = null;
    this.#zones = Object.entries(zones).map(([name, points]) => ({ name, points: [...points] }));
    this.#render();
  }

  /** The zones as in the API; one that is drawn now counts once it has a side. */
  get value() {
    this.#end();
    return zonesOf(this.#zones);
  }

  /** @param {PointerEvent} event */
  #place(event) {
    return within(placeWithin(this.#area.getBoundingClientRect(), event));
  }

  /** @param {Point} point on the image, where there is none */
  #click(point) {
    this.#drawn = [...(this.#drawn ?? []), point];
    if (this.#drawn.length === MAX_POINTS) {
      this.#end();
    }
    this.#render();
  }

  /** End the zone that is drawn. */
  #end() {
    const points = this.#drawn;
    this.#drawn = null;
    if (points && points.length >= MIN_POINTS) {
      this.#add(points);
    }
  }

  /** @param {Point[]} points */
  #add(points) {
    this.#zones.push({ name: freeName(this.#zones), points });
    this.#render();
    const name = this.#list.lastElementChild?.querySelector("input");
    name?.focus();
    name?.select();
  }

  /** Show the zones, their points and their names anew. */
  #render() {
    this.#list.replaceChildren(...this.#zones.map((zone) => h("li", {},
      h("input", { value: zone.name, "aria-label": "Name of the zone", required: true, maxlength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9_\\-]*", title: "Letters, digits, - and _", autocomplete: "off", spellcheck: "false", oninput: (/** @type {InputEvent} */ event) => {
        zone.name = /** @type {HTMLInputElement} */ (event.target).value;
        this.#draw();
      } }),
      h("button", { type: "button", class: "icon-button", "aria-label": `Remove the zone ${zone.name}`, onclick: () => {
        this.#zones = this.#zones.filter((each) => each !== zone);
        this.#render();
      } }, glyph("trash")))));
    const owners = [...this.#zones, ...(this.#drawn ? [{ name: "the new zone", points: this.#drawn }] : [])];
    this.#points.replaceChildren(...owners.flatMap(({ name, points }) => points.map((_, index) => {
      const button = h("button", { type: "button", class: "zone-point", "aria-label": `Point ${index + 1} of ${name}` });
      button.addEventListener("pointerdown", (event) => {
        this.#area.setPointerCapture(event.pointerId);
        button.focus();
        if (points === this.#drawn && index === 0) {
          this.#end();
          this.#render();
        } else {
          this.#held = { points, index };
        }
      });
      button.addEventListener("keydown", (event) => this.#key(event, points, index));
      return button;
    })));
    this.#draw();
  }

  /**
   * @param {KeyboardEvent} event
   * @param {Point[]} points
   * @param {number} index
   */
  #key(event, points, index) {
    const point = moved(points[index], event);
    if (point) {
      points[index] = point;
      this.#draw();
    } else if (["Delete", "Backspace"].includes(event.key) && (points === this.#drawn || points.length > MIN_POINTS)) {
      points.splice(index, 1);
      if (this.#drawn?.length === 0) {
        this.#drawn = null;
      }
      const at = [...this.#points.children].indexOf(/** @type {Element} */ (event.target));
      this.#render();
      /** @type {HTMLElement | undefined} */ (this.#points.children[Math.max(0, at - 1)])?.focus();
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Draw outlines, and the points where they are now. */
  #draw() {
    const shown = this.#drawn ? [...this.#zones, { name: "", points: this.#drawn }] : this.#zones;
    drawZones(this.#shapes, shown.map(({ name, points }) => [name, points]));
    const places = shown.flatMap(({ points }) => points);
    /** @type {HTMLElement[]} */ ([...this.#points.children]).forEach((button, index) => {
      button.style.left = `${100 * places[index][0]}%`;
      button.style.top = `${100 * places[index][1]}%`;
    });
    byId("zone-hint").textContent = this.#drawn
      ? "Click the next point, or the first one to end the zone."
      : "Click on the image to draw a zone point by point. Points are moved by dragging or by the arrow keys, and removed by Delete. A face is in a zone where its chin is.";
  }
}
