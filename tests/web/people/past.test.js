// The words for a person's past.

import assert from "node:assert/strict";
import test from "node:test";

import { pastText } from "../../../stream/web/people/past.js";

test("a person's past is counted from its first day", () => {
  assert.match(pastText(14, new Date("2026-11-03T12:00:00")), /^Seen 14 times since .*2026 as an unknown face/);
  assert.match(pastText(1, new Date("2026-11-03T12:00:00")), /^Seen once since /);
});
