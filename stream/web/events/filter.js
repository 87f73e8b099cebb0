// Filters of the timeline: the query of the service, and the same for live events.

import { boundsOf } from "../page/time.js";

/** @import { Event } from "../connection/schemas.js" */

/** The names of the filters, in the form and in the address. */
export const FILTERS = /** @type {const} */ (["kind", "camera", "name", "day"]);

/** @typedef {Record<typeof FILTERS[number], string>} Values "" for all */

/** @type {Record<string, string[]>} */
const KINDS = {
  faces: ["enter", "exit", "unknown", "renamed", "zone"],
  cameras: ["camera_up", "camera_down"],
};

/**
 * Create a filter; `day` is YYYY-MM-DD in the service's time zone.
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
      (!name || event.name === name || event.visitor === name) &&
      (!from || !to || (at >= from && at < to));
  };
  return { query, accepts };
}
