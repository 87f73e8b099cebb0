// Attendance: when each person was seen first and last on some days, and for how long.

import { api, attempt } from "../connection/api.js";
import { h, setText } from "../page/dom.js";

/**
 * @typedef {{day: string, name: string | null, visitor: string | null, first_seen: string, last_seen: string,
 *   total_s: number, n_visits: number, is_exact: boolean}} Attended
 */

export class Attendance {
  #from = h("input", { type: "date", id: "attendance-from", required: true, onchange: () => this.onDays() });
  #to = h("input", { type: "date", id: "attendance-to", required: true, onchange: () => this.onDays() });
  #csv = h("a", { class: "button small", id: "attendance-csv", download: true }, "CSV");
  #status = h("p", { class: "hint", role: "status" });
  #rows = h("tbody");
  #table = h("table", { class: "attendance" },
    h("thead", {}, h("tr", {}, ...["Day", "Person", "First seen", "Last seen", "Total", "Visits"].map((title) => h("th", { scope: "col" }, title)))),
    this.#rows);
  #day = "";
  #name = "";
  #generation = 0;
  /** Called when other days are chosen. */
  onDays = () => {};
  element = h("details", { class: "panel", id: "attendance", ontoggle: () => attempt(this.refresh()) },
    h("summary", {}, "Attendance"),
    h("form", { class: "filters", "aria-label": "Days of the attendance", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
      h("label", { class: "field" }, h("span", {}, "From"), this.#from),
      h("label", { class: "field" }, h("span", {}, "To"), this.#to)),
    h("div", { class: "attendance-head" }, this.#status, this.#csv),
    h("div", { class: "attendance-rows", tabindex: 0, role: "region", "aria-label": "Attendance" }, this.#table));

  /**
   * The chosen days, as they are written in an address: empty where they are the day of the visits, or
   * that day is another now.
   * @param {string} day YYYY-MM-DD, of the visits
   */
  daysBeside(day) {
    const [from, to] = [this.#from.value, this.#to.value];
    return day !== this.#day || (from === day && to === day) ? { from: "", to: "" } : { from, to };
  }

  /**
   * Choose the days.
   * @param {string} day YYYY-MM-DD, of the visits
   * @param {URLSearchParams} query of the address
   */
  choose(day, query) {
    this.#day = day;
    this.#from.value = query.get("from") || day;
    this.#to.value = query.get("to") || day;
    this.element.open ||= query.has("from") || query.has("to");
  }

  /**
   * Read the days again.
   * @param {string} name only of this person; "" for all
   */
  async show(name) {
    this.#name = name;
    await this.refresh();
  }

  /** Read the days again if the table is open. */
  async refresh() {
    if (!this.element.open || !this.#from.value || !this.#to.value) {
      return;
    }
    const generation = ++this.#generation;
    const query = new URLSearchParams({ from: this.#from.value, to: this.#to.value, ...(this.#name && { name: this.#name }) });
    this.#csv.href = `api/report?${query}&format=csv`;
    const rows = /** @type {Attended[]} */ (await api("GET", `api/report?${query}`));
    if (generation !== this.#generation) {
      return;
    }
    this.#table.hidden = rows.length === 0;
    setText(this.#status, rows.length === 0 ? "Nobody was seen on these days."
      : rows.some(({ is_exact: isExact }) => !isExact) ? "≈: a visit goes on, or the service was killed during it." : "");
    this.#rows.replaceChildren(...rows.map((row) => h("tr", {}, ...cellsOf(row).map((text, column) =>
      h(column === 1 ? "th" : "td", column === 1 ? { scope: "row", dir: "auto" } : {}, text)))));
  }
}

/**
 * The cells of a row; times as the service's time zone shows them.
 * @param {Attended} row
 */
export function cellsOf({ day, name, visitor, first_seen: first, last_seen: last, total_s: total, n_visits: n, is_exact: isExact }) {
  return [day, name ?? visitor ?? "Unknown faces", clockOf(first), clockOf(last), `${isExact ? "" : "≈ "}${hoursOf(total)}`, String(n)];
}

/** @param {number} seconds */
function hoursOf(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")} h`;
}

/** @param {string} time ISO 8601 with its offset */
function clockOf(time) {
  return time.slice(11, 16);
}
