// Sends the photos of many people, some at a time, and keeps what became of each.

import { Emitter } from "../page/emitter.js";
import { messageOf } from "../page/text.js";

/** @import { Found } from "./entries.js" */
/** @import { Enrol, ListedFace } from "../connection/schemas.js" */

/**
 * "known": enrolled before. "failed": not judged, and can be sent again.
 * @typedef {"waiting" | "sending" | "added" | "known" | "refused" | "failed"} State
 */

/**
 * @typedef {Found & {person: PersonToAdd, state: State, detail: string, reason: string,
 *   faces: ListedFace[], size: number[] | null, face: number | null, force: boolean,
 *   photoId: number | null, isAlone: boolean, isSecond: boolean}} Upload
 */

/**
 * @typedef {{name: string, identityId: string | null, photos: Upload[], nSending: number}} PersonToAdd
 */

/**
 * How a request is sent: the report of the service, or an error with its HTTP `status`, 0 for no answer.
 * @typedef {(person: PersonToAdd, photos: Upload[]) => Promise<Enrol>} Post
 */

const PARALLEL = 2; // requests
const BATCH = 8; // photos of one request: they are looked at together, yet the progress moves
const TOGETHER = 40; // group photos of one request, to find the face that repeats
const BATCH_BYTES = 32 * 1024 * 1024; // the service takes 96 MiB
const AWAY = [0, 502, 503, 504]; // the service restarts, or is busy
const HALTING = [401, 403, 507]; // every other photo would fail the same way
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 10_000;

/**
 * Event: "change" when a photo or the queue changed.
 * @extends {Emitter<{change: void}>}
 */
export class UploadQueue extends Emitter {
  /** @type {PersonToAdd[]} */
  people = [];
  /** @type {Upload[]} */
  photos = [];
  /** Why nothing is sent now: stopped, or a failure that concerns all photos; "" while it runs. */
  halted = "";
  /** Why photos have to wait: the service does not answer; "" if it does. */
  outage = "";
  #post;
  #wait;
  #waitMs = FIRST_WAIT_MS;
  #nSending = 0;
  #isWaiting = false;

  /**
   * @param {Post} post
   * @param {(ms: number) => Promise<unknown>} wait
   */
  constructor(post, wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); })) {
    super();
    this.#post = post;
    this.#wait = wait;
  }

  /**
   * Add the photos of a person; they are sent from now on.
   * @param {string} name
   * @param {Found[]} found
   * @param {string | null} identityId if the person is enrolled
   */
  add(name, found, identityId = null) {
    /** @type {PersonToAdd} */
    const person = { name, identityId, photos: [], nSending: 0 };
    person.photos = found.map(({ path, file }) => ({
      path, file, person, state: "waiting", detail: "", reason: "", faces: [], size: null, face: null,
      force: false, photoId: null, isAlone: false, isSecond: false,
    }));
    this.people.push(person);
    this.photos.push(...person.photos);
    this.#pump();
  }

  /** @param {State} state */
  count(state) {
    return this.photos.filter((photo) => photo.state === state).length;
  }

  get done() {
    return this.photos.length - this.count("waiting") - this.count("sending");
  }

  get isRunning() {
    return this.#nSending > 0 || (!this.halted && this.done < this.photos.length);
  }

  /** Send no more; what is being sent is awaited. */
  stop() {
    this.halted = "Stopped";
    this.emit("change");
  }

  /** Go on after a stop. */
  resume() {
    this.halted = "";
    this.#pump();
  }

  /**
   * Send one again, with the chosen face, or without the checks.
   * @param {Upload} photo that was refused or failed
   * @param {{face?: number | null, force?: boolean}} how
   */
  again(photo, { face = photo.face, force = photo.force } = {}) {
    Object.assign(photo, { state: "waiting", detail: "", face, force, isAlone: true });
    this.resume();
  }

  #pump() {
    while (!this.halted && !this.#isWaiting && this.#nSending < PARALLEL) {
      const batch = this.#next();
      if (batch === null) {
        break;
      }
      this.#send(batch);
    }
    this.emit("change");
  }

  /** @returns {Upload[] | null} photos of one person, null if none can be sent now */
  #next() {
    // The first photos make the person: a second request beside it would make another of that name.
    const open = this.people.filter(({ identityId, nSending }) => identityId !== null || nSending === 0)
      .sort((a, b) => a.nSending - b.nSending);
    for (const person of open) {
      const waiting = person.photos.filter(({ state }) => state === "waiting");
      const alone = waiting.find(({ isAlone }) => isAlone);
      if (alone) {
        return [alone];
      }
      if (waiting.length) {
        return firstOf(waiting, waiting[0].isSecond ? TOGETHER : BATCH);
      }
    }
    return null;
  }

  /** @param {Upload[]} batch */
  async #send(batch) {
    const { person } = batch[0];
    person.nSending += 1;
    this.#nSending += 1;
    batch.forEach((photo) => { photo.state = "sending"; });
    try {
      this.#take(batch, await this.#post(person, batch));
      this.outage = "";
      this.#waitMs = FIRST_WAIT_MS;
    } catch (error) {
      this.#fail(batch, error);
    } finally {
      person.nSending -= 1;
      this.#nSending -= 1;
    }
    this.#lookAgain(person);
    this.#pump();
  }

  /**
   * @param {Upload[]} batch
   * @param {Enrol} report
   */
  #take(batch, { identity, enrolled, rejected }) {
    const { person } = batch[0];
    person.identityId = identity?.identity_id ?? person.identityId;
    person.name = identity?.name ?? person.name;
    for (const { photo, photo_id: photoId } of enrolled) {
      Object.assign(batch[photo], { state: "added", detail: "added", reason: "", photoId });
    }
    for (const { photo, reason, detail, faces, size, face } of rejected) {
      const state = reason === "duplicate" ? "known" : "refused";
      Object.assign(batch[photo], { state, detail, reason, faces, size, face: face ?? batch[photo].face });
    }
    // Whatever the answer leaves out is not lost.
    batch.filter(({ state }) => state === "sending").forEach((photo) => {
      Object.assign(photo, { state: "failed", detail: "the service did not say what became of it" });
    });
  }

  /**
   * @param {Upload[]} batch
   * @param {unknown} error
   */
  #fail(batch, error) {
    const { status = -1 } = /** @type {{status?: number}} */ (error);
    const message = messageOf(error);
    if (AWAY.includes(status) || HALTING.includes(status)) {
      batch.forEach((photo) => { photo.state = "waiting"; });
      if (HALTING.includes(status)) {
        this.halted = message;
      } else {
        this.outage = message;
        this.#waitAndGoOn();
      }
    } else if (batch.length > 1) { // one of them may be at fault: send each alone
      batch.forEach((photo) => Object.assign(photo, { state: "waiting", isAlone: true }));
    } else {
      Object.assign(batch[0], { state: "failed", detail: message });
    }
  }

  async #waitAndGoOn() {
    if (this.#isWaiting) {
      return;
    }
    this.#isWaiting = true;
    const ms = this.#waitMs;
    this.#waitMs = Math.min(2 * ms, LONGEST_WAIT_MS);
    await this.#wait(ms);
    this.#isWaiting = false;
    this.#pump();
  }

  /**
   * After all photos of a person: look at the group photos again, together and with the others known.
   * @param {PersonToAdd} person
   */
  #lookAgain({ photos, nSending }) {
    if (nSending || photos.some(({ state }) => state === "waiting")) {
      return;
    }
    const several = photos.filter(({ reason, state, isSecond }) => state === "refused" && reason === "several_faces" && !isSecond);
    if (several.length > 1 || (several.length && photos.some(({ state }) => state === "added"))) {
      several.forEach((photo) => Object.assign(photo, { state: "waiting", isAlone: false, isSecond: true }));
    }
  }
}

/**
 * The first photos that fit into one request, one at least.
 * @param {Upload[]} photos
 * @param {number} most
 */
function firstOf(photos, most) {
  let bytes = 0;
  const n = photos.slice(0, most).findIndex(({ file }) => {
    bytes += file.size;
    return bytes > BATCH_BYTES;
  });
  return photos.slice(0, n < 0 ? most : Math.max(n, 1));
}
