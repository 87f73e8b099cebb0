// Information about the service.

import assert from "node:assert/strict";
import test from "node:test";

import { aboutRows, machineText } from "../../../stream/web/settings/settings.js";

const about = {
  device: "cpu", engine: "openvino 2026.4", model: "0123456789abcdef0123", threshold: 0.36321, keep_days: 1,
  keep_mib: 2048, used_mib: 12.345, needs_token: false,
};

test("each line has its unit", () => {
  assert.deepEqual(Object.fromEntries(aboutRows(about)), {
    "Recognition runs on": "CPU, by openvino 2026.4",
    Model: "0123456789abcdef",
    "A face is a match from": "similarity 0.363 (−1 to 1)",
    "Events are kept for": `1 day, at most ${(2048).toLocaleString()} MiB`,
    "Events use now": `${(12.3).toLocaleString()} MiB`,
  });
});

test("an unknown device is shown unchanged", () => {
  assert.match(aboutRows({ ...about, device: "npu" })[0][1], /^npu, /);
});

test("a machine says how it is, and which one serves the page", () => {
  assert.equal(machineText({ state: "ok", seen_s: 0, cameras: 1, is_this: true }), "Works · 1 camera · this page is from it");
  assert.equal(machineText({ state: "away", seen_s: 200, cameras: 3, is_this: false }), "Away for 3 min · 3 cameras");
  assert.equal(machineText({ state: "unreachable", seen_s: 1, cameras: 0, is_this: false }), "Cannot be reached · 0 cameras");
});
