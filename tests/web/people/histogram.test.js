// The plot of a calibration.

import assert from "node:assert/strict";
import test from "node:test";

import { barsOf, scale, ticksOf } from "../../../stream/web/people/histogram.js";

const histogram = { edges: [0, 0.1, 0.2, 0.3, 0.4], genuine: [0, 0, 1, 3], impostor: [0, 90, 10, 0] };

test("the bars fill the width between the first and the last count", () => {
  const { genuine, impostor, from, to } = barsOf(histogram, { width: 300, height: 100 });
  assert.deepEqual([from, to], [0.1, 0.4]);
  const near = (values) => values.map((value) => Math.round(value * 1e6) / 1e6);
  assert.deepEqual(near(impostor.map(({ x }) => x)), [0, 100, 200]);
  assert.deepEqual(near(impostor.map(({ height }) => height)), [100, 100 / 9, 0].map((v) => Math.round(v * 1e6) / 1e6));
  assert.deepEqual(near(genuine.map(({ y }) => y)), near([100, 100 - 100 / 3, 0]));
  assert.deepEqual(genuine.map(({ share }) => share), [0, 0.25, 0.75]);
});

test("without pairs of the same person the others are drawn", () => {
  const { genuine, impostor } = barsOf({ ...histogram, genuine: [0, 0, 0, 0] }, { width: 100, height: 50 });
  assert.deepEqual(genuine.map(({ height }) => height), [0, 0]);
  assert.equal(impostor[0].height, 50);
});

test("a threshold outside of the plot is at its border", () => {
  assert.deepEqual([scale(0.5, 0, 1, 200), scale(-1, 0, 1, 200), scale(2, 0, 1, 200)], [100, 0, 200]);
});

test("the ticks are round", () => {
  assert.deepEqual(ticksOf(-0.25, 1), [-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticksOf(0.1, 0.4), [0.1, 0.2, 0.3, 0.4]);
});
