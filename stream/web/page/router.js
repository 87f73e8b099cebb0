// Addresses of the page: #/wall, #/live/NAME, #/events?camera=NAME, #/people, #/settings.

const VIEWS = ["wall", "live", "events", "people", "settings"];

/** Read an address; `view` is "" where it names none, so that the page chooses. */
export function parseRoute(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view, name = ""] = path.split("/");
  const isKnown = VIEWS.includes(view) && (view !== "live" || name !== "");
  return isKnown
    ? { view, name: decode(name), query: new URLSearchParams(query) }
    : { view: "", name: "", query: new URLSearchParams() };
}

/** Write an address; empty values of the query are left out. */
export function routeTo(view, name = "", query = {}) {
  const filled = Object.entries(query).filter(([, value]) => value);
  const search = filled.length ? `?${new URLSearchParams(filled)}` : "";
  return `#/${view}${name ? `/${encodeURIComponent(name)}` : ""}${search}`;
}

/** Event: "route" with {view, name, query, isFirst} when the address changes. */
export class Router extends EventTarget {
  #isFirst = true;

  constructor() {
    super();
    window.addEventListener("hashchange", () => this.start());
  }

  /** Tell where the address leads now. */
  start() {
    const route = { ...parseRoute(location.hash), isFirst: this.#isFirst };
    this.#isFirst = false;
    this.dispatchEvent(new CustomEvent("route", { detail: route }));
  }

  /** Go somewhere; `replace` leaves no step for the back button. */
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

/** Show one view, mark it in the navigation, and bring the focus to its heading. */
export function showView({ view, name, isFirst }) {
  for (const each of VIEWS) {
    document.getElementById(`view-${each}`).hidden = each !== view;
  }
  const current = view === "live" ? "wall" : view;
  for (const link of document.querySelectorAll(".nav a")) {
    if (link.dataset.view === current) {
      link.setAttribute("aria-current", view === "live" ? "true" : "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  const heading = document.querySelector(`#view-${view} h2`);
  document.title = `${view === "live" ? name : heading.textContent} · facewire`;
  if (!isFirst) {
    window.scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
