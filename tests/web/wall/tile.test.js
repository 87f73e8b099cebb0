// A tile of the wall offers to rotate a camera that is mounted on its side or upside down.

import assert from "node:assert/strict";
import test from "node:test";

class Element {
  attributes = new Map();
  children = [];
  dataset = {};
  listeners = new Map();
  textContent = "";

  constructor(tag) {
    this.tag = tag;
  }

  get hidden() {
    return this.attributes.has("hidden");
  }

  set hidden(value) {
    this.attributes[value ? "set" : "delete"]("hidden", "");
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
  }

  getAttribute(name) {
    return this.attributes.get(name) ?? null;
  }

  addEventListener(name, listener) {
    this.listeners.set(name, listener);
  }

  append(...children) {
    this.children.push(...children);
  }

  click() {
    this.listeners.get("click")();
  }
}

const kept = new Map();
globalThis.document = { createElement: (tag) => new Element(tag), documentElement: new Element("html") };
globalThis.localStorage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };

const { Tile } = await import("../../../stream/web/wall/tile.js");

const camera = (suggested, rotation = 0) => ({
  name: "hall", state: "live", reason: "", since_s: 9, suggested_rotation: suggested, settings: { rotation },
});

function open() {
  const rotated = [];
  const cameras = { rotate: (...wish) => Promise.resolve(rotated.push(wish)) };
  const tile = new Tile({ isOpen: true }, cameras, "hall");
  const [text, rotate, dismiss] = tile.hint.element.children;
  return { tile, text, rotate, dismiss, rotated };
}

test("nothing is offered where most faces are upright", () => {
  const { tile } = open();
  assert.ok(tile.hint.element.hidden);
  tile.update(camera(null), "Hall");
  assert.ok(tile.hint.element.hidden);
});

test("one click rotates the camera, and the offer ends", () => {
  const { tile, text, rotate, rotated } = open();
  tile.update(camera(180), "Hall");
  assert.ok(!tile.hint.element.hidden);
  assert.equal(text.textContent, "Most faces are upside down. Rotate the video?");
  rotate.click();
  assert.deepEqual(rotated, [["hall", 180]]);
  tile.update(camera(null, 180), "Hall");
  assert.ok(tile.hint.element.hidden);
});

test("the offer is beside the link to the camera, not within it", () => {
  const { tile } = open();
  assert.deepEqual(tile.element.children, [tile.anchor, tile.hint.element]);
  assert.equal(tile.hint.element.getAttribute("data-changes"), "", "for administrators only");
});

test("a dismissed offer stays away, another one comes", () => {
  const { tile, dismiss } = open();
  tile.update(camera(90), "Hall");
  dismiss.click();
  assert.ok(tile.hint.element.hidden);
  tile.update(camera(90), "Hall");
  assert.ok(tile.hint.element.hidden);
  tile.update(camera(180), "Hall");
  assert.ok(!tile.hint.element.hidden);
});
