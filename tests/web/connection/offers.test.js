// Offers and their answers.

import assert from "node:assert/strict";
import test from "node:test";

import { Offers } from "../../../stream/web/connection/offers.js";

test("answers find their offers in any order", async () => {
  const offers = new Offers();
  const first = offers.add();
  const second = offers.add();
  offers.accept({ id: second.id, sdp: "two" });
  offers.accept({ id: first.id, sdp: "one" });
  assert.equal((await first.answered).sdp, "one");
  assert.equal((await second.answered).sdp, "two");
});

test("a refusal has the service's reason, and leaves the others waiting", async () => {
  const offers = new Offers();
  const refused = offers.add();
  const other = offers.add();
  offers.refuse(refused.id, "there is no camera yard");
  await assert.rejects(refused.answered, /there is no camera yard/);
  offers.accept({ id: other.id, sdp: "two" });
  assert.equal((await other.answered).sdp, "two");
});

test("a lost connection refuses all", async () => {
  const offers = new Offers();
  const waiting = [offers.add(), offers.add()];
  offers.refuseAll("the connection was lost");
  for (const { answered } of waiting) {
    await assert.rejects(answered, /the connection was lost/);
  }
});

test("no answer in time is a failure", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { answered } = new Offers().add();
  const failed = assert.rejects(answered, /no answer/);
  context.mock.timers.tick(10000);
  await failed;
});

test("answers to nothing, and second ones, change nothing", async () => {
  const offers = new Offers();
  offers.accept({ id: "99", sdp: "nobody's" });
  const { id, answered } = offers.add();
  offers.accept({ id, sdp: "first" });
  offers.accept({ id, sdp: "second" });
  offers.refuse(id, "late");
  assert.equal((await answered).sdp, "first");
});
