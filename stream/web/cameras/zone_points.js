// The points of zones while they are edited; needs no document.

/** @import { Zones } from "../connection/schemas.js" */

/** @typedef {[number, number]} Point x and y, 0 to 1 of the image */
/** @typedef {{name: string, points: Point[]}} Zone */

export const MIN_POINTS = 3;
export const MAX_POINTS = 20;

/** @type {Record<string, Point>} */
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 0.01;
const LONG_STEP = 0.05;

/**
 * A point within the image, with as many decimals as an 8K frame has pixels.
 * @param {number[]} point
 * @returns {Point}
 */
export function within([x, y]) {
  const [left, top] = [x, y].map((part) => Number(Math.min(1, Math.max(0, part)).toFixed(4)));
  return [left, top];
}

/**
 * A point moved by a key of the keyboard; null for other keys.
 * @param {Point} point
 * @param {{key: string, shiftKey: boolean}} event
 */
export function moved([x, y], { key, shiftKey }) {
  const step = shiftKey ? LONG_STEP : STEP;
  return Object.hasOwn(KEYS, key) ? within([x + step * KEYS[key][0], y + step * KEYS[key][1]]) : null;
}

/**
 * A name that no zone has.
 * @param {Zone[]} zones
 */
export function freeName(zones) {
  const names = new Set(zones.map(({ name }) => name));
  let number = 1;
  while (names.has(`zone-${number}`)) {
    number += 1;
  }
  return `zone-${number}`;
}

/**
 * Zones as in the API.
 * @param {Zone[]} zones
 * @returns {Zones}
 */
export function zonesOf(zones) {
  const double = zones.find(({ name }, index) => zones.findIndex((each) => each.name === name) < index);
  if (double) {
    throw new Error(`two zones are named “${double.name}”: rename one`);
  }
  return Object.fromEntries(zones.map(({ name, points }) => [name, points]));
}
