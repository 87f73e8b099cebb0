// The state of a camera's video and its message.

import assert from "node:assert/strict";
import test from "node:test";

import { conditionOf, isBack, isStalled } from "../../../stream/web/cameras/condition.js";

/** The condition of a camera that is live, without video yet, except for the given facts. */
const condition = ({ status, ...facts } = {}) => conditionOf({
  name: "yard",
  status: { state: "live", reason: "", since_s: 0, ...status },
  link: { state: "connecting", reason: "" },
  isFresh: false, isConnected: true, mayChange: true, ...facts,
});

test("playing video has no message", () => {
  assert.deepEqual(condition({ isFresh: true }), { state: "playing", title: "", text: "" });
});

test("the last frames of a camera that was turned off do not count", () => {
  assert.equal(condition({ isFresh: true, status: { state: "off" } }).state, "off");
});

test("a lost service takes precedence over the camera's last status", () => {
  const { state, title } = condition({ isConnected: false, status: { state: "failing", reason: "refused" } });
  assert.deepEqual([state, title], ["connecting", "Connecting to facewire"]);
});

test("what to do about a camera that is off depends on the role", () => {
  const off = { state: "off" };
  assert.match(condition({ status: off }).text, /^Turn it on/);
  assert.doesNotMatch(condition({ status: off, mayChange: false }).text, /^Turn it on/);
});

test("a failing camera has its reason, and its duration from ten seconds on", () => {
  const failing = { state: "failing", reason: "connection refused", since_s: 9 };
  assert.equal(condition({ status: failing }).text, "Connection refused. Retrying automatically.");
  assert.match(condition({ status: { ...failing, since_s: 10 } }).text, /automatically for 10 s\.$/);
  assert.match(condition({ status: { ...failing, since_s: 130 } }).text, /automatically for 2 min\.$/);
});

test("frozen video counts as failing", () => {
  assert.equal(condition({ status: { state: "frozen", reason: "the same frame" } }).state, "failing");
});

test("the end of a file is not a failure", () => {
  assert.equal(condition({ status: { state: "ended", reason: "the file is over" } }).state, "ended");
});

test("a failed connection is shown if the camera is live", () => {
  const { state, text } = condition({ link: { state: "failing", reason: "no route was found" } });
  assert.equal(state, "failing");
  assert.equal(text, "No route was found. Retrying automatically.");
});

test("before anything is known it is connecting", () => {
  const { state, title } = conditionOf({
    name: "yard", status: null, link: null, isFresh: false, isConnected: true, mayChange: true,
  });
  assert.deepEqual([state, title], ["connecting", "Connecting to yard"]);
});

test("only a connected link to a live camera can be stalled, after four seconds", () => {
  const well = { status: { state: "live" }, link: { state: "connected" }, forMs: 4001 };
  assert.equal(isStalled(well), true);
  assert.equal(isStalled({ ...well, forMs: 4000 }), false);
  assert.equal(isStalled({ ...well, link: { state: "failing" } }), false);
  assert.equal(isStalled({ ...well, status: { state: "frozen" } }), false);
  assert.equal(isStalled({ ...well, status: null }), false);
});

test("video is requested at once when a camera is back, or runs on another machine", () => {
  const away = { state: "failing", machine: "a" };
  const back = { state: "live", machine: "a" };
  assert.equal(isBack({ before: away, status: back, link: { state: "failing" } }), true);
  assert.equal(isBack({ before: back, status: back, link: { state: "failing" } }), false);
  assert.equal(isBack({ before: away, status: back, link: { state: "connected" } }), false);
  assert.equal(isBack({ before: back, status: { ...back, machine: "b" }, link: { state: "connected" } }), true);
  assert.equal(isBack({ before: null, status: back, link: { state: "failing" } }), false);
  assert.equal(isBack({ before: away, status: back, link: null }), false);
});
