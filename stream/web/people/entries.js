// Dropped or chosen files and folders, as people: DIR/NAME/... is a person for each NAME.

/**
 * A file with its path below what was dropped, "People/Ada/1.jpg", and the name that a list gives it.
 * @typedef {{path: string, file: File, name?: string}} Found
 */

/**
 * The photos of one person; the name is "" for those outside of a person's folder.
 * @typedef {{name: string, photos: Found[]}} Group
 */

// What systems put beside photos; everything that begins with a dot is such a file too.
const SYSTEM_NAMES = new Set([
  "$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db",
  "desktop.ini", "found.000", "__macosx", "icon\r", "@eadir", "@tmp", "#recycle", "#snapshot",
  "@recycle", "@recently-snapshot", "lost+found",
]);

/**
 * Whether a drop holds a folder, a zip file or a list. Call it, and `readDrop`, before the drop's event has ended.
 * @param {DataTransfer} transfer
 */
export function hasFolder(transfer) {
  return [...transfer.items].map((item) => item.webkitGetAsEntry?.())
    .some((entry) => entry && (entry.isDirectory || /\.(zip|csv)$/i.test(entry.name)));
}

/**
 * Read all files of a drop, at any depth. The entries are taken at once: they are gone after the event.
 * @param {DataTransfer} transfer
 * @returns {Promise<Found[]>} in the order of their paths
 */
export async function readDrop(transfer) {
  const taken = [...transfer.items].filter(({ kind }) => kind === "file")
    .map((item) => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() }));
  /** @type {Found[]} */
  const found = [];
  for (const { entry, file } of taken) {
    if (entry) {
      await read(entry, found);
    } else if (file) {
      found.push({ path: file.name, file });
    }
  }
  return found;
}

/**
 * The files of an <input type="file">, with their paths if it chooses a folder.
 * @param {Iterable<File>} files
 * @returns {Found[]}
 */
export function ofInput(files) {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/**
 * @param {FileSystemEntry} entry
 * @param {Found[]} found to which the files are added
 */
async function read(entry, found) {
  if (isSystem(entry.name)) {
    return;
  }
  if (entry.isDirectory) {
    const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
    let some;
    do { // a reader gives 100 entries at a time
      some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
      for (const each of some) {
        await read(each, found);
      }
    } while (some.length);
  } else {
    const file = await new Promise((resolve, reject) => {
      /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject);
    });
    found.push({ path: entry.fullPath.replace(/^\//, ""), file });
  }
}

/** @param {string} name of a file or folder */
function isSystem(name) {
  return name.startsWith(".") || SYSTEM_NAMES.has(name.toLowerCase());
}

/**
 * The people of some files. A folder that holds folders has a person in each of them, with all that
 * is below; a folder of photos alone is one person. Photos beside folders have no name yet.
 * @param {Found[]} found
 * @returns {Group[]} by name, photos without one last
 */
export function peopleOf(found) {
  const shown = found.filter(({ path }) => !path.split("/").some(isSystem));
  const parents = new Set(shown.map(({ path }) => path.split("/")).filter(({ length }) => length > 2).map(([root]) => root));
  /** @type {Map<string, Group>} */
  const groups = new Map();
  for (const each of shown) {
    const [root, ...below] = each.path.split("/");
    let name = "";
    if (below.length > 1) {
      name = below[0];
    } else if (below.length === 1 && !parents.has(root)) {
      name = root;
    }
    name = (each.name ?? name).normalize("NFC").trim();
    const key = name.toLowerCase();
    const group = groups.get(key) ?? { name, photos: [] };
    group.photos.push(each);
    groups.set(key, group);
  }
  const order = new Intl.Collator(undefined, { numeric: true });
  for (const { photos } of groups.values()) {
    photos.sort((a, b) => order.compare(a.path, b.path));
  }
  return [...groups.values()].sort((a, b) => Number(!a.name) - Number(!b.name) || order.compare(a.name, b.name));
}
