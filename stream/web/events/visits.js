// Visits of a day: a row for each person, with bars over the hours; the filters are in the address.

import { api, attempt } from "../connection/api.js";
import { byId, h, portrait, setText } from "../page/dom.js";
import { routeTo } from "../page/router.js";
import { amount, counted, duration } from "../page/text.js";
import { boundsOf, dayBeside, dayText, otherZone, timeText } from "../page/time.js";
import { Attendance } from "./attendance.js";
import { describeVisit, rowsOf, visitsPerHour } from "./visit_rows.js";

/** @import { Cameras } from "../cameras/cameras.js" */
/** @import { Presence, Visit, Visits } from "../connection/schemas.js" */
/** @import { Socket } from "../connection/socket.js" */
/** @import { Router } from "../page/router.js" */
/** @import { Row } from "./visit_rows.js" */

const TYPING_MS = 350;
const LIVE_MS = 1000; // after an event: those of the same moment are read at once
const TICK_MS = 5000;
const MAX_VISITS = 10_000; // as many as one answer has
const ZOOMS = [1, 2, 4, 8, 16];
const MARK_HOURS = [3, 2, 1, 0.5, 0.25]; // between two marks of the axis
const MIN_BAR = 0.002; // of the day, so that a short visit can be seen and clicked
const SVG = "http://www.w3.org/2000/svg";

export class DayOfVisits {
  #router;
  #cameras;
  #day = byId("visit-day", HTMLInputElement);
  #camera = byId("visit-camera", HTMLSelectElement);
  #name = byId("visit-name", HTMLInputElement);
  #attendance = new Attendance();
  #zoom = 1;
  #drawnZoom = 1;
  #isShown = false;
  #generation = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #live;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #tick;

  /**
   * @param {Socket} socket
   * @param {Router} router
   * @param {Cameras} cameras
   */
  constructor(socket, router, cameras) {
    this.#router = router;
    this.#cameras = cameras;
    socket.on("event", () => {
      if (this.#isShown) {
        this.#live ??= setTimeout(() => attempt(this.refresh()), LIVE_MS);
      }
    });
    byId("view-visits").append(this.#attendance.element);
    this.#attendance.onDays = () => this.#go();
    byId("visit-filters").addEventListener("submit", (event) => event.preventDefault());
    for (const field of [this.#day, this.#camera, this.#name]) {
      field.addEventListener("input", () => {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#go(), field === this.#name ? TYPING_MS : 0);
      });
    }
    byId("visit-before").addEventListener("click", () => this.#step(-1));
    byId("visit-after").addEventListener("click", () => this.#step(1));
    byId("visit-out").addEventListener("click", () => this.#zoomBy(-1));
    byId("visit-in").addEventListener("click", () => this.#zoomBy(1));
  }

  /** @param {URLSearchParams} query of the address */
  async show(query) {
    this.#isShown = true;
    const camera = query.get("camera") ?? "";
    const names = this.#cameras.all.map(({ name }) => name);
    const all = camera && !names.includes(camera) ? [...names, camera] : names;
    this.#camera.replaceChildren(
      h("option", { value: "" }, "All cameras"),
      ...all.map((name) => h("option", { value: name, selected: name === camera }, name)));
    this.#day.value = query.get("day") || today();
    this.#day.value ||= today(); // an address that names no day
    this.#attendance.choose(this.#day.value, query);
    if (this.#name.value.trim() !== (query.get("name") ?? "")) {
      this.#name.value = query.get("name") ?? "";
    }
    const zoom = Number(query.get("zoom"));
    this.#zoom = ZOOMS.includes(zoom) ? zoom : 1;
    clearInterval(this.#tick);
    this.#tick = setInterval(() => document.hidden || attempt(this.refresh()), TICK_MS);
    await this.refresh();
  }

  hide() {
    this.#isShown = false;
    clearInterval(this.#tick);
    clearTimeout(this.#timer);
  }

  /** Read the day again, such as after an event. */
  async refresh() {
    clearTimeout(this.#live);
    this.#live = undefined;
    if (!this.#isShown) {
      return;
    }
    const generation = ++this.#generation;
    const [from, to] = boundsOf(this.#day.value);
    const query = new URLSearchParams({ after: from.toISOString(), before: to.toISOString() });
    if (this.#camera.value) {
      query.set("camera", this.#camera.value);
    }
    if (this.#name.value.trim()) {
      query.set("name", this.#name.value.trim());
    }
    /** @type {Presence} */
    const presence = await api("GET", "api/presence");
    /** @type {Visits} */
    const { visits, cursor } = await api("GET", `api/visits?limit=${MAX_VISITS}&${query}`);
    if (generation !== this.#generation || !this.#isShown) {
      return; // another day was chosen meanwhile
    }
    const rows = rowsOf(visits, from.getTime(), to.getTime(), Date.now());
    this.#showExports(query);
    await this.#attendance.show(this.#name.value.trim());
    this.#showPresence(presence);
    this.#showHours(visits, from, to);
    this.#showRows(rows, from, to);
    const known = amount(rows.filter(({ isKnown }) => isKnown).length, "known person", "known people");
    const zone = otherZone();
    setText(byId("visit-summary"), [
      `${counted(visits.length, "visit")}, ${known}`,
      ...(cursor === null ? [] : ["earlier ones of this day are left out"]),
      ...(zone ? [`time of ${zone}`] : []),
    ].join(" · "));
    const isFiltered = this.#camera.value || this.#name.value.trim();
    byId("visit-chart").hidden = byId("visit-hours").hidden = rows.length === 0;
    byId("visit-empty").hidden = rows.length > 0;
    setText(byId("visit-empty"), isFiltered
      ? "No visits match these filters on this day."
      : "Nobody came into view on this day. Visits appear here as people pass a camera.");
  }

  /** @param {URLSearchParams} query */
  #showExports(query) {
    const day = this.#day.value;
    const link = (/** @type {string} */ id) => byId(id, HTMLAnchorElement);
    link("visit-csv").href = `api/visits?limit=${MAX_VISITS}&${query}&format=csv`;
    link("visit-json").href = `api/visits?limit=${MAX_VISITS}&${query}&format=json`;
    const name = this.#name.value.trim();
    link("visit-report").href = `api/report?${new URLSearchParams({ from: day, to: day, ...(name && { name }), format: "csv" })}`;
  }

  /** @param {Presence} presence */
  #showPresence({ count, cameras }) {
    setText(byId("present-count"), count === 0 ? "Nobody is in view now" : `${count} in view now`);
    byId("present").replaceChildren(...cameras.map((each) => h("li", { class: "present-camera" },
      h("a", { href: routeTo("live", each.camera) }, each.camera),
      h("strong", {}, String(each.count)),
      h("span", { class: "hint" }, presentText(each)))));
  }

  /**
   * @param {Visit[]} visits
   * @param {Date} from
   * @param {Date} to
   */
  #showHours(visits, from, to) {
    const counts = visitsPerHour(visits, from.getTime(), to.getTime());
    const most = Math.max(1, ...counts);
    const plot = svg("svg", { viewBox: `0 0 ${counts.length * 10} 44`, preserveAspectRatio: "none", role: "img", class: "hours-plot" });
    const busy = counts.flatMap((n, hour) => (n ? [`${clockOf(from, hour)}: ${n}`] : []));
    plot.setAttribute("aria-label", `Visits per hour. ${busy.join(", ") || "None"}`);
    counts.forEach((n, hour) => {
      const height = Math.max(n ? 2 : 0.5, 42 * n / most);
      plot.append(svg("rect", { x: hour * 10 + 1, y: 44 - height, width: 8, height, rx: 1 }));
    });
    byId("visit-hours").replaceChildren(
      h("p", { class: "hint" }, `Visits per hour, at most ${Math.max(...counts, 0)}`), plot);
  }

  /**
   * @param {Row[]} rows
   * @param {Date} from
   * @param {Date} to
   */
  #showRows(rows, from, to) {
    const hours = Math.round((to.getTime() - from.getTime()) / 3_600_000);
    const step = MARK_HOURS[ZOOMS.indexOf(this.#zoom)];
    const axis = h("div", { class: "visit-axis", "aria-hidden": "true" });
    for (let hour = 0; hour < hours; hour += step) {
      const mark = h("span", {}, clockOf(from, hour));
      mark.style.left = `${100 * hour / hours}%`;
      axis.append(mark);
    }
    const chart = byId("visit-chart");
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.visit : undefined;
    const list = h("ul", { class: "visit-rows" }, ...rows.map((row) => this.#row(row)));
    const inner = h("div", { class: "visit-inner" }, h("div", { class: "visit-row" }, h("span", { class: "visit-who" }), axis), list);
    inner.style.setProperty("--zoom", String(this.#zoom));
    const before = chart.scrollLeft;
    const heads = () => /** @type {HTMLElement | null} */ (chart.querySelector(".visit-who"))?.offsetWidth ?? 0; // stay at the left
    const half = () => (chart.clientWidth - heads()) / 2;
    const middle = this.#drawnZoom === 1 ? middleOf(rows) : (before + half()) / (chart.scrollWidth - heads());
    chart.replaceChildren(inner);
    chart.scrollLeft = this.#zoom === this.#drawnZoom ? before : middle * (chart.scrollWidth - heads()) - half();
    this.#drawnZoom = this.#zoom;
    if (focused) {
      /** @type {HTMLElement | null} */ (chart.querySelector(`[data-visit="${focused}"]`))?.focus({ preventScroll: true });
    }
    byId("visit-out", HTMLButtonElement).disabled = this.#zoom === ZOOMS[0];
    byId("visit-in", HTMLButtonElement).disabled = this.#zoom === ZOOMS.at(-1);
    byId("visit-after", HTMLButtonElement).disabled = this.#day.value >= today();
  }

  /** @param {Row} row */
  #row(row) {
    const bars = h("ul", { class: "visit-bars" }, ...row.bars.map(({ visit, left, width }) => {
      const text = describeVisit(row.who, visit);
      const name = row.name ?? visit.visitor ?? "";
      const to = routeTo("events", "", { kind: name ? "faces" : "unknown", name, day: this.#day.value });
      const bar = h("a", { class: "visit-bar", href: to, title: text, "aria-label": text, "data-visit": visit.id, "data-now": visit.ended === null });
      const item = h("li", {}, bar);
      item.style.left = `${100 * Math.min(left, 1 - MIN_BAR)}%`;
      item.style.width = `${100 * Math.max(width, MIN_BAR)}%`;
      return item;
    }));
    return h("li", { class: "visit-row", "data-who": row.who, "data-known": row.isKnown },
      h("div", { class: "visit-who" },
        portrait(row.crop === null ? null : `api/events/${row.crop}/crop.jpg`, row.name),
        h("div", { class: "event-text" },
          h("p", { class: "event-who", dir: "auto" }, h("strong", {}, row.who)),
          h("p", { class: "hint" }, `${counted(row.bars.length, "visit")} · ${duration(row.total_s)}`))),
      bars);
  }

  /** @param {1 | -1} by */
  #step(by) {
    this.#day.value = dayBeside(this.#day.value, by);
    this.#go();
  }

  /** @param {1 | -1} by */
  #zoomBy(by) {
    this.#zoom = ZOOMS[ZOOMS.indexOf(this.#zoom) + by] ?? this.#zoom;
    this.#go();
  }

  #go() {
    this.#router.go(routeTo("visits", "", {
      day: this.#day.value === today() ? "" : this.#day.value,
      camera: this.#camera.value,
      name: this.#name.value.trim(),
      zoom: this.#zoom === 1 ? "" : String(this.#zoom),
      ...this.#attendance.daysBeside(this.#day.value),
    }), { replace: true });
  }
}

/**
 * The middle of the last visit, as a part of the day: what to show of a day that does not fit.
 * @param {Row[]} rows
 */
function middleOf(rows) {
  const last = rows.flatMap(({ bars }) => bars).reduce((a, b) => (b.left > a.left ? b : a), { left: 0.5, width: 0 });
  return last.left + last.width / 2;
}

/** @param {Presence["cameras"][number]} camera */
function presentText({ people, n_unknown: nUnknown }) {
  const names = people.map(({ name }) => name);
  return [...names, ...(nUnknown ? [counted(nUnknown, "unknown face")] : [])].join(", ");
}

/**
 * @param {Date} from
 * @param {number} hour after it
 */
function clockOf(from, hour) {
  return timeText(new Date(from.getTime() + hour * 3_600_000), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

function today() {
  return dayText(new Date());
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 */
function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, String(value)));
  return element;
}
