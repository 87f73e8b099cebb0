// Zip files of photos, read in the browser: a person for each folder in them, as folders are.

/** @import { Found } from "./entries.js" */

const MAX_FILES = 20_000;
const MAX_PHOTO_BYTES = 96 * 1024 * 1024; // as much as the service takes
const MAX_BYTES = 2 * 1024 ** 3; // of all photos, unpacked
const END = 0x06054b50;
const END_BYTES = 22;
const ENTRY = 0x02014b50;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;
const UTF8 = 0x800;

/**
 * An entry of a zip file's directory.
 * @typedef {{name: string, method: number, packed: number, size: number, at: number}} Entry
 */

/**
 * Replace zip files by the photos in them.
 * @param {Found[]} found
 * @returns {Promise<Found[]>}
 */
export async function unpacked(found) {
  const all = await Promise.all(found.map((each) => (/\.zip$/i.test(each.path) ? photosIn(each) : [each])));
  return all.flat();
}

/**
 * The photos in a zip file; its name is that of the folder they are in. One folder around those of
 * the people, as file managers pack it, is left out.
 * @param {Found} zip
 * @returns {Promise<Found[]>}
 */
async function photosIn({ path, file }) {
  const entries = await directoryOf(file);
  const names = entries.map(({ name }) => name.replaceAll("\\", "/").replace(/^\/+/, "").split("/"));
  const kept = names.filter((parts) => !parts.some((part) => part.startsWith(".") || part === "__MACOSX"));
  const isWrapped = new Set(kept.map(([first]) => first)).size === 1 && kept.every(({ length }) => length > 2);
  const folder = path.slice(0, -".zip".length);
  const found = [];
  for (const [index, entry] of entries.entries()) {
    if (kept.includes(names[index])) {
      const parts = names[index].slice(isWrapped ? 1 : 0);
      found.push({ path: [folder, ...parts].join("/"), file: await read(file, entry, parts.at(-1) ?? "") });
    }
  }
  return found;
}

/**
 * @param {File} file
 * @returns {Promise<Entry[]>} the files in it, without folders
 */
async function directoryOf(file) {
  const damaged = new Error(`${file.name} is no zip file, or is cut off or damaged`);
  const tailAt = Math.max(0, file.size - END_BYTES - 0xffff); // a comment may follow
  const tail = await viewOf(file.slice(tailAt));
  let end = tail.byteLength - END_BYTES;
  while (end >= 0 && tail.getUint32(end, true) !== END) {
    end -= 1;
  }
  if (end < 0) {
    throw damaged;
  }
  const [n, bytes, start] = [tail.getUint16(end + 10, true), tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  if (n > MAX_FILES || start === 0xffffffff) {
    throw new Error(`${file.name} holds too much for the page: at most ${MAX_FILES} files in 4 GiB. Divide it, or use facewire enroll`);
  }
  const view = await viewOf(file.slice(start, start + bytes));
  const entries = [];
  for (let i = 0, at = 0; i < n; i += 1) {
    if (at + ENTRY_BYTES > view.byteLength || view.getUint32(at, true) !== ENTRY) {
      throw damaged;
    }
    const [flags, nameBytes] = [view.getUint16(at + 8, true), view.getUint16(at + 28, true)];
    if (at + ENTRY_BYTES + nameBytes > view.byteLength) {
      throw damaged;
    }
    const raw = new Uint8Array(view.buffer, at + ENTRY_BYTES, nameBytes);
    const name = textOf(raw, (flags & UTF8) !== 0);
    if (flags & ENCRYPTED) {
      throw new Error(`${file.name} is encrypted: unpack it and drop the folder`);
    }
    if (!name.endsWith("/")) {
      entries.push({
        name, method: view.getUint16(at + 10, true), packed: view.getUint32(at + 20, true),
        size: view.getUint32(at + 24, true), at: view.getUint32(at + 42, true),
      });
    }
    at += ENTRY_BYTES + nameBytes + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  if (entries.reduce((sum, { size }) => sum + size, 0) > MAX_BYTES) {
    throw new Error(`${file.name} holds more than 2 GiB: divide it, or use facewire enroll`);
  }
  return entries;
}

/**
 * A file in a zip file. One that cannot be unpacked is empty, so that it is refused by its name
 * and the others are added.
 * @param {File} zip
 * @param {Entry} entry
 * @param {string} name
 */
async function read(zip, { method, packed, size, at }, name) {
  const local = await viewOf(zip.slice(at, at + LOCAL_BYTES));
  if (local.byteLength < LOCAL_BYTES || size > MAX_PHOTO_BYTES) {
    return new File([], name);
  }
  const start = at + LOCAL_BYTES + local.getUint16(26, true) + local.getUint16(28, true);
  const data = zip.slice(start, start + packed);
  if (method === STORED) {
    return new File([data], name);
  }
  if (method !== DEFLATED) {
    return new File([], name);
  }
  const reader = data.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  /** @type {BlobPart[]} */
  const chunks = [];
  let n = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      n += part.value.length;
      if (n > size) { // it states a wrong size: no more than that is unpacked
        await reader.cancel();
        return new File([], name);
      }
      chunks.push(part.value);
    }
  } catch {
    return new File([], name); // damaged
  }
  return new File(chunks, name);
}

/** @param {Blob} blob */
async function viewOf(blob) {
  return new DataView(await blob.arrayBuffer());
}

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {boolean} isUtf8 as the zip file says; most write UTF-8 in any case
 */
function textOf(bytes, isUtf8) {
  try {
    return new TextDecoder("utf-8", { fatal: !isUtf8 }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}
