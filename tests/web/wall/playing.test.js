// Which tiles of the wall play.

import assert from "node:assert/strict";
import test from "node:test";

import { MAX_PLAYING, choosePlaying, gridOf, pageOf } from "../../../stream/web/wall/playing.js";

const tiles = (n, fields = () => ({})) =>
  Array.from({ length: n }, (_, index) => ({ id: index, isVisible: false, isPlaying: false, ...fields(index) }));
const isVisible = (tile) => tile.isVisible;
const ids = (chosen) => chosen.map(({ id }) => id);
const range = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);

test("visible tiles play", () => {
  const { play, linger, pause } = choosePlaying(tiles(4, (id) => ({ isVisible: id < 2 })), isVisible);
  assert.deepEqual([ids(play), ids(linger), ids(pause)], [[0, 1], [], []]);
});

test("the first of too many visible tiles play", () => {
  const { play } = choosePlaying(tiles(20, () => ({ isVisible: true })), isVisible);
  assert.deepEqual(ids(play), range(0, MAX_PLAYING));
});

test("a tile out of view goes on for a while if there is room", () => {
  const chosen = choosePlaying(tiles(4, (id) => ({ isVisible: id > 1, isPlaying: id < 3 })), isVisible);
  assert.deepEqual([ids(chosen.play), ids(chosen.linger), ids(chosen.pause)], [[2, 3], [0, 1], []]);
});

test("without room it is paused at once", () => {
  const chosen = choosePlaying(tiles(20, (id) => ({ isVisible: id >= 5, isPlaying: id < 5 })), isVisible);
  assert.equal(chosen.play.length, 15);
  assert.deepEqual([ids(chosen.linger), ids(chosen.pause)], [[0], [1, 2, 3, 4]]);
});

test("invisible tiles that do not play are not changed", () => {
  assert.deepEqual(choosePlaying(tiles(3), isVisible), { play: [], linger: [], pause: [] });
});

test("a wall is as square as possible", () => {
  const cases = [[0, 1, 1], [1, 1, 1], [2, 2, 1], [3, 2, 2], [4, 2, 2], [5, 3, 2], [9, 3, 3], [10, 4, 3], [16, 4, 4]];
  for (const [n, columns, rows] of cases) {
    assert.deepEqual(gridOf(n), { columns, rows }, `${n} cameras`);
  }
});

test("a wall has pages of as many cameras as may play", () => {
  assert.deepEqual(pageOf(64, 3), { page: 3, pages: 4, from: 48, to: 64 });
  assert.deepEqual(pageOf(16, 0), { page: 0, pages: 1, from: 0, to: 16 });
  assert.deepEqual(pageOf(17, 1), { page: 1, pages: 2, from: 16, to: 17 });
});

test("a page whose cameras were removed is the last one", () => {
  assert.deepEqual(pageOf(30, 3), { page: 1, pages: 2, from: 16, to: 30 });
  assert.deepEqual(pageOf(0, 2), { page: 0, pages: 0, from: 0, to: 0 });
});
