// What the timeline shows: what the service is asked for, and the same for live events.

/** @import { Event } from "../connection/schemas.js" */

/** The filters, as their fields and the address call them. */
export const FILTERS = /** @type {const} */ (["kind", "camera", "name", "day"]);

/** @typedef {Record<typeof FILTERS[number], string>} Values "" where all are wanted */

/** @type {Record<string, string[]>} */
const KINDS = {
  faces: ["enter", "exit", "unknown", "renamed"],
  cameras: ["camera_up", "camera_down"],
};

/**
 * Make a filter; a day is one of this browser's time zone, YYYY-MM-DD.
 * @param {Values} values
 * @returns {{query: URLSearchParams, accepts: (event: Event) => boolean}}
 */
export function filterOf({ kind, camera, name, day }) {
  const kinds = KINDS[kind] ?? (kind ? [kind] : []);
  const query = new URLSearchParams(kinds.map((each) => ["kind", each]));
  if (camera) {
    query.set("camera", camera);
  }
  if (name) {
    query.set("name", name);
  }
  const [from, to] = day ? boundsOf(day) : [null, null];
  if (from && to) {
    query.set("after", from.toISOString());
    query.set("before", to.toISOString());
  }
  /** @param {Event} event */
  const accepts = (event) => {
    const at = new Date(event.at);
    return (!kinds.length || kinds.includes(event.kind)) &&
      (!camera || event.camera === camera) &&
      (!name || event.name === name) &&
      (!from || !to || (at >= from && at < to));
  };
  return { query, accepts };
}

/**
 * The beginnings of a day and of the next; days of daylight saving have 23 or 25 hours.
 * @param {string} day
 */
function boundsOf(day) {
  const from = new Date(`${day}T00:00`);
  const to = new Date(from);
  to.setDate(from.getDate() + 1);
  return [from, to];
}
