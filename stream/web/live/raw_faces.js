// Faces drawn by the page over raw video: sharp at any size, each with the frame it belongs to.

import { contain } from "./overlay.js";

const KEPT = 50; // frames whose faces came before their picture; two seconds
// As stream/video/annotate.py has them.
const COLOURS = { known: "rgb(46 190 110)", unknown: "rgb(244 150 40)", undecided: "rgb(205 210 216)" };
const INK = "rgb(14 20 26)";

const CHOICE = "facewire-raw"; // in this browser's storage

/** Whether the page is to draw the faces itself: as chosen here, or asked by /?raw=1. */
export function wantsRaw() {
  return (localStorage.getItem(CHOICE) ?? new URLSearchParams(location.search).get("raw")) === "1";
}

export function chooseRaw(isRaw) {
  localStorage.setItem(CHOICE, isRaw ? "1" : "0");
}

export class RawFaces {
  #canvas = document.createElement("canvas");
  #video;
  #byTime = new Map();
  #n = 0;
  #nExact = 0;
  #ended = new AbortController();

  /** Draw what `link` hears of the faces over `video`, which shows that link's stream. */
  constructor(video, link) {
    this.#video = video;
    this.#canvas.className = "raw-faces";
    Object.assign(this.#canvas.style, { position: "absolute", inset: "0", width: "100%", height: "100%", pointerEvents: "none" });
    video.after(this.#canvas);
    link.addEventListener("faces", ({ detail }) => this.#keep(detail), { signal: this.#ended.signal });
    this.#next();
  }

  end() {
    this.#ended.abort();
    this.#canvas.remove();
  }

  #keep(faces) {
    this.#byTime.set(faces.rtp, faces);
    if (this.#byTime.size > KEPT) {
      this.#byTime.delete(this.#byTime.keys().next().value);
    }
  }

  #next() {
    this.#video.requestVideoFrameCallback((_, { rtpTimestamp }) => {
      if (this.#ended.signal.aborted) {
        return;
      }
      const own = this.#byTime.get(rtpTimestamp);
      this.#canvas.dataset.frames = (this.#n += 1);
      this.#canvas.dataset.exact = (this.#nExact += own ? 1 : 0);
      // A lost message, or a browser that does not tell the timestamp: the newest is nearest.
      this.#draw(own ?? [...this.#byTime.values()].at(-1));
      this.#next();
    });
  }

  #draw(faces) {
    const ratio = devicePixelRatio;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    this.#canvas.width = width * ratio;
    this.#canvas.height = height * ratio;
    if (!faces) {
      return;
    }
    const scale = contain(faces, width, height);
    const context = this.#canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "600 14px system-ui, sans-serif";
    context.textBaseline = "top";
    context.lineWidth = 2;
    for (const track of faces.tracks) {
      const [x1, y1, x2, y2] = track.box.map((value) => value * scale.ratio);
      const [left, top] = [scale.left + x1, scale.top + y1];
      context.strokeStyle = COLOURS[track.state];
      context.fillStyle = COLOURS[track.state];
      context.strokeRect(left, top, x2 - x1, y2 - y1);
      const text = label(track);
      const labelTop = Math.max(0, top - 24);
      context.fillRect(left, labelTop, context.measureText(text).width + 12, 22);
      context.fillStyle = INK;
      context.fillText(text, left + 6, labelTop + 4);
    }
  }
}

function label({ name, similarity, state, age_s: age }) {
  const since = age < 60 ? `${Math.floor(age)} s` : `${Math.floor(age / 60)} min`;
  if (name !== null) {
    return `${name}  ${similarity.toFixed(2)}  ${since}`;
  }
  return state === "unknown" ? `unknown  ${since}` : "...";
}
