// The list of the faces that are in the picture now, beside it.

import { duration } from "../cameras/condition.js";
import { byId, h, setText } from "../page/dom.js";
import { drawFace } from "./naming.js";

const DRAW_MS = 1500; // how old a face's picture may be
const ORDER = { unknown: 0, known: 1, undecided: 2 };

export class Faces {
  #stage;
  #rows = new Map();

  constructor(stage) {
    this.#stage = stage;
    stage.addEventListener("tracks", () => this.#show());
  }

  #show() {
    const tracks = [...this.#stage.tracks].sort(
      (a, b) => ORDER[a.state] - ORDER[b.state] || b.age_s - a.age_s);
    const ids = new Set(tracks.map((track) => track.track_id));
    for (const [id, row] of this.#rows) {
      if (!ids.has(id)) {
        row.element.remove();
        this.#rows.delete(id);
      }
    }
    const list = byId("in-view");
    tracks.forEach((track, index) => {
      const row = this.#rows.get(track.track_id) ?? this.#add(track.track_id);
      this.#fill(row, track);
      // Moved only where it is elsewhere: a button that has the focus keeps it.
      if (list.children[index] !== row.element) {
        list.insertBefore(row.element, list.children[index] ?? null);
      }
    });
    byId("in-view-empty").hidden = tracks.length > 0;
  }

  #add(id) {
    const row = {
      canvas: h("canvas", { width: 96, height: 96, class: "face-picture", "aria-hidden": "true" }),
      name: h("p", { class: "event-who", dir: "auto" }),
      about: h("p", { class: "event-where" }),
      button: h("button", { type: "button", class: "button small", "data-changes": true }),
      drawnAt: -Infinity,
    };
    row.button.addEventListener("click", () => {
      const track = this.#stage.tracks.find((each) => each.track_id === id);
      if (track) {
        this.#stage.pick(track);
      }
    });
    row.element = h("li", { class: "in-view-face" },
      row.canvas, h("div", { class: "event-text" }, row.name, row.about), row.button);
    this.#rows.set(id, row);
    return row;
  }

  #fill(row, track) {
    row.element.dataset.state = track.state;
    row.element.dataset.name = track.name ?? "";
    const names = { unknown: "Unknown face", undecided: "Looking …" };
    setText(row.name, track.name ?? names[track.state]);
    const similarity = track.similarity === null ? "" : `similarity ${track.similarity.toFixed(2)} · `;
    setText(row.about, `${similarity}for ${duration(track.age_s)}`);
    setText(row.button, track.name ? "Correct" : "Name");
    const label = track.name ? `Correct the name ${track.name}` : "Name this face";
    if (row.button.getAttribute("aria-label") !== label) {
      row.button.setAttribute("aria-label", label);
    }
    const now = performance.now();
    if (now - row.drawnAt > DRAW_MS && this.#stage.video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) {
      row.drawnAt = now;
      drawFace(row.canvas, this.#stage.video, track.box, this.#stage.size);
    }
  }
}
