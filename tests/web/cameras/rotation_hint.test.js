// The suggestion to rotate a camera's video.

import assert from "node:assert/strict";
import test from "node:test";

import { rotationText } from "../../../stream/web/cameras/rotation_hint.js";

const text = (rotation, suggested, dismissed = null) =>
  rotationText({ suggested_rotation: suggested, settings: { rotation } }, dismissed);

test("without a suggestion there is no text", () => {
  assert.equal(text(90, null), "");
  assert.equal(text(90, 90), "", "it is set already");
});

test("the text says how the faces are turned in the shown video", () => {
  assert.equal(text(0, 180), "Most faces are upside down. Rotate the video?");
  assert.equal(text(0, 270), "Most faces are turned by 90° clockwise. Rotate the video?");
  assert.equal(text(270, 0), "Most faces are turned by 90° counterclockwise. Rotate the video?");
  assert.equal(text(90, 0), "Most faces are turned by 90° clockwise. Rotate the video?");
});

test("a dismissed suggestion is not shown again, another one is", () => {
  assert.equal(text(0, 180, "180"), "");
  assert.notEqual(text(0, 90, "180"), "");
});
