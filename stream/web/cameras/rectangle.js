// Rectangles within an image: x1, y1, x2, y2, each as a fraction of its width or height, 0 to 1.

/** @typedef {[number, number, number, number]} Rectangle */

/** @type {Rectangle} */
export const WHOLE = [0, 0, 1, 1];
const MIN_PART = 0.02; // of the image; a click is not a rectangle

/**
 * The position of a pointer within an image, [x, y]; clamped to the image.
 * @param {{left: number, top: number, width: number, height: number}} image on the screen, pixels
 * @param {{clientX: number, clientY: number}} pointer
 * @returns {[number, number]}
 */
export function placeWithin({ left, top, width, height }, { clientX, clientY }) {
  /** @param {number} part */
  const within = (part) => Math.min(1, Math.max(0, part));
  return [within((clientX - left) / width), within((clientY - top) / height)];
}

/**
 * The rectangle between two corners; null if they are too close.
 * @param {[number, number]} from
 * @param {[number, number]} to
 * @returns {Rectangle | null}
 */
export function between([x1, y1], [x2, y2]) {
  const isLarge = Math.abs(x2 - x1) >= MIN_PART && Math.abs(y2 - y1) >= MIN_PART;
  return isLarge ? [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)] : null;
}

/**
 * Format fractions as percent with at most one decimal.
 * @param {Rectangle} rectangle
 */
export function toPercent(rectangle) {
  return rectangle.map((part) => String(Number((part * 100).toFixed(1))));
}

/**
 * Parse percent; null for the whole image, as in the API.
 * @param {string[]} texts
 * @returns {Rectangle | null}
 */
export function fromPercent(texts) {
  const [x1, y1, x2, y2] = texts.map((text) => Number(text) / 100);
  /** @type {Rectangle} */
  const rectangle = [x1, y1, x2, y2];
  return rectangle.every((part, index) => part === WHOLE[index]) ? null : rectangle;
}
