// Which face of a photo is meant: the photo with a box around each, to be clicked.

import { h, setText } from "../page/dom.js";
import { sentence } from "../page/text.js";

/** @import { ListedFace } from "../connection/schemas.js" */

/**
 * Ask for a face; resolves to its index, null if it was canceled.
 * @param {{file: File, faces: ListedFace[], size: number[] | null, person: {name: string}}} photo
 * @returns {Promise<number | null>}
 */
export function pickFace({ file, faces, size, person: { name } }) {
  return new Promise((resolve) => {
    /** @type {number | null} */
    let chosen = null;
    const url = URL.createObjectURL(file);
    const hint = h("p", { class: "hint", id: "pick-hint", role: "status" }, "Click the face, in the photo or below.");
    const title = h("h2", { id: "pick-title" }, `Which face is ${name}?`);
    const dialog = h("dialog", { class: "pick-dialog", id: "pick-dialog", "aria-labelledby": "pick-title", "aria-describedby": "pick-hint" });
    /** @param {number} index */
    const choose = (index) => {
      chosen = index;
      dialog.close();
    };
    // From left to right, as they are seen.
    const ordered = [...faces].sort((a, b) => a.box[0] - b.box[0]);
    const image = h("img", { src: url, alt: `Photo ${file.name}` });
    const photo = h("div", { class: "pick-photo" }, image);
    image.addEventListener("error", () => { photo.hidden = true; }); // not every browser shows HEIC
    ordered.forEach((face, position) => {
      const box = h("button", { type: "button", class: "pick-box", "aria-label": `Face ${position + 1}`, "data-face": face.index, onclick: () => choose(face.index) },
        h("span", { "aria-hidden": "true" }, String(position + 1)));
      const [width, height] = size ?? [1, 1];
      const [x1, y1, x2, y2] = face.box;
      box.style.left = `${(100 * x1) / width}%`;
      box.style.top = `${(100 * y1) / height}%`;
      box.style.width = `${(100 * (x2 - x1)) / width}%`;
      box.style.height = `${(100 * (y2 - y1)) / height}%`;
      photo.append(box);
    });
    const crops = h("ul", { class: "pick-crops", "aria-label": "Faces" }, ...ordered.map((face, position) =>
      h("li", {}, h("button", { type: "button", class: "pick-crop", onclick: () => choose(face.index) },
        h("img", { src: face.crop, alt: "", width: 112, height: 112 }),
        h("strong", {}, `Face ${position + 1}`),
        h("span", { class: face.fault ? "pick-fault" : "hint" }, face.fault ? sentence(face.fault) : `Quality ${Math.round(face.quality * 100)} %`)))));
    dialog.append(title, hint, photo, crops,
      h("div", { class: "actions" }, h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel")));
    dialog.addEventListener("close", () => {
      URL.revokeObjectURL(url);
      dialog.remove();
      resolve(chosen);
    });
    document.body.append(dialog);
    if (!faces.some(({ fault }) => fault === null)) {
      setText(hint, "Click the face. None of them is clear enough: it will be refused, and can then be taken anyway.");
    }
    dialog.showModal();
  });
}
