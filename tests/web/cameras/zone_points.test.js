// The points of zones while they are edited, and where names of zones are drawn.

import assert from "node:assert/strict";
import test from "node:test";

import { freeName, moved, within, zonesOf } from "../../../stream/web/cameras/zone_points.js";
import { labelPlace } from "../../../stream/web/cameras/zone_shapes.js";

const square = [[0, 0], [1, 0], [1, 1]];

test("a point stays within the image, with four decimals", () => {
  assert.deepEqual(within([-0.1, 1.2]), [0, 1]);
  assert.deepEqual(within([1 / 3, 0.5]), [0.3333, 0.5]);
});

test("arrow keys move a point, with shift further, and not beyond the image", () => {
  assert.deepEqual(moved([0.5, 0.5], { key: "ArrowLeft", shiftKey: false }), [0.49, 0.5]);
  assert.deepEqual(moved([0.5, 0.5], { key: "ArrowDown", shiftKey: true }), [0.5, 0.55]);
  assert.deepEqual(moved([1, 0], { key: "ArrowRight", shiftKey: true }), [1, 0]);
  assert.equal(moved([0.5, 0.5], { key: "Enter", shiftKey: false }), null);
  assert.equal(moved([0.5, 0.5], { key: "toString", shiftKey: false }), null);
});

test("a new zone has a name that no other has", () => {
  assert.equal(freeName([]), "zone-1");
  assert.equal(freeName([{ name: "zone-1", points: square }, { name: "porch", points: square }]), "zone-2");
});

test("zones are sent by name, each name once", () => {
  const porch = { name: "porch", points: square };
  assert.deepEqual(zonesOf([porch, { name: "path", points: square }]), { porch: square, path: square });
  assert.throws(() => zonesOf([porch, { name: "porch", points: [] }]), /two zones are named “porch”/);
});

test("the name is at the highest point, of two the left one", () => {
  assert.deepEqual(labelPlace([[0.5, 0.9], [0.9, 0.1], [0.2, 0.1], [0.1, 0.5]]), [0.2, 0.1]);
});
