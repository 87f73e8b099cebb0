// Dropped files as people.

import assert from "node:assert/strict";
import test from "node:test";

import { peopleOf, readDrop } from "../../../stream/web/people/entries.js";

const found = (...paths) => paths.map((path) => ({ path, file: new File(["x"], path.split("/").at(-1)) }));
const shown = (groups) => groups.map(({ name, photos }) => [name, photos.map(({ path }) => path)]);

test("each folder of a folder is a person, with all that is below", () => {
  assert.deepEqual(shown(peopleOf(found("People/Zoë/2.jpg", "People/Ada/10.jpg", "People/Ada/9.jpg", "People/Ada/old/1.jpg"))), [
    ["Ada", ["People/Ada/9.jpg", "People/Ada/10.jpg", "People/Ada/old/1.jpg"]],
    ["Zoë", ["People/Zoë/2.jpg"]],
  ]);
});

test("a folder of photos is one person, also beside another", () => {
  assert.deepEqual(shown(peopleOf(found("Ada/1.jpg", "Ada/2.jpg", "Joe/1.jpg"))), [
    ["Ada", ["Ada/1.jpg", "Ada/2.jpg"]],
    ["Joe", ["Joe/1.jpg"]],
  ]);
});

test("photos beside folders have no name yet, and are last", () => {
  assert.deepEqual(shown(peopleOf(found("loose.jpg", "People/party.jpg", "People/Ada/1.jpg"))), [
    ["Ada", ["People/Ada/1.jpg"]],
    ["", ["loose.jpg", "People/party.jpg"]],
  ]);
});

test("hidden and system files are left out", () => {
  assert.deepEqual(shown(peopleOf(found("Ada/.DS_Store", "Ada/Thumbs.db", "__MACOSX/Ada/1.jpg", "Ada/1.jpg"))), [["Ada", ["Ada/1.jpg"]]]);
  assert.deepEqual(peopleOf(found("Ada/.hidden.jpg")), []);
});

test("names that differ in case or in their Unicode form are one person", () => {
  const groups = peopleOf(found("a/ada/1.jpg", "b/Ada/2.jpg", "a/Zoe\u0308/1.jpg", "b/Zo\u00eb/2.jpg"));
  assert.deepEqual(groups.map(({ name, photos }) => [name, photos.length]), [["ada", 2], ["Zo\u00eb", 2]]);
});

const fileEntry = (fullPath) => ({
  name: fullPath.split("/").at(-1), fullPath, isDirectory: false,
  file: (resolve) => resolve(new File(["x"], fullPath.split("/").at(-1))),
});

/** A folder whose reader gives two entries at a time, as browsers give 100. */
const folderEntry = (fullPath, children) => ({
  name: fullPath.split("/").at(-1), fullPath, isDirectory: true,
  createReader: () => {
    const left = [...children];
    return { readEntries: (resolve) => resolve(left.splice(0, 2)) };
  },
});

test("a dropped folder is read to its end, at any depth", async () => {
  const files = ["1", "2", "3", "4", "5"].map((n) => fileEntry(`/People/Ada/${n}.jpg`));
  const folder = folderEntry("/People", [folderEntry("/People/Ada", files), folderEntry("/People/.git", [fileEntry("/People/.git/x")])]);
  const items = [
    { kind: "file", webkitGetAsEntry: () => folder, getAsFile: () => null },
    { kind: "file", webkitGetAsEntry: () => null, getAsFile: () => new File(["x"], "loose.jpg") },
    { kind: "string", webkitGetAsEntry: () => null, getAsFile: () => null },
  ];
  const read = await readDrop({ items });
  assert.deepEqual(read.map(({ path }) => path), [...files.map(({ fullPath }) => fullPath.slice(1)), "loose.jpg"]);
});

test("a folder that cannot be read rejects", async () => {
  const broken = { name: "x", fullPath: "/x", isDirectory: true, createReader: () => ({ readEntries: (_resolve, reject) => reject(new Error("denied")) }) };
  await assert.rejects(readDrop({ items: [{ kind: "file", webkitGetAsEntry: () => broken, getAsFile: () => null }] }), /denied/);
});
