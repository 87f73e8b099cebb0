// Requests one after another.

import assert from "node:assert/strict";
import test from "node:test";

import { Turns } from "../../../stream/web/page/turns.js";

test("a task begins after the one before it has ended", async () => {
  const turns = new Turns();
  const order = [];
  let release = () => {};
  const slow = turns.run(async () => {
    order.push("first begins");
    await new Promise((resolve) => { release = resolve; });
    order.push("first ends");
    return 1;
  });
  const quick = turns.run(async () => order.push("second"));
  await Promise.resolve();
  release();
  assert.equal(await slow, 1);
  await quick;
  assert.deepEqual(order, ["first begins", "first ends", "second"]);
});

test("a task that fails stops no later one, and its caller is told", async () => {
  const turns = new Turns();
  const failing = turns.run(() => Promise.reject(new Error("no answer")));
  const next = turns.run(() => Promise.resolve("read"));
  await assert.rejects(failing, /no answer/);
  assert.equal(await next, "read");
});
