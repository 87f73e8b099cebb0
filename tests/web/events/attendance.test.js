// The cells of the attendance.

import assert from "node:assert/strict";
import test from "node:test";

import { cellsOf } from "../../../stream/web/events/attendance.js";

const row = {
  day: "2026-11-03", name: "Ada", visitor: null, n_visits: 2, is_exact: true,
  first_seen: "2026-11-03T08:02:11.000+01:00", last_seen: "2026-11-03T16:31:00.000+01:00", total_s: 27_900,
};

test("times are those of the service's zone, totals in hours and minutes", () => {
  assert.deepEqual(cellsOf(row), ["2026-11-03", "Ada", "08:02", "16:31", "7:45 h", "2"]);
});

test("a time that ended with a stop of the service is marked, and a visitor has its name", () => {
  assert.deepEqual(cellsOf({ ...row, name: null, visitor: "Visitor 3", is_exact: false, total_s: 59 }).slice(1),
    ["Visitor 3", "08:02", "16:31", "≈ 0:00 h", "2"]);
});
