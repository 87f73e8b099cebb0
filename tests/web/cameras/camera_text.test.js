// Texts about a camera in the settings view.

import assert from "node:assert/strict";
import test from "node:test";

import { DEFAULTS } from "../../../stream/web/cameras/camera_settings.js";
import { settingsText, stateText } from "../../../stream/web/cameras/camera_text.js";

const camera = (fields) => ({
  state: "live", width: 1280, height: 720, fps_in: 24.96, since_s: 0, viewers: 0, reconnects: 0, ...fields,
});

test("a live camera has its size and rate", () => {
  assert.equal(stateText(camera()), "Live · 1280×720 · 25 fps");
});

test("viewers and reconnects follow", () => {
  assert.match(stateText(camera({ viewers: 2, reconnects: 1 })), /fps · 2 watching · reconnected once$/);
  assert.match(stateText(camera({ reconnects: 3 })), /fps · reconnected 3 times$/);
});

test("a camera that fails has the time since", () => {
  assert.equal(stateText(camera({ state: "failing", since_s: 300 })), "No video for 5 min");
  assert.equal(stateText(camera({ state: "frozen", since_s: 40 })), "Frozen for 40 s");
});

test("a state that this page does not know is shown as it is", () => {
  assert.equal(stateText(camera({ state: "resting" })), "resting");
});

test("default settings are not listed", () => {
  assert.equal(settingsText(DEFAULTS), "");
});

test("each setting that differs from its default is listed", () => {
  assert.equal(
    settingsText({
      ...DEFAULTS, min_face_px: 40, target_fps: 5, rotation: 90, region: [0, 0, 1, 0.5], rtsp_transport: "udp",
      pixel_aspect: "16:11", deinterlace: "on", verify_tls: false,
    }),
    "Faces from 40 pixels · at most 5 frames per second · rotated by 90° · part of the image · RTSP over UDP · " +
    "pixel aspect ratio 16:11 · deinterlacing on · certificate not verified");
});
