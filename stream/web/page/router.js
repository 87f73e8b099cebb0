// Addresses of the page: #/wall, #/live/NAME, #/events?camera=NAME, #/visits?day=DAY, #/people/look, #/settings, #/rules.

import { byId, find } from "./dom.js";
import { Emitter } from "./emitter.js";

/**
 * The target of an address; `view` is "" if it names none.
 * @typedef {{view: string, name: string, query: URLSearchParams}} Route
 */

const VIEWS = ["wall", "live", "events", "visits", "people", "search", "settings", "rules"];

/**
 * Parse an address; `view` is "" if it names none, so that the page chooses.
 * @param {string} hash
 * @returns {Route}
 */
export function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, name = ""] = path.split("/");
  const isKnown = VIEWS.includes(view) && (view !== "live" || name !== "");
  return isKnown
    ? { view, name: decode(name), query: new URLSearchParams(query) }
    : { view: "", name: "", query: new URLSearchParams() };
}

/**
 * Format an address; empty values of the query are omitted.
 * @param {string} view
 * @param {string} name of a camera
 * @param {Record<string, string>} query
 */
export function routeTo(view, name = "", query = {}) {
  const filled = Object.entries(query).filter(([, value]) => value);
  const search = filled.length ? `?${new URLSearchParams(filled)}` : "";
  return `#/${view}${name ? `/${encodeURIComponent(name)}` : ""}${search}`;
}

/**
 * Event: "route" when the address changes, and at the start.
 * @extends {Emitter<{route: Route & {isFirst: boolean}}>}
 */
export class Router extends Emitter {
  #isFirst = true;

  constructor() {
    super();
    window.addEventListener("hashchange", () => this.start());
  }

  /** Emit the current route. */
  start() {
    const route = { ...parseRoute(location.hash), isFirst: this.#isFirst };
    this.#isFirst = false;
    this.emit("route", route);
  }

  /**
   * Navigate; `replace` leaves no step for the back button.
   * @param {string} hash
   */
  go(hash, { replace = false } = {}) {
    if (location.hash === hash) {
      return;
    }
    if (replace) {
      history.replaceState(null, "", hash);
      this.start();
    } else {
      location.hash = hash;
    }
  }
}

/**
 * Show one view, mark it in the navigation, and focus its heading.
 * @param {Route & {isFirst: boolean}} route
 */
export function showView({ view, name, isFirst }) {
  for (const each of VIEWS) {
    byId(`view-${each}`).hidden = each !== view;
  }
  const current = { live: "wall", visits: "events", search: "events", rules: "settings" }[view] ?? view;
  for (const link of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".nav a"))) {
    if (link.dataset.view === current) {
      link.setAttribute("aria-current", current === view ? "page" : "true");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  const heading = find(byId(`view-${view}`), "h2");
  document.title = `${view === "live" ? name : heading.textContent} · facewire`;
  if (!isFirst) {
    window.scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
