// Tasks in sequence.

import assert from "node:assert/strict";
import test from "node:test";

import { Turns } from "../../../stream/web/page/turns.js";

test("a task starts after the previous one ended", async () => {
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

test("a failed task rejects, and does not stop later ones", async () => {
  const turns = new Turns();
  const failing = turns.run(() => Promise.reject(new Error("no answer")));
  const next = turns.run(() => Promise.resolve("read"));
  await assert.rejects(failing, /no answer/);
  assert.equal(await next, "read");
});
