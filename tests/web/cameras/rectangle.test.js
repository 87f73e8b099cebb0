// The part of the image in which faces are detected.

import assert from "node:assert/strict";
import test from "node:test";

import { between, fromPercent, placeWithin, toPercent } from "../../../stream/web/cameras/rectangle.js";

const image = { left: 100, top: 50, width: 400, height: 200 };

test("a pointer's position is a fraction of the image", () => {
  assert.deepEqual(placeWithin(image, { clientX: 300, clientY: 100 }), [0.5, 0.25]);
});

test("a pointer outside the image is clamped to it", () => {
  assert.deepEqual(placeWithin(image, { clientX: 0, clientY: 900 }), [0, 1]);
  assert.deepEqual(placeWithin(image, { clientX: 900, clientY: 0 }), [1, 0]);
});

test("a rectangle can be drawn from any corner", () => {
  const wanted = [0.2, 0.1, 0.6, 0.5];
  assert.deepEqual(between([0.2, 0.1], [0.6, 0.5]), wanted);
  assert.deepEqual(between([0.6, 0.5], [0.2, 0.1]), wanted);
  assert.deepEqual(between([0.6, 0.1], [0.2, 0.5]), wanted);
});

test("a click is not a rectangle", () => {
  assert.equal(between([0.5, 0.5], [0.51, 0.9]), null);
  assert.equal(between([0.5, 0.5], [0.9, 0.49]), null);
  assert.notEqual(between([0, 0], [0.02, 0.02]), null);
});

test("fractions are formatted as percent with at most one decimal", () => {
  assert.deepEqual(toPercent([0, 0.125, 0.3333, 1]), ["0", "12.5", "33.3", "100"]);
});

test("formatted percent is parsed back", () => {
  assert.deepEqual(fromPercent(toPercent([0.1, 0.25, 0.875, 1])), [0.1, 0.25, 0.875, 1]);
});

test("the whole image is not a region", () => {
  assert.equal(fromPercent(["0", "0", "100", "100"]), null);
  assert.deepEqual(fromPercent(["0", "0", "100", "99.9"]), [0, 0, 1, 0.9990000000000001]);
});
