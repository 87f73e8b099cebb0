// The events of a list, newest first: live and queried events merged without gaps.

import { attempt } from "../connection/api.js";
import { Emitter } from "../page/emitter.js";

/** @import { Event, Events, Identity } from "../connection/schemas.js" */

/**
 * Events: "put" with an event to insert before the one with the id `before`, at the end if that is
 * null; "replace"; "drop" with an id; "clear"; and "change" after any of them.
 * @extends {Emitter<{
 *   put: {event: Event, before: number | null, isLive: boolean}, replace: Event, drop: number,
 *   clear: void, change: void, name: Event}>}
 */
export class EventLog extends Emitter {
  /** @type {(event: Event) => boolean} */
  #accepts = () => false;
  #query = "";
  /** @type {Event[]} */
  #events = []; // newest first
  /** @type {number | null} */
  #cursor = null;
  #generation = 0;
  /** @type {number | null} */
  #last = null; // the newest id received; ids of the service have no gaps
  /** @type {number | null} */
  #floor = null; // events after this id may be missing
  #page;
  #maxShown;
  #read;

  /**
   * @param {{page: number, maxShown: number, read: (search: string) => Promise<Events>}} options
   *   `page` events are read at a time, at most `maxShown` are kept; `read` queries the service,
   *   newest first.
   */
  constructor({ page, maxShown, read }) {
    super();
    this.#page = page;
    this.#maxShown = maxShown;
    this.#read = read;
  }

  /** @returns {readonly Event[]} newest first */
  get events() {
    return this.#events;
  }

  get length() {
    return this.#events.length;
  }

  get hasOlder() {
    return this.#cursor !== null;
  }

  /**
   * Start over.
   * @param {URLSearchParams} query filters of the service
   * @param {(event: Event) => boolean} accepts the same filters for live events
   */
  async open(query, accepts) {
    this.#query = query.toString();
    this.#accepts = accepts;
    this.clear();
    await this.refresh();
  }

  /** Show nothing until the next `open`. */
  clear() {
    this.#generation += 1;
    this.#events = [];
    this.#cursor = this.#last = this.#floor = null;
    this.emit("clear");
  }

  /**
   * Read the newest events, such as after an outage: page by page until one is already shown, so that
   * no gap remains. If more were missed than fit, older events are dropped.
   */
  async refresh() {
    const generation = ++this.#generation;
    const isEmpty = this.#events.length === 0;
    const floor = (this.#floor ??= this.#last); // kept until all are read, in case this fails
    /** @type {number | null} */
    let cursor = null;
    let nRead = 0;
    let isWhole = isEmpty;
    do {
      const answer = await this.#readPage(cursor, generation);
      if (!answer) {
        return; // another filter was chosen, or a newer refresh reads the same
      }
      answer.events.forEach((event) => this.#put(event));
      this.#last = Math.max(this.#last ?? 0, answer.events[0]?.id ?? 0);
      cursor = answer.cursor;
      nRead += answer.events.length;
      isWhole ||= cursor === null || answer.events.some(({ id }) => id <= (floor ?? 0));
    } while (!isWhole && nRead < this.#maxShown);
    if (isEmpty || !isWhole) {
      this.#cursor = cursor;
    }
    if (!isWhole && cursor !== null) {
      this.#dropFrom(this.#events.findIndex(({ id }) => id < cursor));
    }
    this.#floor = null;
    this.#changed();
  }

  /** Read older events than those shown. */
  async older() {
    const answer = await this.#readPage(this.#cursor, this.#generation);
    if (answer) {
      this.#maxShown += this.#page; // keep what a person asked for
      this.#cursor = answer.cursor;
      answer.events.forEach((event) => this.#put(event));
      this.#changed();
    }
  }

  /**
   * Show a live event; if events before it are missing, they are read.
   * @param {Event} event
   */
  add(event) {
    const isGap = this.#last !== null && event.id > this.#last + 1;
    if (isGap) {
      this.#floor ??= this.#last;
    }
    this.#last = Math.max(this.#last ?? 0, event.id);
    if (this.#accepts(event) && this.#put(event, true)) {
      this.#changed();
    }
    if (isGap) {
      attempt(this.refresh());
    }
  }

  /**
   * Show a named event, and the others of its track, under the name.
   * @param {Event} event
   * @param {Identity} identity
   */
  named(event, identity) {
    this.#events = this.#events.map((other) => {
      if (other.track_id !== event.track_id || other.identity_id !== event.identity_id) {
        return other;
      }
      const changed = { ...other, name: identity.name, identity_id: identity.identity_id, similarity: null };
      this.emit("replace", changed);
      return changed;
    });
  }

  /**
   * Read a page of older events than `cursor`; null if another filter was chosen meanwhile.
   * @param {number | null} cursor
   * @param {number} generation
   */
  async #readPage(cursor, generation) {
    const older = cursor === null ? "" : `&cursor=${cursor}`;
    const answer = await this.#read(`limit=${this.#page}&${this.#query}${older}`);
    return generation === this.#generation ? answer : null;
  }

  /**
   * Insert an event; false if it is already shown.
   * @param {Event} event
   * @param {boolean} isLive
   */
  #put(event, isLive = false) {
    // Live events may arrive before older ones that are being read: the id decides the position.
    const found = this.#events.findIndex(({ id }) => id <= event.id);
    const at = found < 0 ? this.#events.length : found;
    const next = this.#events.at(at)?.id ?? null;
    if (next === event.id) {
      return false;
    }
    this.#events.splice(at, 0, event);
    this.emit("put", { event, before: next, isLive });
    return true;
  }

  /** @param {number} index of the first event to drop, -1 for none */
  #dropFrom(index) {
    const dropped = index < 0 ? [] : this.#events.splice(index);
    dropped.forEach(({ id }) => this.emit("drop", id));
    return dropped;
  }

  #changed() {
    const [newest] = this.#dropFrom(this.#maxShown);
    if (newest) {
      this.#cursor = newest.id + 1;
    }
    this.emit("change");
  }
}
