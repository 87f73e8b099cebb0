// The words for what needs a look.

import assert from "node:assert/strict";
import test from "node:test";

import { labelOf, textOf } from "../../../stream/web/people/hygiene.js";

const people = [{ identity_id: "a", name: "Ada" }, { identity_id: "e", name: "Eve" }];

test("a button says what it does, and to whom", () => {
  assert.equal(labelOf({ action: "merge", method: "PATCH", path: "", body: { merge_into: "e" } }, people), "Merge into Eve");
  assert.equal(labelOf({ action: "move_photo", method: "POST", path: "", body: { photo_ids: [17], name: "Eve" } }, people), "Move to Eve");
  assert.equal(labelOf({ action: "remove_photo", method: "DELETE", path: "", body: null }, people), "Remove the photo");
});

test("a finding names its people, and the similarity", () => {
  const finding = { id: "", photos: [], mend: [], people, similarity: 0.083, detail: "photo 17 of Ada is poor" };
  assert.equal(textOf({ ...finding, kind: "unlike" }), "This photo of Ada differs from the others (similarity 0.08): it may be Eve.");
  assert.equal(textOf({ ...finding, kind: "unlike", people: [people[0]], similarity: null }), "This photo of Ada differs from the others (similarity unknown).");
  assert.match(textOf({ ...finding, kind: "alike" }), /^Ada and Eve look alike \(similarity 0\.08\)/);
  assert.match(textOf({ ...finding, kind: "redundant" }), /^Two photos of Ada are nearly the same/);
  assert.equal(textOf({ ...finding, kind: "poor", similarity: null }), "Photo 17 of Ada is poor.");
});
