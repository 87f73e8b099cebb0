// Clickable areas over the faces: real buttons, so that keyboards and screen readers reach them.

import { h, setText } from "../page/dom.js";

const CUE_PX = 130; // about as wide as "Name this face": nearer to an edge it would be cut off
const CUE_HEIGHT_PX = 30;

export class Overlay {
  #layer;
  #video;
  #pick;
  #size = { width: 0, height: 0 };
  #tracks = [];
  #buttons = new Map();

  constructor(layer, video, pick) {
    this.#layer = layer;
    this.#video = video;
    this.#pick = pick;
    new ResizeObserver(() => this.#place()).observe(layer);
  }

  get size() {
    return this.#size;
  }

  get tracks() {
    return this.#tracks;
  }

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
    const scale = contain(this.#size, this.#layer.clientWidth, this.#layer.clientHeight);
    const cues = [];
    for (const track of this.#tracks) {
      const button = this.#buttons.get(track.track_id) ?? this.#add(track.track_id);
      const [x1, y1, x2, y2] = track.box;
      button.style.left = `${scale.left + x1 * scale.ratio}px`;
      button.style.top = `${scale.top + y1 * scale.ratio}px`;
      button.style.width = `${(x2 - x1) * scale.ratio}px`;
      button.style.height = `${(y2 - y1) * scale.ratio}px`;
      const middle = scale.left + ((x1 + x2) / 2) * scale.ratio;
      const x = clamp(middle, CUE_PX / 2, this.#layer.clientWidth - CUE_PX / 2);
      button.dataset.edge = x > middle ? "left" : x < middle ? "right" : "";
      // Where faces stand close, only one of them shows its cue before it is pointed at.
      const y = scale.top + y2 * scale.ratio;
      const isCovered = cues.some((cue) => Math.abs(cue.x - x) < CUE_PX && Math.abs(cue.y - y) < CUE_HEIGHT_PX);
      button.toggleAttribute("data-covered", isCovered);
      if (track.state === "unknown" && !isCovered) {
        cues.push({ x, y });
      }
      button.dataset.state = track.state;
      button.dataset.trackId = track.track_id;
      button.dataset.name = track.name ?? "";
      // The label begins with what is seen, for those who say it to click it.
      const cue = track.name ? `Not ${track.name}?` : "Name this face";
      const label = `${cue} ${track.name ? "Correct the name" : "It is unknown"}`;
      if (button.getAttribute("aria-label") !== label) {
        button.setAttribute("aria-label", label);
      }
      setText(button.firstElementChild, cue);
    }
  }

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

function clamp(value, low, high) {
  return Math.max(low, Math.min(value, high));
}

/** Where a picture lies in a box that contains it whole (object-fit: contain). */
export function contain(size, width, height) {
  if (!size.width || !size.height) {
    return { ratio: 0, left: 0, top: 0 };
  }
  const ratio = Math.min(width / size.width, height / size.height);
  return {
    ratio,
    left: (width - size.width * ratio) / 2,
    top: (height - size.height * ratio) / 2,
  };
}
