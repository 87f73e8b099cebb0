// Texts of an event.

import assert from "node:assert/strict";
import test from "node:test";

import { announcementOf, dayOf, describe } from "../../../stream/web/events/event_text.js";

const event = (fields) => ({ kind: "enter", camera: "yard", name: null, has_crop: true, zones: [], ...fields });

test("a person is named, an unknown face is not", () => {
  assert.deepEqual(describe(event({ name: "Ada" })), { about: "known", who: "Ada", verb: "Came into view", canName: false });
  assert.deepEqual(describe(event({ kind: "unknown" })), { about: "unknown", who: "Unknown face", verb: "Seen", canName: true });
});

test("a camera's event is about the camera", () => {
  const { about, who, verb } = describe(event({ kind: "camera_down" }));
  assert.deepEqual([about, who, verb], ["camera", "yard", "Went down"]);
});

test("a zone is named that was entered just now", () => {
  const { who, verb, canName } = describe(event({ kind: "zone", name: "Ada", zones: ["path", "porch"] }));
  assert.deepEqual([who, verb, canName], ["Ada", "Entered porch", false]);
  assert.equal(describe(event({ name: "Ada", zones: ["path", "porch"] })).verb, "Came into view in path, porch");
  assert.equal(describe(event({ kind: "exit", zones: ["porch"] })).verb, "Left");
});

test("a visitor has a name when they come and when they leave", () => {
  for (const kind of ["unknown", "exit"]) {
    assert.equal(describe(event({ kind, visitor: "Visitor 12" })).who, "Visitor 12");
  }
});

test("an unknown kind is shown unchanged", () => {
  assert.equal(describe(event({ kind: "waved" })).verb, "Waved");
});

test("only an unknown face with a crop can be named", () => {
  assert.equal(describe(event({ kind: "unknown", has_crop: false })).canName, false);
  assert.equal(describe(event({ kind: "unknown", name: "Ada" })).canName, false);
  assert.equal(describe(event({ kind: "exit" })).canName, false);
});

test("today and yesterday are by the calendar, not by 24 hours", () => {
  const now = new Date(2026, 2, 1, 0, 30);
  assert.equal(dayOf(new Date(2026, 2, 1, 0, 5), now), "Today");
  assert.equal(dayOf(new Date(2026, 1, 28, 23, 55), now), "Yesterday");
  assert.match(dayOf(new Date(2026, 1, 27, 23, 55), now), /2026/);
});

test("people in view and cameras that go down are announced", () => {
  assert.equal(announcementOf(event({ name: "Ada" })), "Ada came into view of yard");
  assert.equal(announcementOf(event({ kind: "unknown" })), "An unknown face is in view of yard");
  assert.equal(announcementOf(event({ kind: "camera_down" })), "yard went down");
  assert.equal(announcementOf(event({ kind: "exit" })), "");
});
