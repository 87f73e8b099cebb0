// The list of the faces in view, beside the video.

import { byId, h, setChildren, setLabel, setText } from "../page/dom.js";
import { duration } from "../page/text.js";
import { drawFace } from "./naming.js";

/** @import { Track } from "../connection/schemas.js" */
/** @import { Stage } from "./stage.js" */

const DRAW_MS = 1500; // maximum age of a face's image
const ORDER = { unknown: 0, known: 1, undecided: 2 };

/** @typedef {ReturnType<typeof makeRow>} Row */

export class Faces {
  #stage;
  /** @type {Map<string, Row>} */
  #rows = new Map();

  /** @param {Stage} stage */
  constructor(stage) {
    this.#stage = stage;
    stage.on("tracks", () => this.#show());
  }

  #show() {
    const tracks = inOrder(this.#stage.tracks);
    const ids = new Set(tracks.map((track) => track.track_id));
    [...this.#rows.keys()].filter((id) => !ids.has(id)).forEach((id) => this.#rows.delete(id));
    setChildren(byId("in-view"), tracks.map((track) => {
      const row = this.#rows.get(track.track_id) ?? this.#add(track.track_id);
      this.#fill(row, track);
      return row.element;
    }));
    byId("in-view-empty").hidden = tracks.length > 0;
  }

  /** @param {string} id of a track */
  #add(id) {
    const row = makeRow();
    row.button.addEventListener("click", () => {
      const track = this.#stage.tracks.find((each) => each.track_id === id);
      if (track) {
        this.#stage.pick(track);
      }
    });
    this.#rows.set(id, row);
    return row;
  }

  /**
   * @param {Row} row
   * @param {Track} track
   */
  #fill(row, track) {
    row.element.dataset.state = track.state;
    row.element.dataset.name = track.name ?? "";
    setText(row.name, track.name ?? (track.state === "unknown" ? "Unknown face" : "Recognizing …"));
    setText(row.about, aboutText(track));
    setText(row.button, track.name ? "Correct" : "Name");
    setLabel(row.button, track.name ? `Correct the name ${track.name}` : "Name this face");
    const { video, size } = this.#stage;
    const now = performance.now();
    if (now - row.drawnAt > DRAW_MS && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) {
      row.drawnAt = now;
      drawFace(row.canvas, video, track.box, size);
    }
  }
}

/**
 * Tracks in the list's order: unknown ones first, then by age.
 * @param {Track[]} tracks
 */
export function inOrder(tracks) {
  return [...tracks].sort((a, b) => ORDER[a.state] - ORDER[b.state] || b.age_s - a.age_s);
}

/** @param {Track} track */
export function aboutText({ similarity, age_s: age }) {
  return `${similarity === null ? "" : `similarity ${similarity.toFixed(2)} · `}for ${duration(age)}`;
}

function makeRow() {
  const canvas = h("canvas", { width: 96, height: 96, class: "face-image", "aria-hidden": "true" });
  const name = h("p", { class: "event-who", dir: "auto" });
  const about = h("p", { class: "event-where" });
  const button = h("button", { type: "button", class: "button small", "data-changes": true });
  const element = h("li", { class: "in-view-face" }, canvas, h("div", { class: "event-text" }, name, about), button);
  return { element, canvas, name, about, button, drawnAt: -Infinity };
}
