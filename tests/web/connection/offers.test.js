// Pending offers.

import assert from "node:assert/strict";
import test from "node:test";

import { Offers } from "../../../stream/web/connection/offers.js";

test("answers are matched to offers in any order", async () => {
  const offers = new Offers();
  const first = offers.add();
  const second = offers.add();
  offers.accept({ id: second.id, sdp: "two" });
  offers.accept({ id: first.id, sdp: "one" });
  assert.equal((await first.answered).sdp, "one");
  assert.equal((await second.answered).sdp, "two");
});

test("a refusal has the service's reason, and keeps the others pending", async () => {
  const offers = new Offers();
  const refused = offers.add();
  const other = offers.add();
  offers.refuse(refused.id, "there is no camera yard");
  await assert.rejects(refused.answered, /there is no camera yard/);
  offers.accept({ id: other.id, sdp: "two" });
  assert.equal((await other.answered).sdp, "two");
});

test("a lost connection rejects all", async () => {
  const offers = new Offers();
  const waiting = [offers.add(), offers.add()];
  offers.refuseAll("the connection was lost");
  for (const { answered } of waiting) {
    await assert.rejects(answered, /the connection was lost/);
  }
});

test("an offer without an answer times out", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { answered } = new Offers().add();
  const failed = assert.rejects(answered, /no answer/);
  context.mock.timers.tick(10000);
  await failed;
});

test("unknown and repeated answers are ignored", async () => {
  const offers = new Offers();
  offers.accept({ id: "99", sdp: "nobody's" });
  const { id, answered } = offers.add();
  offers.accept({ id, sdp: "first" });
  offers.accept({ id, sdp: "second" });
  offers.refuse(id, "late");
  assert.equal((await answered).sdp, "first");
});
