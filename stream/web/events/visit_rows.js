// The rows of a day's visits: who, and where each bar is. Needs no document.

import { clockText } from "../page/time.js";

/** @import { Visit } from "../connection/schemas.js" */

/**
 * A person's visits of a day; `left` and `width` of a bar are parts of the day, 0 to 1.
 * @typedef {{visit: Visit, left: number, width: number}} Bar
 * @typedef {{key: string, who: string, name: string | null, isKnown: boolean, crop: number | null, total_s: number, bars: Bar[]}} Row
 */

const UNKNOWN = "unknown faces";

/**
 * One row for each person and visitor, in the order of their first visits, unknown faces last.
 * @param {readonly Visit[]} visits in any order
 * @param {number} from start of the day, milliseconds since 1970
 * @param {number} to its end; days on which daylight saving changes have 23 or 25 hours
 * @param {number} now a visit that goes on lasts until now
 * @returns {Row[]}
 */
export function rowsOf(visits, from, to, now) {
  /** @type {Map<string, Row>} */
  const rows = new Map();
  const oldestFirst = visits.toSorted((a, b) => Date.parse(a.began) - Date.parse(b.began));
  for (const visit of oldestFirst) {
    const until = visit.ended === null ? now : Date.parse(visit.ended);
    const start = Math.max(from, Date.parse(visit.began));
    const end = Math.max(start, Math.min(to, until));
    if (start >= to || (start === from && until < from)) {
      continue;
    }
    const key = visit.identity_id ?? visit.name ?? visit.visitor_id ?? UNKNOWN;
    const row = rows.get(key) ?? {
      key,
      who: visit.name ?? visit.visitor ?? "Unknown faces",
      name: visit.name,
      isKnown: visit.name !== null,
      crop: null,
      total_s: 0,
      bars: [],
    };
    rows.set(key, row);
    row.crop = visit.crop_event_id ?? row.crop;
    row.total_s += (end - start) / 1000;
    row.bars.push({ visit, left: (start - from) / (to - from), width: (end - start) / (to - from) });
  }
  return [...rows.values()].sort((a, b) => Number(a.key === UNKNOWN) - Number(b.key === UNKNOWN));
}

/**
 * The number of visits that began in each hour of the day.
 * @param {readonly Visit[]} visits
 * @param {number} from start of the day, milliseconds since 1970
 * @param {number} to its end
 */
export function visitsPerHour(visits, from, to) {
  const counts = new Array(Math.round((to - from) / 3_600_000)).fill(0);
  for (const { began } of visits) {
    const hour = Math.floor((Date.parse(began) - from) / 3_600_000);
    if (hour >= 0 && hour < counts.length) {
      counts[hour] += 1;
    }
  }
  return counts;
}

/**
 * Describe a visit: "Ada, 14:02 to 14:31, door > hall".
 * @param {string} who
 * @param {Visit} visit
 */
export function describeVisit(who, { began, ended, cameras, is_exact: isExact }) {
  const clock = (/** @type {string} */ at) => clockText(new Date(at));
  const end = ended === null ? "now" : clock(ended);
  return `${who}, ${clock(began)} to ${isExact ? "" : "about "}${end}, ${cameras.join(" > ")}`;
}
