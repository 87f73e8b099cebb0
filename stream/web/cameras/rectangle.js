// Rectangles within a picture: x1, y1, x2, y2, each a share of its width or height.

/** @typedef {[number, number, number, number]} Rectangle */

/** @type {Rectangle} */
export const WHOLE = [0, 0, 1, 1];
const MIN_PART = 0.02; // of the picture; a click is no rectangle

/**
 * Where a pointer is within a picture, [x, y]; at its edge where the pointer is beyond.
 * @param {{left: number, top: number, width: number, height: number}} picture on the screen
 * @param {{clientX: number, clientY: number}} pointer
 * @returns {[number, number]}
 */
export function placeWithin({ left, top, width, height }, { clientX, clientY }) {
  /** @param {number} part */
  const within = (part) => Math.min(1, Math.max(0, part));
  return [within((clientX - left) / width), within((clientY - top) / height)];
}

/**
 * The rectangle between two corners; null where they are too close.
 * @param {[number, number]} from
 * @param {[number, number]} to
 * @returns {Rectangle | null}
 */
export function between([x1, y1], [x2, y2]) {
  const isLarge = Math.abs(x2 - x1) >= MIN_PART && Math.abs(y2 - y1) >= MIN_PART;
  return isLarge ? [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)] : null;
}

/**
 * Write shares in percent with at most one decimal.
 * @param {Rectangle} rectangle
 */
export function toPercent(rectangle) {
  return rectangle.map((part) => String(Number((part * 100).toFixed(1))));
}

/**
 * Read what `toPercent` wrote, or a person typed; null for the whole picture, as the API takes it.
 * @param {string[]} texts
 * @returns {Rectangle | null}
 */
export function fromPercent(texts) {
  const [x1, y1, x2, y2] = texts.map((text) => Number(text) / 100);
  /** @type {Rectangle} */
  const rectangle = [x1, y1, x2, y2];
  return rectangle.every((part, index) => part === WHOLE[index]) ? null : rectangle;
}
