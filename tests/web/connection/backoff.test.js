// Delays between retries.

import assert from "node:assert/strict";
import test from "node:test";

import { Backoff } from "../../../stream/web/connection/backoff.js";

const next = (backoff, n) => Array.from({ length: n }, () => backoff.next());

test("delays double up to the last", () => {
  const backoff = new Backoff({ firstMs: 400, lastMs: 8000 });
  assert.deepEqual(next(backoff, 7), [400, 800, 1600, 3200, 6400, 8000, 8000]);
});

test("a reset starts over", () => {
  const backoff = new Backoff({ firstMs: 500, lastMs: 8000 });
  next(backoff, 4);
  backoff.reset();
  assert.deepEqual(next(backoff, 2), [500, 1000]);
});

test("the spread varies a delay by its fraction", () => {
  const delays = [0, 0.5, 1].map((chance) =>
    new Backoff({ firstMs: 1000, lastMs: 8000, spread: 0.25, random: () => chance }).next());
  assert.deepEqual(delays, [750, 1000, 1250]);
});

test("it stays finite", () => {
  const backoff = new Backoff({ firstMs: 500, lastMs: 8000 });
  assert.equal(next(backoff, 2000).at(-1), 8000);
});
