// Sending photos one by one.

import assert from "node:assert/strict";
import test from "node:test";

import { ApiError } from "../../../stream/web/connection/api.js";
import { Sending, refusalOf } from "../../../stream/web/people/sending.js";

const files = ["a.jpg", "b.jpg", "c.jpg"].map((name) => new File(["x"], name));
const added = { identity: { identity_id: "i1", name: "Ada" }, reason: null };
const refused = { identity: null, reason: "no face found" };

test("files are sent in order, and counted by their outcomes", async () => {
  const started = [];
  const ended = [];
  const sending = new Sending(files, async (file, index) => {
    started.push([file.name, index]);
    return file.name === "b.jpg" ? refused : added;
  });
  await sending.run(new AbortController().signal, (file, { reason }) => ended.push([file.name, reason, sending.sent]));
  assert.deepEqual(started, [["a.jpg", 0], ["b.jpg", 1], ["c.jpg", 2]]);
  assert.deepEqual(ended, [["a.jpg", null, 1], ["b.jpg", "no face found", 2], ["c.jpg", null, 3]]);
  assert.deepEqual([sending.added, sending.refused, sending.sent], [2, 1, 3]);
});

test("an abort stops before the next file", async () => {
  const stop = new AbortController();
  const sending = new Sending(files, async () => added);
  await sending.run(stop.signal, () => stop.abort());
  assert.equal(sending.sent, 1);
});

test("a request interrupted by the abort is not a failure", async () => {
  const stop = new AbortController();
  const sending = new Sending(files, async () => {
    stop.abort();
    throw new Error("the service does not answer");
  });
  await sending.run(stop.signal, () => assert.fail("nothing was sent"));
  assert.equal(sending.sent, 0);
});

test("a failure stops it, and keeps the counts", async () => {
  const sending = new Sending(files, async (_file, index) => {
    if (index === 1) {
      throw new Error("the service does not answer");
    }
    return added;
  });
  await assert.rejects(sending.run(new AbortController().signal, () => {}), /does not answer/);
  assert.equal(sending.added, 1);
});

test("a rejected or too large photo has a reason, another failure has none", () => {
  const rejected = [{ image: "a.jpg", reason: "no_face", detail: "no face found" }];
  assert.equal(refusalOf(new ApiError("a.jpg: no face found", 422, rejected)), "no face found");
  assert.equal(refusalOf(new ApiError("too large", 413)), "too large");
  assert.equal(refusalOf(new ApiError("the gallery is full", 507)), null);
  assert.equal(refusalOf(new ApiError("name: too long", 422)), null);
});
