// Beside the video: its faces, and links to the other cameras.

import assert from "node:assert/strict";
import test from "node:test";

import { aboutText, inOrder } from "../../../stream/web/live/faces.js";
import { neighborOf } from "../../../stream/web/live/live.js";

test("unknown faces come first, then the oldest", () => {
  const track = (id, state, age) => ({ track_id: id, state, age_s: age });
  const tracks = [
    track("a", "undecided", 90), track("b", "known", 5), track("c", "unknown", 1), track("d", "known", 60), track("e", "unknown", 2),
  ];
  assert.deepEqual(inOrder(tracks).map((each) => each.track_id), ["e", "c", "d", "b", "a"]);
  assert.equal(tracks[0].track_id, "a");
});

test("a known face has its similarity, and each its age", () => {
  assert.equal(aboutText({ similarity: 0.5, age_s: 130 }), "similarity 0.50 · for 2 min");
  assert.equal(aboutText({ similarity: null, age_s: 3 }), "for 3 s");
});

test("the links to other cameras wrap around", () => {
  const names = ["door", "hall", "yard"];
  assert.equal(neighborOf(names, "hall", 1), "yard");
  assert.equal(neighborOf(names, "yard", 1), "door");
  assert.equal(neighborOf(names, "door", -1), "yard");
});

test("a single camera, or a removed one, has no neighbor", () => {
  assert.equal(neighborOf(["door"], "door", 1), null);
  assert.equal(neighborOf(["door", "yard"], "gone", 1), null);
  assert.equal(neighborOf(["door", "yard"], null, -1), null);
});
