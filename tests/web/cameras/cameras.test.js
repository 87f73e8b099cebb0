// The list of cameras after an answer of the API.

import assert from "node:assert/strict";
import test from "node:test";

import { withCamera } from "../../../stream/web/cameras/cameras.js";

const [door, yard, hall] = [{ name: "door" }, { name: "yard" }, { name: "hall" }];

test("a new camera comes last", () => {
  assert.deepEqual(withCamera([door, yard], hall), [door, yard, hall]);
});

test("a changed camera keeps its place", () => {
  const changed = { name: "door", state: "off" };
  assert.deepEqual(withCamera([door, yard], changed), [changed, yard]);
});

test("a renamed camera keeps its place", () => {
  assert.deepEqual(withCamera([door, yard], { name: "gate" }, "door"), [{ name: "gate" }, yard]);
});

test("a renamed camera that the service has made known already is listed once", () => {
  assert.deepEqual(withCamera([door, { name: "gate" }, yard], { name: "gate" }, "door"), [{ name: "gate" }, yard]);
});
