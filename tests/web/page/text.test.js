// Texts from values.

import assert from "node:assert/strict";
import test from "node:test";

import { amount, counted, duration, initials, messageOf, sentence } from "../../../stream/web/page/text.js";

test("a sentence begins with a capital letter", () => {
  assert.equal(sentence("no answer"), "No answer");
  assert.equal(sentence(""), "");
  assert.equal(sentence(null), "");
});

test("one thing is singular", () => {
  assert.equal(counted(0, "photo"), "0 photos");
  assert.equal(counted(1, "photo"), "1 photo");
  assert.equal(counted(2, "photo"), "2 photos");
});

test("amounts have one decimal at most", () => {
  assert.equal(amount(1, "day"), "1 day");
  assert.equal(amount(30, "day"), "30 days");
  assert.equal(amount(2.04, "MiB", "MiB"), "2 MiB");
  assert.equal(amount(2.06, "MiB", "MiB"), "2.1 MiB");
});

test("a duration uses the largest unit of which it has two", () => {
  const cases = [
    [0, "0 s"], [45.4, "45 s"], [119, "119 s"], [120, "2 min"], [7199, "119 min"], [7200, "2 h"],
    [172799, "47 h"], [172800, "2 days"],
  ];
  for (const [seconds, text] of cases) {
    assert.equal(duration(seconds), text);
  }
});

test("initials are of the first and the last word", () => {
  assert.equal(initials("ada"), "A");
  assert.equal(initials("Ada King Lovelace"), "AL");
  assert.equal(initials("  Grace   Hopper "), "GH");
  assert.equal(initials("🙂 face"), "🙂F");
});

test("any thrown value has a message", () => {
  assert.equal(messageOf(new Error("no answer")), "no answer");
  assert.equal(messageOf("plain"), "plain");
});
