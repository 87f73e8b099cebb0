// Faces drawn by the page over raw video: sharp at any size, matched to their frames.

import { FrameFaces, labelOf } from "./frame_faces.js";
import { contain, placeOf } from "./geometry.js";

/** @import { Link } from "../connection/link.js" */
/** @import { Faces } from "./frame_faces.js" */

// The colors of stream/video/annotate.py.
const COLORS = { known: "rgb(46 190 110)", unknown: "rgb(244 150 40)", undecided: "rgb(205 210 216)" };
const INK = "rgb(14 20 26)";

const CHOICE = "facewire-raw"; // in this browser's storage

/** Whether the page draws the faces itself: as chosen on it, or by /?raw=1. */
export function wantsRaw() {
  return (localStorage.getItem(CHOICE) ?? new URLSearchParams(location.search).get("raw")) === "1";
}

/** @param {boolean} isRaw */
export function chooseRaw(isRaw) {
  localStorage.setItem(CHOICE, isRaw ? "1" : "0");
}

export class RawFaces {
  #canvas = document.createElement("canvas");
  #video;
  #faces = new FrameFaces();
  #n = 0;
  #nExact = 0;
  #ended = new AbortController();

  /**
   * Draw the faces of `link` over `video`, which shows its stream.
   * @param {HTMLVideoElement} video
   * @param {Link} link
   */
  constructor(video, link) {
    this.#video = video;
    this.#canvas.className = "raw-faces";
    Object.assign(this.#canvas.style, { position: "absolute", inset: "0", width: "100%", height: "100%", pointerEvents: "none" });
    video.after(this.#canvas);
    link.on("faces", (faces) => this.#faces.keep(faces), { signal: this.#ended.signal });
    this.#next();
  }

  end() {
    this.#ended.abort();
    this.#canvas.remove();
  }

  #next() {
    this.#video.requestVideoFrameCallback((_, { rtpTimestamp }) => {
      if (this.#ended.signal.aborted) {
        return;
      }
      const { faces, isExact } = this.#faces.of(rtpTimestamp);
      this.#n += 1;
      this.#nExact += Number(isExact);
      this.#canvas.dataset.frames = String(this.#n);
      this.#canvas.dataset.exact = String(this.#nExact);
      this.#draw(faces);
      this.#next();
    });
  }

  /** @param {Faces | undefined} faces */
  #draw(faces) {
    const ratio = devicePixelRatio;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    this.#canvas.width = width * ratio;
    this.#canvas.height = height * ratio;
    const context = this.#canvas.getContext("2d");
    if (!faces || !context) {
      return;
    }
    const scale = contain(faces, { width, height });
    context.scale(ratio, ratio);
    context.font = "600 14px system-ui, sans-serif";
    context.textBaseline = "top";
    context.lineWidth = 2;
    for (const track of faces.tracks) {
      const place = placeOf(track.box, scale);
      context.strokeStyle = COLORS[track.state];
      context.fillStyle = COLORS[track.state];
      context.strokeRect(place.left, place.top, place.width, place.height);
      const text = labelOf(track);
      const labelTop = Math.max(0, place.top - 24);
      context.fillRect(place.left, labelTop, context.measureText(text).width + 12, 22);
      context.fillStyle = INK;
      context.fillText(text, place.left + 6, labelTop + 4);
    }
  }
}
