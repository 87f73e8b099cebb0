// Search: where and when a face was seen before, by a photo, an event, a person or a visitor.

import { api, attempt, encode } from "../connection/api.js";
import { byId, glyph, h, portrait, setText } from "../page/dom.js";
import { routeTo } from "../page/router.js";
import { counted } from "../page/text.js";
import { boundsOf, dayText, timeText } from "../page/time.js";
import { Turns } from "../page/turns.js";
import { openCamera } from "../page/user_camera.js";

/** @import { Cameras } from "../cameras/cameras.js" */
/** @import { Event } from "../connection/schemas.js" */
/** @import { Router } from "../page/router.js" */

/**
 * @typedef {{event: Event, similarity: number, visitor_id: string | null}} Match
 * @typedef {{searched_face: {box: number[], score: number, quality: number} | null,
 *   unsearched_faces: {box: number[], reason: string}[], matches: Match[]}} Answer
 */

const LIMIT = 60;
const KEYS = ["event", "identity", "visitor"]; // of the address: searches that can be shared

export class Search {
  #router;
  #cameras;
  #turns = new Turns();
  /** @type {Blob | null} */
  #photo = null;
  #wanted = new URLSearchParams();
  #isShown = false;
  /** @type {MediaStream | null} */
  #stream = null;
  #ownCamera = h("button", { type: "button", class: "button", id: "search-own", onclick: () => this.#startCamera() }, glyph("camera"), "Use this camera");
  #file = h("input", { type: "file", id: "search-file", accept: "image/*", class: "visually-hidden", "aria-label": "A photo to search by", onchange: () => this.#take(this.#file.files?.[0]) });
  #photoImage = h("img", { class: "search-photo", id: "search-photo", alt: "What is searched for", hidden: true, onerror: () => { this.#photoImage.hidden = true; } }); // not of all formats
  #camera = h("select", { id: "search-camera" });
  #from = h("input", { type: "date", id: "search-from" });
  #to = h("input", { type: "date", id: "search-to" });
  #least = h("input", { type: "number", id: "search-least", min: 0, max: 1, step: 0.01, placeholder: "threshold" });
  #status = h("p", { class: "hint", id: "search-status", role: "status" });
  #results = h("ul", { class: "search-results", "aria-label": "Past sightings" });
  #video = h("video", { class: "camera-preview", muted: true, autoplay: true, playsinline: true, "aria-label": "This browser’s camera" });
  #snapshot = h("div", { class: "search-snapshot", hidden: true }, this.#video,
    h("button", { type: "button", class: "button primary", onclick: () => this.#snap() }, "Search this face"),
    h("button", { type: "button", class: "button", onclick: () => this.#stopCamera() }, "Cancel"));

  /**
   * @param {Router} router
   * @param {Cameras} cameras
   */
  constructor(router, cameras) {
    this.#router = router;
    this.#cameras = cameras;
    const zone = h("div", { class: "drop-zone", id: "search-zone" },
      this.#photoImage,
      h("p", {}, "Drop or paste a photo: past sightings of its largest face are shown. Nothing of the photo is kept."),
      h("div", { class: "drop-buttons" },
        h("button", { type: "button", class: "button primary", onclick: () => this.#file.click() }, "Choose a photo"),
        this.#ownCamera),
      this.#snapshot, this.#file);
    zone.addEventListener("dragover", (event) => event.preventDefault());
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#take(event.dataTransfer?.files[0]);
    });
    document.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
      if (this.#isShown && file) {
        event.preventDefault();
        this.#take(file);
      }
    });
    const field = (/** @type {string} */ label, /** @type {HTMLElement} */ input) =>
      h("label", { class: "field" }, h("span", {}, label), input);
    const filters = h("form", { class: "filters", "aria-label": "Filters of the search" },
      field("Camera", this.#camera), field("From", this.#from), field("To", this.#to), field("Minimum similarity", this.#least));
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("change", () => this.#go());
    byId("view-search").append(
      h("div", { class: "panel" }, zone, filters),
      h("div", { class: "panel" }, this.#status, this.#results));
  }

  /** @param {URLSearchParams} query of the address */
  async show(query) {
    this.#isShown = true;
    this.#wanted = query;
    const camera = query.get("camera") ?? "";
    const names = this.#cameras.all.map(({ name }) => name);
    const all = camera && !names.includes(camera) ? [...names, camera] : names;
    this.#camera.replaceChildren(
      h("option", { value: "" }, "All cameras"),
      ...all.map((name) => h("option", { value: name, selected: name === camera }, name)));
    this.#from.value = query.get("from") ?? "";
    this.#to.value = query.get("to") ?? "";
    this.#least.value = query.get("least") ?? "";
    if (KEYS.some((key) => query.get(key))) {
      this.#photo = null;
      const event = query.get("event");
      this.#showImage(event ? `api/events/${encode(event)}/crop.jpg` : "");
    }
    await this.#turns.run(() => this.#search());
  }

  hide() {
    this.#isShown = false;
    this.#stopCamera();
  }

  /** Put the filters into the address, and with them search again. */
  #go() {
    const kept = Object.fromEntries(KEYS.map((key) => [key, this.#photo ? "" : this.#wanted.get(key) ?? ""]));
    const hash = routeTo("search", "", {
      ...kept, camera: this.#camera.value, from: this.#from.value, to: this.#to.value, least: this.#least.value,
    });
    if (location.hash === hash) {
      attempt(this.#turns.run(() => this.#search()));
    } else {
      this.#router.go(hash, { replace: true });
    }
  }

  /** @param {Blob | undefined} photo */
  #take(photo) {
    if (photo) {
      this.#photo = photo;
      this.#showImage(URL.createObjectURL(photo));
      this.#go();
    }
    this.#file.value = "";
  }

  /** @param {string} address "" for none */
  #showImage(address) {
    URL.revokeObjectURL(this.#photoImage.src);
    this.#photoImage.hidden = !address;
    this.#photoImage.src = address;
  }

  async #search() {
    const body = this.#body();
    if (body === null) {
      this.#results.replaceChildren();
      setText(this.#status, "Choose whose past you look for: a photo here, or “Search” at an event, a person or a visitor.");
      return;
    }
    setText(this.#status, "Searching.");
    const query = queryOf({ camera: this.#camera.value, from: this.#from.value, to: this.#to.value, least: this.#least.value });
    try {
      this.#show(await api("POST", `api/search?${query}`, body));
    } catch (error) {
      this.#results.replaceChildren();
      setText(this.#status, "Nothing was searched.");
      throw error;
    }
  }

  /** @returns {FormData | Record<string, string | number> | null} */
  #body() {
    if (this.#photo) {
      const form = new FormData();
      form.append("file", this.#photo, "photo");
      return form;
    }
    const [event, identity, visitor] = KEYS.map((key) => this.#wanted.get(key));
    if (event) {
      return { event_id: Number(event) };
    }
    if (identity) {
      return { identity_id: identity };
    }
    return visitor ? { visitor_id: visitor } : null;
  }

  /** @param {Answer} answer */
  #show({ matches, unsearched_faces: others }) {
    this.#results.replaceChildren(...matches.map((match) => this.#card(match)));
    setText(this.#status, summaryOf(matches.length, others.length));
  }

  /** @param {Match} match */
  #card({ event, similarity, visitor_id: visitor }) {
    const who = event.name ?? event.visitor ?? "Unknown face";
    const when = new Date(event.at);
    return h("li", { class: "search-match", "data-event": String(event.id), "data-name": who },
      portrait(event.has_crop ? `api/events/${event.id}/crop.jpg` : null, event.name),
      h("div", { class: "event-text" },
        h("p", { class: "event-who", dir: "auto" }, h("strong", {}, who)),
        h("p", { class: "event-where" },
          h("a", { href: routeTo("events", "", { camera: event.camera, day: dayText(when) }) }, event.camera),
          " · ", h("time", { datetime: event.at }, timeText(when, { dateStyle: "medium", timeStyle: "short" }))),
        h("p", { class: "event-where" }, `Similarity ${similarity.toFixed(2)}`,
          visitor && event.name === null ? h("a", { href: routeTo("search", "", { visitor }) }, " · All of this visitor") : null)));
  }

  async #startCamera() {
    this.#ownCamera.disabled = true; // until it is stopped: a second stream would stay on
    this.#stream = await openCamera();
    if (!this.#isShown || !this.#stream) { // another view was opened meanwhile
      this.#stopCamera();
      return;
    }
    this.#video.srcObject = this.#stream;
    this.#snapshot.hidden = false;
  }

  #snap() {
    const canvas = h("canvas", { width: this.#video.videoWidth, height: this.#video.videoHeight });
    canvas.getContext("2d")?.drawImage(this.#video, 0, 0);
    canvas.toBlob((blob) => this.#take(blob ?? undefined), "image/jpeg", 0.92);
    this.#stopCamera();
  }

  #stopCamera() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.#snapshot.hidden = true;
    this.#ownCamera.disabled = false;
  }
}

/**
 * The query of a search; days are of the service's time zone.
 * @param {{camera: string, from: string, to: string, least: string}} filters "" for none
 */
export function queryOf({ camera, from, to, least }) {
  const after = from ? boundsOf(from)[0] : null;
  const before = to ? boundsOf(to)[1] : null;
  const filled = Object.entries({
    limit: String(LIMIT), camera, min_similarity: least,
    after: after?.toISOString() ?? "", before: before?.toISOString() ?? "",
  }).filter(([, value]) => value);
  return filled.map(([key, value]) => `${key}=${encode(value)}`).join("&");
}

/**
 * What was found.
 * @param {number} nMatches
 * @param {number} nOthers faces of the photo that were not searched for
 */
export function summaryOf(nMatches, nOthers) {
  const found = nMatches === 0 ? "Not seen in this time, or not similar enough."
    : nMatches < LIMIT ? `Seen ${nMatches === 1 ? "once" : `${nMatches} times`}, most similar first.`
      : `The ${LIMIT} most similar sightings.`;
  return nOthers ? `${found} ${counted(nOthers, "smaller face")} of the photo ${nOthers === 1 ? "was" : "were"} not searched for.` : found;
}
