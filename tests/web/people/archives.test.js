// Zip files and CSV lists as people.

import assert from "node:assert/strict";
import test from "node:test";
import { deflateRawSync } from "node:zlib";

import { unpacked } from "../../../stream/web/people/archives.js";
import { listed, parse } from "../../../stream/web/people/csv_list.js";
import { peopleOf } from "../../../stream/web/people/entries.js";

const shown = (groups) => groups.map(({ name, photos }) => [name, photos.map(({ path }) => path)]);

/** A zip file as PKWARE's APPNOTE describes it. */
function zip(files, { flags = 0x800, method = 8, size = null, name = "people.zip" } = {}) {
  const parts = [];
  const directory = [];
  let at = 0;
  for (const [path, text] of Object.entries(files)) {
    const raw = Buffer.from(text);
    const data = method === 8 ? deflateRawSync(raw) : raw;
    const title = Buffer.from(path);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(title.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(flags, 8);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(data.length, 20);
    entry.writeUInt32LE(size ?? raw.length, 24);
    entry.writeUInt16LE(title.length, 28);
    entry.writeUInt32LE(at, 42);
    parts.push(local, title, data);
    directory.push(entry, title);
    at += local.length + title.length + data.length;
  }
  const body = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(body.length, 12);
  end.writeUInt32LE(at, 16);
  return { path: name, file: new File([Buffer.concat([...parts, body, end])], name.split("/").at(-1)) };
}

const files = (texts) => Object.entries(texts).map(([path, text]) => ({ path, file: new File([text], path.split("/").at(-1)) }));

test("each folder of a zip file is a person, with or without a folder around them", async () => {
  for (const [method, around] of [[8, ""], [0, "People/"]]) {
    const [group, ...more] = peopleOf(await unpacked([zip({
      [`${around}Zoë/1.jpg`]: "one", [`${around}Zoë/old/2.jpg`]: "two".repeat(9000), "__MACOSX/x": "", [`${around}Zoë/`]: "",
    }, { method })]));
    assert.deepEqual([group.name, more.length], ["Zoë", 0]);
    assert.deepEqual(await Promise.all(group.photos.map(({ file }) => file.text())), ["one", "two".repeat(9000)]);
  }
});

test("a zip file of photos alone is one person, and so is each in a folder of people", async () => {
  assert.deepEqual(shown(peopleOf(await unpacked([zip({ "1.jpg": "a" }, { name: "Ada.zip" })]))), [["Ada", ["Ada/1.jpg"]]]);
  assert.deepEqual(shown(peopleOf(await unpacked([zip({ "1.jpg": "a" }, { name: "People/Ada.zip" })]))), [["Ada", ["People/Ada/1.jpg"]]]);
});

test("what is no zip file, encrypted or damaged is refused, and one damaged photo alone is", async () => {
  await assert.rejects(unpacked([{ path: "a.zip", file: new File(["no zip"], "a.zip") }]), /a\.zip is no zip file/);
  await assert.rejects(unpacked([zip({ "a/1.jpg": "x" }, { flags: 1 })]), /encrypted/);
  await assert.rejects(unpacked([zip({ "a/1.jpg": "x" }, { size: 0xfffffff0 })]), /more than 2 GiB/);
  const whole = await zip({ "a/1.jpg": "x" }).file.arrayBuffer();
  await assert.rejects(unpacked([{ path: "a.zip", file: new File([whole.slice(0, -30)], "a.zip") }]), /cut off/);
  const [lying] = await unpacked([zip({ "a/1.jpg": "x".repeat(100) }, { size: 10 })]);
  assert.equal(lying.file.size, 0);
});

test("a list names the photos beside it, whatever their folders are called", async () => {
  const { found, problems } = await listed(files({
    "x/list.csv": "\ufefffile;name\r\n.\\img\\1.JPG;\"Love\"\"lace; Ada\"\r\n2.jpg;Joe\r\n3.jpg;Joe\r\n;Joe\r\n",
    "x/img/1.jpg": "a", "x/2.jpg": "b", "x/other.jpg": "c", "Eve/1.jpg": "d",
  }));
  assert.deepEqual(shown(peopleOf(found)), [
    ["Eve", ["Eve/1.jpg"]], ["Joe", ["x/2.jpg"]], ['Love"lace; Ada', ["x/img/1.jpg"]],
  ]);
  assert.deepEqual(problems, [
    "x/list.csv, line 4: 3.jpg is not among the files",
    "x/list.csv, line 5: expected a name and a file: name,file",
    "x/other.jpg is not in x/list.csv, and left out",
  ]);
});

test("a list in a zip file names what is in it", async () => {
  const { found } = await listed(await unpacked([zip({ "list.csv": "Ada,1.jpg", "1.jpg": "a" })]));
  assert.deepEqual(shown(peopleOf(found)), [["Ada", ["people/1.jpg"]]]);
});

test("a list that is no text is refused", async () => {
  await assert.rejects(listed([{ path: "a.csv", file: new File([new Uint8Array([0xff, 0xfe, 0x41])], "a.csv") }]), /not UTF-8/);
});

test("CSV is read as RFC 4180 says", () => {
  assert.deepEqual(parse(""), []);
  assert.deepEqual(parse('a,"b\nc"\n\n"d ""e""", f'), [{ line: 1, cells: ["a", "b\nc"] }, { line: 4, cells: ['d "e"', "f"] }]);
});
