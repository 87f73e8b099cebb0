// Positions of frames and faces on the screen.

import assert from "node:assert/strict";
import test from "node:test";

import { contain, largest, placeFaces, placeOf, squareAround } from "../../../stream/web/live/geometry.js";

const HD = { width: 1280, height: 720 };
const track = (box, fields = {}) => ({ track_id: "1", state: "unknown", name: null, box, ...fields });

test("a frame fills a box of its own shape", () => {
  assert.deepEqual(contain(HD, { width: 640, height: 360 }), { ratio: 0.5, left: 0, top: 0 });
});

test("a wide frame has bars above and below", () => {
  assert.deepEqual(contain(HD, { width: 640, height: 640 }), { ratio: 0.5, left: 0, top: 140 });
});

test("a tall frame has bars beside it", () => {
  assert.deepEqual(contain({ width: 720, height: 1280 }, { width: 1280, height: 640 }), { ratio: 0.5, left: 460, top: 0 });
});

test("a frame without a size has no position", () => {
  for (const size of [{ width: 0, height: 0 }, { width: 1280, height: 0 }, { width: 0, height: 720 }]) {
    assert.deepEqual(contain(size, { width: 640, height: 360 }), { ratio: 0, left: 0, top: 0 });
  }
});

test("a box of the frame is scaled and shifted by the bars", () => {
  const scale = contain(HD, { width: 640, height: 640 });
  assert.deepEqual(placeOf([100, 200, 300, 500], scale), { left: 50, top: 240, width: 100, height: 150 });
});

const layer = { width: 1280, height: 720 };
const facesAt = (...boxes) => placeFaces(boxes.map((box) => track(box)), HD, layer);

test("a cue is centered below its face", () => {
  const [face] = facesAt([600, 100, 700, 200]);
  assert.deepEqual(face.place, { left: 600, top: 100, width: 100, height: 100 });
  assert.equal(face.edge, "");
  assert.equal(face.isCovered, false);
});

test("a cue that an edge would cut off starts at the side of its face", () => {
  assert.equal(facesAt([0, 100, 40, 140])[0].edge, "left");
  assert.equal(facesAt([1240, 100, 1280, 140])[0].edge, "right");
  const edges = [64, 65, 1215, 1216].map((middle) => facesAt([middle - 10, 100, middle + 10, 120])[0].edge);
  assert.deepEqual(edges, ["left", "", "", "right"]);
});

test("of two cues that would overlap the second is covered", () => {
  const covered = (...boxes) => facesAt(...boxes).map(({ isCovered }) => isCovered);
  assert.deepEqual(covered([500, 100, 550, 200], [600, 110, 650, 210]), [false, true]);
  assert.deepEqual(covered([500, 100, 550, 200], [630, 100, 680, 200]), [false, false]);
  assert.deepEqual(covered([500, 100, 550, 200], [500, 130, 550, 230]), [false, false]);
  assert.deepEqual(covered([500, 100, 550, 200], [600, 20, 650, 229]), [false, true]);
});

test("a known face shows no cue that could cover another", () => {
  const known = track([500, 100, 550, 200], { state: "known", name: "Ada" });
  const [, other] = placeFaces([known, track([520, 100, 570, 200])], HD, layer);
  assert.equal(other.isCovered, false);
});

test("the square around a face has a margin and the face in its middle", () => {
  const { left, top, side } = squareAround([100, 200, 200, 280], 1);
  assert.equal(side, 170);
  assert.equal(left + side / 2, 150);
  assert.equal(top + side / 2, 240);
});

test("in a smaller rendition the square is smaller", () => {
  assert.deepEqual(squareAround([100, 200, 200, 280], 0.5), { left: 32.5, top: 77.5, side: 85 });
});

test("the largest face is the one of the largest area", () => {
  const near = track([0, 0, 100, 100]);
  assert.equal(largest([track([0, 0, 190, 50]), near, track([0, 0, 90, 90])]), near);
  assert.equal(largest([]), null);
});
