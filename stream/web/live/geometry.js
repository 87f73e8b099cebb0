// Positions of frames and faces on the screen.

/** @import { Track } from "../connection/schemas.js" */

/** @typedef {{width: number, height: number}} Size */
/** @typedef {[number, number, number, number]} Box x1, y1, x2, y2 in pixels */
/** @typedef {{left: number, top: number, width: number, height: number}} Place in pixels */

const MARGIN = 0.35; // of a face's box around it, so that hair and chin are seen
const CUE_PX = 130; // about as wide as "Name this face": nearer to an edge it would be cut off
const CUE_HEIGHT_PX = 30;

/**
 * The position of a frame within a box that contains it whole (object-fit: contain in CSS).
 * @param {Size} size of the frame, in its pixels
 * @param {Size} box
 * @returns {{ratio: number, left: number, top: number}} all 0 for a frame without a size
 */
export function contain(size, box) {
  if (!size.width || !size.height) {
    return { ratio: 0, left: 0, top: 0 };
  }
  const ratio = Math.min(box.width / size.width, box.height / size.height);
  return {
    ratio,
    left: (box.width - size.width * ratio) / 2,
    top: (box.height - size.height * ratio) / 2,
  };
}

/**
 * The position of a face on the screen.
 * @param {Box} box in the frame's pixels
 * @param {{ratio: number, left: number, top: number}} scale of `contain`
 * @returns {Place}
 */
export function placeOf([x1, y1, x2, y2], { ratio, left, top }) {
  return {
    left: left + x1 * ratio,
    top: top + y1 * ratio,
    width: (x2 - x1) * ratio,
    height: (y2 - y1) * ratio,
  };
}

/**
 * The positions of the buttons over faces, and of the cues below them.
 *
 * `edge` is the side of the face at which its cue starts, "" for centered: near an edge of the frame
 * a centered cue would be cut off. Of unknown faces close together, only one shows its cue before
 * the pointer is over it; the cues of the others are covered.
 * @param {Track[]} tracks
 * @param {Size} size of the frame
 * @param {Size} layer over it
 * @returns {{track: Track, place: Place, edge: "" | "left" | "right", isCovered: boolean}[]}
 */
export function placeFaces(tracks, size, layer) {
  const scale = contain(size, layer);
  /** @type {{x: number, y: number}[]} */
  const cues = [];
  return tracks.map((track) => {
    const place = placeOf(track.box, scale);
    const middle = place.left + place.width / 2;
    const x = Math.max(CUE_PX / 2, Math.min(middle, layer.width - CUE_PX / 2));
    const y = place.top + place.height;
    const edge = x > middle ? "left" : x < middle ? "right" : "";
    const isCovered = cues.some((cue) => Math.abs(cue.x - x) < CUE_PX && Math.abs(cue.y - y) < CUE_HEIGHT_PX);
    if (track.state === "unknown" && !isCovered) {
      cues.push({ x, y });
    }
    return { track, place, edge, isCovered };
  });
}

/**
 * The square around a face, with a margin, in a rendition of its frame.
 * @param {Box} box in pixels of the frame
 * @param {number} scale pixels of the rendition per pixel of the frame
 * @returns {{left: number, top: number, side: number}} in pixels of the rendition
 */
export function squareAround([x1, y1, x2, y2], scale) {
  const side = Math.max(x2 - x1, y2 - y1) * (1 + 2 * MARGIN) * scale;
  return { left: ((x1 + x2) / 2) * scale - side / 2, top: ((y1 + y2) / 2) * scale - side / 2, side };
}

/**
 * The largest face; null if there is none.
 * @param {Track[]} tracks
 */
export function largest(tracks) {
  /** @param {Track} track */
  const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  return tracks.reduce((best, track) => (!best || area(track) > area(best) ? track : best),
    /** @type {Track | null} */ (null));
}
