// The query of a search, and the words for what it found.

import assert from "node:assert/strict";
import test from "node:test";

import { queryOf, summaryOf } from "../../../stream/web/events/search.js";

const none = { camera: "", from: "", to: "", least: "" };

test("a search without filters asks for the most similar sightings", () => {
  assert.equal(queryOf(none), "limit=60");
});

test("days include their last hour, in the browser's time zone", () => {
  const query = new URLSearchParams(queryOf({ camera: "door 1", from: "2026-11-03", to: "2026-11-03", least: "0.5" }));
  const hours = (new Date(query.get("before") ?? "").getTime() - new Date(query.get("after") ?? "").getTime()) / 3.6e6;
  assert.equal(hours, 24);
  assert.deepEqual([query.get("camera"), query.get("min_similarity")], ["door 1", "0.5"]);
});

test("the summary says what was not searched for", () => {
  assert.equal(summaryOf(0, 0), "Not seen in this time, or not similar enough.");
  assert.equal(summaryOf(1, 0), "Seen once, most similar first.");
  assert.equal(summaryOf(3, 2), "Seen 3 times, most similar first. 2 smaller faces of the photo were not searched for.");
  assert.match(summaryOf(60, 0), /^The 60 most similar/);
});
