// The tracks of raw video's frames: they arrive separately from the frames, and often earlier.

/** @import { Track, Tracks } from "../connection/schemas.js" */

const KEPT = 50; // frames, about two seconds

/** @typedef {Tracks & {rtp: number}} Faces of the frame with an RTP timestamp */

export class FrameFaces {
  /** @type {Map<number, Faces>} */
  #byTime = new Map();

  /** @param {Faces} faces */
  keep(faces) {
    this.#byTime.set(faces.rtp, faces);
    const [oldest] = this.#byTime.keys();
    if (this.#byTime.size > KEPT) {
      this.#byTime.delete(oldest);
    }
  }

  /**
   * The faces to draw over a frame; the newest if the message was lost, or the browser does not report
   * the timestamp.
   * @param {number | undefined} rtpTimestamp of the frame
   * @returns {{faces: Faces | undefined, isExact: boolean}} `isExact`: they belong to this frame
   */
  of(rtpTimestamp) {
    const own = rtpTimestamp === undefined ? undefined : this.#byTime.get(rtpTimestamp);
    return { faces: own ?? [...this.#byTime.values()].at(-1), isExact: own !== undefined };
  }
}

/**
 * A face's label, as in stream/video/annotate.py: name, similarity and age.
 * @param {Track} track
 */
export function labelOf({ name, similarity, state, age_s: age }) {
  const since = age < 60 ? `${Math.floor(age)} s` : `${Math.floor(age / 60)} min`;
  if (name !== null) {
    return [name, similarity?.toFixed(2), since].filter(Boolean).join("  ");
  }
  return state === "unknown" ? `unknown  ${since}` : "...";
}
