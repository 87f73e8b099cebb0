// Clickable areas over the faces: real buttons, so that keyboards and screen readers reach them.

import { find, h, setLabel, setText } from "../page/dom.js";
import { placeFaces } from "./geometry.js";

/** @import { Track } from "../connection/schemas.js" */
/** @import { Size } from "./geometry.js" */

export class Overlay {
  #layer;
  #pick;
  /** @type {Size} */
  #size = { width: 0, height: 0 };
  /** @type {Track[]} */
  #tracks = [];
  /** @type {Map<string, HTMLButtonElement>} */
  #buttons = new Map();

  /**
   * @param {HTMLElement} layer over the video
   * @param {(track: Track) => void} pick called on a click on a face
   */
  constructor(layer, pick) {
    this.#layer = layer;
    this.#pick = pick;
    new ResizeObserver(() => this.#place()).observe(layer);
  }

  get size() {
    return this.#size;
  }

  get tracks() {
    return this.#tracks;
  }

  /** @param {Size & {tracks: Track[]}} tracks of a frame, with its size */
  show({ width, height, tracks }) {
    this.#size = { width, height };
    this.#tracks = tracks;
    const ids = new Set(tracks.map((track) => track.track_id));
    for (const [id, button] of this.#buttons) {
      if (!ids.has(id)) {
        button.remove();
        this.#buttons.delete(id);
      }
    }
    this.#place();
  }

  clear() {
    this.show({ width: 0, height: 0, tracks: [] });
  }

  #place() {
    const layer = { width: this.#layer.clientWidth, height: this.#layer.clientHeight };
    for (const { track, place, edge, isCovered } of placeFaces(this.#tracks, this.#size, layer)) {
      const button = this.#buttons.get(track.track_id) ?? this.#add(track.track_id);
      button.style.left = `${place.left}px`;
      button.style.top = `${place.top}px`;
      button.style.width = `${place.width}px`;
      button.style.height = `${place.height}px`;
      button.dataset.edge = edge;
      button.toggleAttribute("data-covered", isCovered);
      button.dataset.state = track.state;
      button.dataset.trackId = track.track_id;
      button.dataset.name = track.name ?? "";
      // The label begins with the visible text, for speech input.
      const cue = track.name ? `Not ${track.name}?` : "Name this face";
      setLabel(button, `${cue} ${track.name ? "Correct the name" : "It is unknown"}`);
      setText(find(button, ".face-cue"), cue);
    }
  }

  /** @param {string} id of a track */
  #add(id) {
    const button = h("button", { type: "button", class: "face", "data-changes": true }, h("span", { class: "face-cue" }));
    button.addEventListener("click", () => {
      const track = this.#tracks.find((each) => each.track_id === id);
      if (track) {
        this.#pick(track);
      }
    });
    this.#buttons.set(id, button);
    this.#layer.append(button);
    return button;
  }
}
