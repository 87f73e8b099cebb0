// The count of people, and the camera from which to add a person.

import assert from "node:assert/strict";
import test from "node:test";

import { chooseCamera } from "../../../stream/web/people/add_form.js";
import { countText } from "../../../stream/web/people/people.js";

const numbers = { isSearch: false, hasMore: false, nShown: 3, nFound: 3, nAll: 3 };

test("a complete list has no count", () => {
  assert.equal(countText(numbers), "");
});

test("an incomplete list shows its count", () => {
  assert.equal(countText({ ...numbers, hasMore: true, nShown: 100, nFound: 2500, nAll: 2500 }), "100 of 2500");
});

test("a search shows how many were found", () => {
  assert.equal(countText({ ...numbers, isSearch: true, nShown: 2, nFound: 2, nAll: 2500 }), "2 of 2500");
  assert.equal(countText({ ...numbers, isSearch: true, nShown: 0, nFound: 0, nAll: 2500 }), "");
});

const live = [{ name: "door", url: "rtsp://192.0.2.7" }, { name: "browser-1f", url: "browser:browser-1f" }, { name: "yard", url: "" }];

test("the watched camera is selected first, then a browser's, then the previous one", () => {
  assert.equal(chooseCamera(live, "yard", "door"), "yard");
  assert.equal(chooseCamera(live, "", "door"), "browser-1f");
  assert.equal(chooseCamera([live[0], live[2]], "", "yard"), "yard");
  assert.equal(chooseCamera([live[0], live[2]], "gone", "gone too"), "door");
});

test("no camera is selected if none is live", () => {
  assert.equal(chooseCamera([], "yard", "door"), undefined);
});
