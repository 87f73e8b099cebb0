// Drawing the part of the picture whose faces count.

import assert from "node:assert/strict";
import test from "node:test";

import { between, fromPercent, placeWithin, toPercent } from "../../../stream/web/cameras/rectangle.js";

const picture = { left: 100, top: 50, width: 400, height: 200 };

test("a pointer's place is a share of the picture", () => {
  assert.deepEqual(placeWithin(picture, { clientX: 300, clientY: 100 }), [0.5, 0.25]);
});

test("a pointer beyond the picture is at its edge", () => {
  assert.deepEqual(placeWithin(picture, { clientX: 0, clientY: 900 }), [0, 1]);
  assert.deepEqual(placeWithin(picture, { clientX: 900, clientY: 0 }), [1, 0]);
});

test("a rectangle can be drawn from any corner", () => {
  const wanted = [0.2, 0.1, 0.6, 0.5];
  assert.deepEqual(between([0.2, 0.1], [0.6, 0.5]), wanted);
  assert.deepEqual(between([0.6, 0.5], [0.2, 0.1]), wanted);
  assert.deepEqual(between([0.6, 0.1], [0.2, 0.5]), wanted);
});

test("a click is no rectangle", () => {
  assert.equal(between([0.5, 0.5], [0.51, 0.9]), null);
  assert.equal(between([0.5, 0.5], [0.9, 0.49]), null);
});

test("shares are written in percent, with a decimal where there is one", () => {
  assert.deepEqual(toPercent([0, 0.125, 0.3333, 1]), ["0", "12.5", "33.3", "100"]);
});

test("what is written is read back", () => {
  assert.deepEqual(fromPercent(toPercent([0.1, 0.25, 0.875, 1])), [0.1, 0.25, 0.875, 1]);
});

test("the whole picture is no region", () => {
  assert.equal(fromPercent(["0", "0", "100", "100"]), null);
  assert.deepEqual(fromPercent(["0", "0", "100", "99.9"]), [0, 0, 1, 0.9990000000000001]);
});
