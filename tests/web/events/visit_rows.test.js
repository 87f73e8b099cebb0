// Rows, bars and hours of a day's visits.

import assert from "node:assert/strict";
import test from "node:test";
import { describeVisit, rowsOf, visitsPerHour } from "../../../stream/web/events/visit_rows.js";

/** @import { Visit } from "../../../stream/web/connection/schemas.js" */

const FROM = Date.parse("2026-11-27T00:00Z");
const TO = FROM + 24 * 3_600_000;

/** @param {Partial<Visit>} changes */
function visit(changes) {
  return {
    id: 1, name: "Ada", identity_id: "a", visitor_id: null, visitor: null, cameras: ["door"],
    began: "2026-11-27T06:00:00Z", ended: "2026-11-27T12:00:00Z", duration_s: 0, is_exact: true,
    crop_event_id: null, zones: [], ...changes,
  };
}

test("no visits are no rows", () => {
  assert.deepEqual(rowsOf([], FROM, TO, TO), []);
});

test("a person has one row, and each visit a bar within the day", () => {
  const visits = [
    visit({ id: 2, began: "2026-11-27T18:00:00Z", ended: null, crop_event_id: 7 }),
    visit({}),
    visit({ id: 3, began: "2026-11-26T22:00:00Z", ended: "2026-11-27T03:00:00Z" }),
    visit({ id: 4, began: "2026-11-26T22:00:00Z", ended: "2026-11-26T23:00:00Z" }),
  ];
  const [row, ...others] = rowsOf(visits, FROM, TO, FROM + 21 * 3_600_000);
  assert.equal(others.length, 0);
  assert.deepEqual(row.bars.map(({ visit: { id }, left, width }) => [id, left, width]), [
    [3, 0, 3 / 24], [1, 0.25, 0.25], [2, 0.75, 3 / 24],
  ]);
  assert.deepEqual([row.crop, row.total_s], [7, 12 * 3600]);
});

test("visitors have rows of their own, other strangers share the last", () => {
  const stranger = { name: null, identity_id: null };
  const rows = rowsOf([
    visit({ ...stranger, began: "2026-11-27T01:00:00Z" }),
    visit({ ...stranger, visitor_id: "v", visitor: "Visitor 7", began: "2026-11-27T02:00:00Z" }),
    visit({ ...stranger, visitor_id: "w", visitor: "Visitor 9", began: "2026-11-27T03:00:00Z" }),
    visit({ ...stranger, visitor_id: "v", visitor: "Visitor 7", began: "2026-11-27T04:00:00Z" }),
    visit({ ...stranger, began: "2026-11-27T05:00:00Z" }),
    visit({}),
  ], FROM, TO, TO);
  assert.deepEqual(rows.map(({ who, bars }) => [who, bars.length]), [
    ["Visitor 7", 2], ["Visitor 9", 1], ["Ada", 1], ["Unknown faces", 2],
  ]);
});

test("visits are counted in the hour in which they began, also on a day of 25 hours", () => {
  const counts = visitsPerHour([visit({}), visit({ began: "2026-11-27T06:59:00Z" })], FROM, TO);
  assert.equal(counts.length, 24);
  assert.equal(counts[6], 2);
  assert.equal(visitsPerHour([], FROM, TO + 3_600_000).length, 25);
  assert.equal(visitsPerHour([visit({ began: "2026-11-26T23:00:00Z" })], FROM, TO).every((n) => n === 0), true);
});

test("a visit is described by person, time and cameras", () => {
  const text = describeVisit("Ada", visit({ cameras: ["door", "hall"], ended: null }));
  assert.match(text, /^Ada, .* to now, door > hall$/);
  assert.match(describeVisit("Ada", visit({ is_exact: false })), / to about /);
});
