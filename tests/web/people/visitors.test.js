// The words for visitors.

import assert from "node:assert/strict";
import test from "node:test";

import { cropOf, mergedText } from "../../../stream/web/people/visitor_sheet.js";
import { emptyText, seenText } from "../../../stream/web/people/visitors.js";

const visitor = { visit_count: 14, cameras: ["door", "hall"], last_seen: "2026-11-03T12:00:00.000Z" };

test("a visitor is described by how often, where and when it was seen", () => {
  assert.match(seenText(visitor), /^Seen 14 times · door, hall · .*2026/);
  assert.match(seenText({ ...visitor, visit_count: 1, cameras: [] }), /^Seen once · [^·]*2026/);
});

test("a visitor without a kept crop has no picture", () => {
  assert.equal(cropOf({ crop_id: 5 }), "api/sightings/5/crop.jpg");
  assert.equal(cropOf({ crop_id: null }), null);
});

test("a merge says when it was, and where nobody was asked", () => {
  const merged = { visitor_id: "a", name: "Visitor 3", at: "2026-11-03T12:00:00.000Z", similarity: null };
  assert.match(mergedText(merged), /^Visitor 3 was merged into this one on .*2026.*\.$/);
  assert.match(mergedText({ ...merged, at: null, similarity: 0.471 }), /^Visitor 3 was merged into this one\. .*without being asked.* 0\.47\.$/);
});

test("an empty list says what to do", () => {
  assert.match(emptyText({ isEnabled: true, isIgnored: false, mayChange: true }), /^No visitors yet/);
  assert.match(emptyText({ isEnabled: false, isIgnored: false, mayChange: true }), /^Visitors are not kept\. Switch it on/);
  assert.equal(emptyText({ isEnabled: false, isIgnored: false, mayChange: false }), "Visitors are not kept.");
  assert.match(emptyText({ isEnabled: true, isIgnored: true, mayChange: true }), /^No visitor is ignored/);
});
