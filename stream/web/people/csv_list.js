// A CSV list of people: name,file a line, with the photos beside it.

/** @import { Found } from "./entries.js" */

const MAX_CSV_BYTES = 8 * 1024 * 1024;
const FILE_TITLES = ["file", "photo", "path", "image"]; // of the column, as `facewire enroll` takes them

/**
 * Name the photos that CSV lists name, and leave out the lists and the other photos beside them.
 * @param {Found[]} found
 * @returns {Promise<{found: Found[], problems: string[]}>}
 */
export async function listed(found) {
  const lists = found.filter(({ path }) => /\.csv$/i.test(path));
  /** @type {string[]} */
  const problems = [];
  let others = found.filter((each) => !lists.includes(each));
  /** @type {Found[]} */
  const named = [];
  for (const { path, file } of lists) {
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    const beside = new Map(others.filter((each) => each.path.startsWith(folder))
      .map((each) => [keyOf(each.path.slice(folder.length)), each]));
    const taken = new Set();
    for (const { line, name, photo } of await rowsOf(file)) {
      const each = beside.get(keyOf(photo));
      if (!name || !photo) {
        problems.push(`${path}, line ${line}: expected a name and a file: name,file`);
      } else if (!each) {
        problems.push(`${path}, line ${line}: ${photo} is not among the files`);
      } else {
        taken.add(each);
        named.push({ ...each, name });
      }
    }
    const left = [...beside.values()].filter((each) => !taken.has(each));
    if (left.length) {
      problems.push(`${left.length === 1 ? `${left[0].path} is` : `${left.length} files are`} not in ${path}, and left out`);
    }
    others = others.filter((each) => !each.path.startsWith(folder));
  }
  return { found: [...named, ...others], problems };
}

/**
 * @param {File} file
 * @returns {Promise<{line: number, name: string, photo: string}[]>}
 */
async function rowsOf(file) {
  if (file.size > MAX_CSV_BYTES) {
    throw new Error(`${file.name} is too large for a list of names and files`);
  }
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()); // drops a byte order mark
  } catch {
    throw new Error(`${file.name} is not UTF-8: save it as CSV UTF-8`);
  }
  const [first] = text.trimStart().split("\n", 1);
  const rows = parse(text, first.includes(";") && !first.includes(",") ? ";" : ",");
  const titles = (rows[0]?.cells ?? []).map((cell) => cell.toLowerCase());
  const hasTitles = titles.includes("name") && titles.some((title) => FILE_TITLES.includes(title));
  const nameAt = hasTitles ? titles.indexOf("name") : 0;
  const fileAt = hasTitles ? titles.findIndex((title) => FILE_TITLES.includes(title)) : 1;
  return rows.slice(hasTitles ? 1 : 0).map(({ line, cells }) => ({ line, name: cells[nameAt] ?? "", photo: cells[fileAt] ?? "" }));
}

/**
 * The rows of a CSV file that are not empty, by RFC 4180.
 * @param {string} text
 * @param {string} separator
 * @returns {{line: number, cells: string[]}[]}
 */
export function parse(text, separator = ",") {
  const rows = [];
  let [line, cells, cell, isQuoted] = [1, /** @type {string[]} */ ([]), "", false];
  let begins = 1;
  for (let i = 0; i <= text.length; i += 1) {
    const at = text[i] ?? "\n";
    if (isQuoted && i < text.length) {
      if (at !== '"') {
        cell += at;
      } else if (text[i + 1] === '"') {
        cell += at;
        i += 1;
      } else {
        isQuoted = false;
      }
      line += Number(at === "\n");
    } else if (at === '"' && cell.trim() === "") {
      [isQuoted, cell] = [true, ""];
    } else if (at === separator) {
      cells.push(cell.trim());
      cell = "";
    } else if (at === "\n") {
      cells.push(cell.trim());
      if (cells.some(Boolean)) {
        rows.push({ line: begins, cells });
      }
      line += 1;
      [begins, cells, cell] = [line, [], ""];
    } else {
      cell += at;
    }
  }
  return rows;
}

/** @param {string} path as a list or a system writes it */
function keyOf(path) {
  return path.replaceAll("\\", "/").replace(/^(\.\/)+/, "").normalize("NFC").toLowerCase();
}
