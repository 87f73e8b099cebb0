// The words for what needs a look.

import assert from "node:assert/strict";
import test from "node:test";

import { labelOf, textOf, toDecide } from "../../../stream/web/people/hygiene.js";

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

test("people who look alike by a misplaced photo wait until it is decided about", () => {
  const photo = (id) => ({ identity_id: "a", photo_id: id, quality: 1, has_crop: true });
  const unlike = { id: "unlike-17", kind: "unlike", photos: [photo(17)] };
  const byIt = { id: "alike-a-e", kind: "alike", photos: [photo(3), photo(17)] };
  const alike = { id: "alike-a-z", kind: "alike", photos: [photo(3), photo(9)] };
  assert.deepEqual(toDecide([unlike, byIt, alike]), [unlike, alike]);
  assert.deepEqual(toDecide([byIt, alike]), [byIt, alike]);
});
