// The tracks of raw video's frames.

import assert from "node:assert/strict";
import test from "node:test";

import { FrameFaces, labelOf } from "../../../stream/web/live/frame_faces.js";

const faces = (rtp) => ({ rtp, tracks: [] });

test("each frame gets its own faces, in any order of arrival", () => {
  const kept = new FrameFaces();
  kept.keep(faces(6000));
  kept.keep(faces(3000));
  assert.deepEqual(kept.of(3000), { faces: faces(3000), isExact: true });
  assert.deepEqual(kept.of(6000), { faces: faces(6000), isExact: true });
});

test("a frame whose faces were lost gets the latest", () => {
  const kept = new FrameFaces();
  kept.keep(faces(3000));
  kept.keep(faces(6000));
  assert.deepEqual(kept.of(9000), { faces: faces(6000), isExact: false });
  assert.deepEqual(kept.of(undefined), { faces: faces(6000), isExact: false });
});

test("before the first faces there are none", () => {
  assert.deepEqual(new FrameFaces().of(3000), { faces: undefined, isExact: false });
});

test("the faces of fifty frames are kept", () => {
  const kept = new FrameFaces();
  for (let n = 1; n <= 51; n += 1) {
    kept.keep(faces(n * 3000));
  }
  assert.equal(kept.of(3000).isExact, false);
  assert.equal(kept.of(6000).isExact, true);
  assert.equal(kept.of(51 * 3000).isExact, true);
});

test("a label has the name, the similarity and the age", () => {
  const track = { name: "Ada", similarity: 0.7149, state: "known", age_s: 59.9 };
  assert.equal(labelOf(track), "Ada  0.71  59 s");
  assert.equal(labelOf({ ...track, age_s: 60 }), "Ada  0.71  1 min");
  assert.equal(labelOf({ ...track, age_s: 120 }), "Ada  0.71  2 min");
});

test("a face without a name is unknown or undecided", () => {
  const track = { name: null, similarity: null, age_s: 3 };
  assert.equal(labelOf({ ...track, state: "unknown" }), "unknown  3 s");
  assert.equal(labelOf({ ...track, state: "undecided" }), "...");
});
