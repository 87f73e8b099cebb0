// Events with details.

import assert from "node:assert/strict";
import test from "node:test";

import { Emitter } from "../../../stream/web/page/emitter.js";

test("listeners get the detail of their event", () => {
  const emitter = new Emitter();
  const heard = [];
  emitter.on("change", (detail) => heard.push(["change", detail]));
  emitter.on("name", (detail) => heard.push(["name", detail]));
  emitter.emit("name", { id: 7 });
  assert.deepEqual(heard, [["name", { id: 7 }]]);
});

test("an aborted listener gets nothing", () => {
  const emitter = new Emitter();
  const heard = [];
  const ended = new AbortController();
  emitter.on("change", (detail) => heard.push(detail), { signal: ended.signal });
  emitter.emit("change", 1);
  ended.abort();
  emitter.emit("change", 2);
  assert.deepEqual(heard, [1]);
});
