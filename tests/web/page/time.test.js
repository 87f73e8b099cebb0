// Days and times of the service's zone, whatever the browser's is.

import assert from "node:assert/strict";
import test, { after, before, beforeEach } from "node:test";

import { boundsOf, clockText, dayBeside, dayText, otherZone, setTimeZone } from "../../../stream/web/page/time.js";

const { TZ } = process.env;
before(() => { process.env.TZ = "America/New_York"; });
after(() => { process.env.TZ = TZ ?? ""; });
beforeEach(() => setTimeZone("Europe/Berlin"));

const bounds = (day) => boundsOf(day).map((at) => at.toISOString());
const hours = (day) => (boundsOf(day)[1].getTime() - boundsOf(day)[0].getTime()) / 3_600_000;

test("a day begins and ends at the zone's midnight", () => {
  assert.deepEqual(bounds("2026-11-27"), ["2026-11-26T23:00:00.000Z", "2026-11-27T23:00:00.000Z"]);
});

test("days on which daylight saving changes have 23 and 25 hours", () => {
  assert.deepEqual(["2026-03-28", "2026-03-29", "2026-03-30"].map(hours), [24, 23, 24]);
  assert.deepEqual(["2026-10-24", "2026-10-25", "2026-10-26"].map(hours), [24, 25, 24]);
});

test("a day without a midnight begins at one", () => {
  setTimeZone("America/Sao_Paulo");
  assert.deepEqual(bounds("2018-11-04"), ["2018-11-04T03:00:00.000Z", "2018-11-05T02:00:00.000Z"]);
});

test("a day with two midnights begins at the first", () => {
  setTimeZone("America/Havana");
  assert.deepEqual(bounds("2023-11-05"), ["2023-11-05T04:00:00.000Z", "2023-11-06T05:00:00.000Z"]);
});

test("zones far from Greenwich have their own days", () => {
  setTimeZone("Pacific/Kiritimati");
  assert.equal(bounds("2026-01-01")[0], "2025-12-31T10:00:00.000Z");
  setTimeZone("Pacific/Pago_Pago");
  assert.equal(bounds("2026-01-01")[0], "2026-01-01T11:00:00.000Z");
});

test("every moment of a day is of that day", () => {
  for (const day of ["2026-03-29", "2026-10-25", "2026-11-27"]) {
    const [from, to] = boundsOf(day);
    for (let at = from.getTime(); at < to.getTime(); at += 900_000) {
      assert.equal(dayText(new Date(at)), day);
    }
    assert.equal(dayText(to), dayBeside(day, 1));
    assert.equal(dayText(new Date(from.getTime() - 1)), dayBeside(day, -1));
  }
});

test("times are the zone's, which is named where it is another", () => {
  assert.match(clockText(new Date("2026-11-27T12:34:00Z")), /^0?1:34 PM$|^13:34$/);
  assert.equal(otherZone(), "Europe/Berlin");
});

test("an unknown zone is the browser's", () => {
  for (const name of ["", "posix/Nowhere"]) {
    setTimeZone(name);
    assert.equal(bounds("2026-11-27")[0], "2026-11-27T05:00:00.000Z");
    assert.equal(otherZone(), "");
  }
});

test("it is said whether the zone changed", () => {
  assert.equal(setTimeZone("Europe/Berlin"), false);
  assert.equal(setTimeZone("Asia/Tokyo"), true);
});
