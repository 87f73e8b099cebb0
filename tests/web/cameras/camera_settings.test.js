// What the form of a camera sends.

import assert from "node:assert/strict";
import test from "node:test";

import { DEFAULTS, changesOf, numberIn } from "../../../stream/web/cameras/camera_settings.js";

const camera = { name: "yard", settings: { ...DEFAULTS, url: "rtsp://***@192.0.2.7/live", region: [0.1, 0, 1, 1] } };

test("an empty number field is null, and 0 is a number", () => {
  assert.equal(numberIn(""), null);
  assert.equal(numberIn("0"), 0);
  assert.equal(numberIn("12.5"), 12.5);
});

test("all settings of a new camera are sent", () => {
  assert.deepEqual(changesOf(null, "yard", { ...DEFAULTS, url: "/dev/video0" }),
    { name: "yard", ...DEFAULTS, url: "/dev/video0" });
});

test("only changed settings of an existing camera are sent", () => {
  assert.deepEqual(changesOf(camera, "yard", { ...camera.settings, target_fps: 5, loop: false }),
    { target_fps: 5, loop: false });
});

test("an unchanged address is not sent: its password is masked", () => {
  assert.deepEqual(changesOf(camera, "yard", { ...camera.settings }), {});
});

test("only a region of other numbers is a change", () => {
  assert.deepEqual(changesOf(camera, "yard", { ...camera.settings, region: [0.1, 0, 1, 1] }), {});
  assert.deepEqual(changesOf(camera, "yard", { ...camera.settings, region: null }), { region: null });
});

test("a new name is sent with the changed settings", () => {
  assert.deepEqual(changesOf(camera, "back-yard", { ...camera.settings, rotation: 90 }),
    { name: "back-yard", rotation: 90 });
});
