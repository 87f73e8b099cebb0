// Typed events.

import assert from "node:assert/strict";
import test from "node:test";

import { Emitter } from "../../../stream/web/page/emitter.js";

test("listeners receive the detail of their event", () => {
  const emitter = new Emitter();
  const received = [];
  emitter.on("change", (detail) => received.push(["change", detail]));
  emitter.on("name", (detail) => received.push(["name", detail]));
  emitter.emit("name", { id: 7 });
  assert.deepEqual(received, [["name", { id: 7 }]]);
});

test("an aborted listener receives nothing", () => {
  const emitter = new Emitter();
  const received = [];
  const ended = new AbortController();
  emitter.on("change", (detail) => received.push(detail), { signal: ended.signal });
  emitter.emit("change", 1);
  ended.abort();
  emitter.emit("change", 2);
  assert.deepEqual(received, [1]);
});
