// Visitors: unknown people who came again, what is proposed about them, and the switch.

import { api, attempt, encode } from "../connection/api.js";
import { confirm } from "../page/dialogs.js";
import { glyph, h, portrait, setChildren, setText, toast } from "../page/dom.js";
import { Emitter } from "../page/emitter.js";
import { mayChange } from "../page/role.js";
import { counted } from "../page/text.js";
import { timeText } from "../page/time.js";
import { Turns } from "../page/turns.js";
import { askNameOfVisitor, cropOf, VisitorSheet } from "./visitor_sheet.js";

/** @import { Visitor } from "./visitor_sheet.js" */
/** @typedef {{proposal_id: number, similarity: number, visitors: [Visitor, Visitor]}} Proposal */

const PAGE = 60; // visitors per request
const SOON_MS = 400; // from an event to the request: a crowd has many at once

/**
 * The panel. Events: "named" after a visitor became a person, "erased" after past events were.
 * @extends {Emitter<{named: void, erased: void}>}
 */
export class Visitors extends Emitter {
  #isIgnored = false;
  #isEnabled = false;
  #turns = new Turns();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #soon;
  /** @type {number | null} */
  #next = null;
  /** @type {Map<string, HTMLElement>} */
  #cards = new Map(); // by what they show
  #sheet = new VisitorSheet();
  #status = h("p", { class: "hint", role: "status" });
  #list = h("ul", { class: "visitors", "aria-label": "Visitors" });
  #proposals = h("ul", { class: "findings", "aria-label": "Maybe the same visitor" });
  #switch = h("button", { type: "button", role: "switch", class: "switch", id: "visitors-switch", "aria-checked": "false", "aria-labelledby": "visitors-switch-label", "aria-describedby": "visitors-switch-hint", "data-changes": true, onclick: () => attempt(this.#toggle()) });
  #hint = h("p", { class: "hint", id: "visitors-switch-hint" });
  #more = h("button", { type: "button", class: "button small people-more", hidden: true, onclick: () => attempt(this.#turns.run(() => this.#readMore())) }, "Show more");
  #ignored = h("button", { type: "button", class: "button small", id: "visitors-ignored", "aria-pressed": "false", onclick: () => this.#showIgnored() }, "Ignored");
  #eraseAll = h("button", { type: "button", class: "button small danger-text", id: "visitors-erase", "data-changes": true, onclick: () => attempt(this.#erase()) }, glyph("trash"), "Erase all");
  element = h("section", { class: "panel", id: "visitors", "aria-labelledby": "visitors-title", hidden: true },
    h("div", { class: "panel-head" },
      h("h3", { id: "visitors-title", tabindex: -1 }, "Visitors"), this.#ignored, this.#eraseAll),
    h("div", { class: "live-options" }, this.#switch,
      h("div", {}, h("label", { for: "visitors-switch", id: "visitors-switch-label" }, "Recognize unknown people who come again"), this.#hint)),
    this.#proposals, this.#status, this.#list, this.#more);

  constructor() {
    super();
    this.#sheet.on("change", () => attempt(this.load()));
    this.#sheet.on("named", () => this.emit("named"));
    this.#sheet.on("erased", () => this.emit("erased"));
  }

  /** Read the visitors and what is proposed. */
  async load() {
    await this.#turns.run(() => this.#read());
  }

  /** Read again shortly if the panel is shown: a visitor was seen. */
  seen() {
    if (this.element.hidden) {
      return;
    }
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => attempt(this.load()), SOON_MS);
  }

  async #read() {
    const { keep_days: days } = await api("GET", "api/visitors/settings");
    const { proposals } = await api("GET", "api/visitors/proposals");
    setText(this.#hint, `Off unless you switch it on: it keeps the faces of people who were not asked, for ${counted(Math.round(days), "day")} after they were last seen. Check what the law of your country allows.`);
    this.#show(await api("GET", `api/visitors?limit=${PAGE}&ignored=${this.#isIgnored}`), true);
    this.#showProposals(this.#isIgnored ? [] : proposals);
  }

  async #readMore() {
    if (this.#next !== null) {
      this.#show(await api("GET", `api/visitors?limit=${PAGE}&ignored=${this.#isIgnored}&cursor=${this.#next}`), false);
    }
  }

  /**
   * @param {{visitors: Visitor[], cursor: number | null, total: number, enabled: boolean}} answer
   * @param {boolean} isAnew else the visitors are appended
   */
  #show({ visitors, cursor, total, enabled }, isAnew) {
    this.#isEnabled = enabled;
    this.#next = cursor;
    this.#switch.setAttribute("aria-checked", String(enabled));
    /** @type {Map<string, HTMLElement>} */
    const cards = new Map(isAnew ? [] : this.#cards);
    for (const visitor of visitors) {
      const key = JSON.stringify(visitor);
      cards.set(key, this.#cards.get(key) ?? this.#card(visitor));
    }
    this.#cards = cards;
    setChildren(this.#list, [...cards.values()]);
    this.#more.hidden = cursor === null;
    this.#eraseAll.hidden = total === 0 || this.#isIgnored;
    setText(this.#status, total ? "" : emptyText({ isEnabled: enabled, isIgnored: this.#isIgnored, mayChange: mayChange() }));
  }

  /** @param {Visitor} visitor */
  #card(visitor) {
    const { visitor_id: id, name } = visitor;
    const text = `${name}, ${seenText(visitor)}`;
    return h("li", { class: "visitor", "data-visitor": id, "data-name": name },
      h("button", { type: "button", class: "person-open", "aria-label": text, onclick: () => attempt(this.#sheet.open(id)) },
        portrait(cropOf(visitor), null),
        h("span", { class: "event-text" },
          h("strong", { class: "event-who" }, name),
          h("span", { class: "event-where" }, seenText(visitor)),
          visitor.is_provisional ? h("span", { class: "event-where" }, "Seen briefly: it may be a known one") : null)),
      h("div", { class: "visitor-tools", "data-changes": true },
        h("button", { type: "button", class: "button small", "aria-label": `Name ${name}`, onclick: () => attempt(this.#name(visitor)) }, "Name"),
        h("button", { type: "button", class: "button small", "aria-label": `${visitor.is_ignored ? "Announce" : "Ignore"} ${name}`, onclick: () => attempt(this.#ignore(visitor)) }, visitor.is_ignored ? "Announce" : "Ignore")));
  }

  /** @param {Proposal[]} proposals */
  #showProposals(proposals) {
    this.#proposals.replaceChildren(...proposals.map(({ proposal_id: id, visitors, similarity }) => {
      const [one, other] = visitors;
      const ignored = visitors.find((visitor) => visitor.is_ignored);
      return h("li", { class: "finding", "data-proposal": String(id) },
        h("div", { class: "finding-photos" }, ...visitors.map((visitor) => h("figure", {},
          portrait(cropOf(visitor), null), h("figcaption", {}, visitor.name)))),
        h("div", { class: "grow finding-text" },
          h("h4", {}, "Maybe the same person"),
          h("p", {}, `${one.name} and ${other.name} are similar (${similarity.toFixed(2)}), too little to be sure.${ignored ? ` ${ignored.name} is ignored.` : ""}`),
          h("div", { class: "finding-tools", "data-changes": true },
            h("button", { type: "button", class: "button small primary", onclick: () => attempt(this.#answer(id, true)) }, ignored ? "The same: ignore it too" : "Same person"),
            h("button", { type: "button", class: "button small", onclick: () => attempt(this.#answer(id, false)) }, "Different people"))));
    }));
  }

  /**
   * @param {number} id
   * @param {boolean | null} isSame null takes back that they are different people
   */
  async #answer(id, isSame) {
    const { visitor } = await api("POST", `api/visitors/proposals/${id}`, { is_same: isSame });
    if (visitor) {
      toast(`They are both ${visitor.name} now. Undo it in its sheet.`);
    } else if (isSame === false) {
      toast("They are kept apart.", "good", { label: "Undo", no: "Close", run: () => attempt(this.#answer(id, null)) });
    }
    await this.load();
  }

  /** @param {Visitor} visitor */
  async #name(visitor) {
    if (await askNameOfVisitor(visitor)) {
      this.emit("named");
      await this.load();
    }
  }

  /** @param {Visitor} visitor */
  async #ignore({ visitor_id: id, name, is_ignored: isIgnored }) {
    await api("POST", `api/visitors/${encode(id)}/ignore`, { is_ignored: !isIgnored });
    toast(isIgnored ? `${name} is announced again.` : `${name} is not announced any more, on any camera.`);
    await this.load();
  }

  #showIgnored() {
    this.#isIgnored = !this.#isIgnored;
    this.#ignored.setAttribute("aria-pressed", String(this.#isIgnored));
    attempt(this.load());
  }

  async #toggle() {
    const enabled = !this.#isEnabled;
    await api("PUT", "api/visitors/settings", { enabled });
    toast(enabled ? "Unknown people who come again are recognized from now on."
      : "No visitors are kept from now on. Those that were stay until they are erased. Ignored ones are announced meanwhile.");
    await this.load();
  }

  async #erase() {
    const erased = await confirm({
      title: "Erase all visitors?",
      text: "This erases every visitor with their crops and events, also ignored ones, such as posters: they are announced again. This cannot be undone.",
      yes: "Erase all visitors",
      run: () => api("DELETE", "api/visitors"),
    });
    if (erased) {
      toast("All visitors were erased.");
      this.emit("erased");
      await this.load();
    }
  }
}

/**
 * How often, where and when a visitor was seen.
 * @param {Pick<Visitor, "visit_count" | "cameras" | "last_seen">} visitor
 */
export function seenText({ visit_count: n, cameras, last_seen: last }) {
  const times = n === 1 ? "Seen once" : `Seen ${n} times`;
  const when = timeText(new Date(last), { dateStyle: "medium", timeStyle: "short" });
  return [times, cameras.join(", "), when].filter(Boolean).join(" · ");
}

/**
 * What an empty list says.
 * @param {{isEnabled: boolean, isIgnored: boolean, mayChange: boolean}} state
 */
export function emptyText({ isEnabled, isIgnored, mayChange: isAdmin }) {
  if (isIgnored) {
    return "No visitor is ignored. Ignore a poster in the hall, for example: it is never announced again.";
  }
  return isEnabled
    ? "No visitors yet. An unknown person who is seen appears here, at first as seen briefly: until the face was seen well for two seconds, or twice."
    : `Visitors are not kept.${isAdmin ? " Switch it on to recognize the unknown people who come again." : ""}`;
}
