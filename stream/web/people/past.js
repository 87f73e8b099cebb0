// What is proposed for a person: past sightings of unknown faces that look like them.

import { api, encode, attempt } from "../connection/api.js";
import { h, portrait, setText, toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { counted } from "../page/text.js";
import { timeText } from "../page/time.js";

/** @import { Identity } from "../connection/schemas.js" */

const SHOWN = 12;

/** @typedef {{count: number, since: string | null, matches: {event: {id: number, at: string, camera: string, has_crop: boolean}, similarity: number}[]}} PastAnswer */

/**
 * The panel. Event: "named" after the past got the name.
 * @extends {Emitter<{named: void}>}
 */
export class Past extends Emitter {
  /** @type {Identity} */
  #person = { identity_id: "", name: "" };
  /** @type {number[]} */
  #ids = [];
  #text = h("p", { role: "status" });
  #crops = h("ul", { class: "past-crops", "aria-label": "Past sightings" });
  element = h("div", { class: "past", id: "past", hidden: true },
    this.#text, this.#crops,
    h("button", { type: "button", class: "button small primary", "data-changes": true, onclick: () => attempt(this.#accept()) }, "Give them the name"));

  /** @param {Identity} person */
  async load(person) {
    if (person.identity_id !== this.#person.identity_id) {
      this.element.hidden = true;
    }
    this.#person = person;
    /** @type {PastAnswer} */
    const { matches, since } = await api("GET", `api/identities/${encode(person.identity_id)}/past`);
    if (person !== this.#person) {
      return; // another person is shown by now
    }
    this.#ids = matches.map(({ event }) => event.id);
    this.element.hidden = matches.length === 0;
    setText(this.#text, since === null ? "" : pastText(matches.length, new Date(since)));
    this.#crops.replaceChildren(...matches.slice(0, SHOWN).map(({ event }) => h("li", { title: `${event.camera}, ${timeText(new Date(event.at))}` },
      portrait(event.has_crop ? `api/events/${event.id}/crop.jpg` : null, null))));
  }

  async #accept() {
    await accept(this.#person, this.#ids);
    this.element.hidden = true;
    this.emit("named");
  }
}

/**
 * Offer to give the name to a person's past, right after a face got it; shows nothing without one.
 * @param {Identity} person
 * @param {() => void} named called after the past got the name
 */
export async function offerPast(person, named) {
  /** @type {PastAnswer} */
  const { matches, since } = await api("GET", `api/identities/${encode(person.identity_id)}/past`);
  if (since === null) {
    return;
  }
  const ids = matches.map(({ event }) => event.id);
  const run = () => attempt(accept(person, ids).then(named));
  toast(pastText(ids.length, new Date(since)), "good", { label: "Give them the name", run });
}

/**
 * @param {Identity} person
 * @param {number[]} ids of past events
 */
async function accept(person, ids) {
  await api("POST", `api/identities/${encode(person.identity_id)}/past`, { event_ids: ids });
  toast(`${counted(ids.length, "past event")} got the name ${person.name}.`);
}

/**
 * How often a person was seen before their name was known.
 * @param {number} n
 * @param {Date} since
 */
export function pastText(n, since) {
  const day = timeText(since, { dateStyle: "long" });
  return `Seen ${n === 1 ? "once" : `${n} times`} since ${day} as an unknown face. Are these all the same person?`;
}
