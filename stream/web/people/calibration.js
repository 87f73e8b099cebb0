// The threshold measured on the enrolled people, with the plot of their similarities.

import { ApiError, api, attempt } from "../connection/api.js";
import { h, setText } from "../page/dom.js";
import { sentence } from "../page/text.js";
import { Turns } from "../page/turns.js";
import { barsOf, scale, ticksOf } from "./histogram.js";

/** @import { Bar, Histogram } from "./histogram.js" */

/**
 * @typedef {{far: number, threshold: number, threshold_interval: [number, number], tar: number | null,
 *   stranger_rate: number, impostors: number, genuine: number, people: number, photos: number, in_use: number,
 *   alike: {name_a: string, name_b: string, similarity: number}[], histogram: Histogram}} Calibration
 */

const SPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [640, 200, 10, 34, 44];
/** @type {[number, string][]} */
const RATES = [[0.05, "1 in 20"], [0.01, "1 in 100"], [0.001, "1 in 1,000"], [0.0001, "1 in 10,000"], [0.00001, "1 in 100,000"]];

/** The panel. */
export class CalibrationPanel {
  #turns = new Turns(); // the answer for a rate chosen before would overwrite a later one
  #far = h("select", { id: "calibration-far", onchange: () => attempt(this.load()) },
    ...RATES.map(([far, text]) => h("option", { value: far, selected: far === 0.001 }, text)));
  #status = h("p", { class: "calibration-status", role: "status" });
  #body = h("div", { class: "calibration" });
  element = h("section", { class: "panel", id: "calibration", "aria-labelledby": "calibration-title", hidden: true },
    h("div", { class: "panel-head" }, h("h3", { id: "calibration-title", tabindex: -1 }, "Threshold")),
    h("p", { class: "hint" }, "Two faces with at least this similarity count as the same person. Here it is measured on your own photos: each is compared with all others."),
    h("label", { class: "field calibration-far" }, h("span", {}, "Confused at most"), this.#far),
    this.#status, this.#body);

  /** Measure, and show it. */
  load() {
    return this.#turns.run(() => this.#load());
  }

  async #load() {
    setText(this.#status, "Comparing all photos.");
    try {
      this.#show(await api("GET", `api/gallery/calibration?far=${this.#far.value}`));
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409) {
        setText(this.#status, "");
        throw error;
      }
      setText(this.#status, `Too few people to measure this. ${sentence(error.message)}.`);
      this.#body.replaceChildren(h("p", { class: "hint" },
        "Enroll more people, with two photos or more of each, or choose a larger rate above. Until then facewire uses the threshold of its recognition model, which suits most places."));
    }
  }

  /** @param {Calibration} measured */
  #show(measured) {
    const { threshold, threshold_interval: [low, high], tar, far, stranger_rate: strangers, impostors, genuine, people, photos, in_use: inUse, alike } = measured;
    setText(this.#status, `A threshold of ${threshold.toFixed(3)} confuses at most ${textOfRate(far)} pairs of different people${tar === null ? "" : ` and accepts ${percent(tar)} of the same person`}.`);
    const rows = [
      ["Measured threshold", `${threshold.toFixed(3)} (95 % interval ${low.toFixed(3)} to ${high.toFixed(3)})`],
      ["In use", inUse.toFixed(3)],
      ["Same person accepted (TAR)", tar === null ? "unknown: nobody has two photos" : percent(tar)],
      ["Different people confused (FAR)", `${percent(far)} of pairs`],
      ["Strangers named as somebody", percent(strangers)],
      ["Compared", `${impostors.toLocaleString()} pairs of different people, ${genuine.toLocaleString()} of the same, from ${photos.toLocaleString()} photos of ${people.toLocaleString()} people`],
    ];
    this.#body.replaceChildren(
      h("div", { class: "plot" }, plot(measured)),
      h("ul", { class: "legend" }, h("li", { class: "impostor" }, "Different people"), h("li", { class: "genuine" }, "Same person"),
        h("li", { class: "measured" }, "Measured threshold"), h("li", { class: "in-use" }, "Threshold in use")),
      h("dl", { class: "about" }, ...rows.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text)))),
      ...(alike.length ? [h("p", { class: "hint" }, `Above the threshold: ${alike.map(({ name_a: a, name_b: b }) => `${a} and ${b}`).join("; ")}. Needs a look shows them.`)] : []),
      h("p", { class: "hint" }, "Use the measured one with ", h("code", {}, `facewire gallery calibrate --far ${far} --apply`), "."));
  }
}

/** @param {Calibration} measured */
function plot({ histogram, threshold, in_use: inUse, tar }) {
  const width = WIDTH - 2 * LEFT;
  const { genuine, impostor, from, to } = barsOf(histogram, { width, height: HEIGHT });
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${TOP + HEIGHT + BOTTOM}`, role: "img", class: "histogram",
    "aria-label": `Similarities of photos: different people on the left, the same person on the right, threshold ${threshold.toFixed(3)}${tar === null ? "" : `, ${percent(tar)} of the same person above it`}` });
  const area = element("g", { transform: `translate(${LEFT} ${TOP})` });
  /**
   * @param {Bar[]} bars
   * @param {string} kind
   */
  const draw = (bars, kind) => bars.filter(({ height }) => height > 0).forEach(({ x, y, width: w, height, share, from: low, to: high }) => {
    const bar = element("rect", { x, y, width: Math.max(w - 1, 0.5), height, class: `bar ${kind}` });
    const title = element("title", {});
    title.textContent = `${low.toFixed(2)} to ${high.toFixed(2)}: ${percent(share)}`;
    bar.append(title);
    area.append(bar);
  });
  draw(impostor, "impostor");
  draw(genuine, "genuine");
  area.append(element("line", { x1: 0, x2: width, y1: HEIGHT, y2: HEIGHT, class: "axis" }));
  ticksOf(from, to).forEach((tick) => area.append(label(scale(tick, from, to, width), HEIGHT + 16, tick.toFixed(1), "tick")));
  area.append(label(width / 2, HEIGHT + 36, "similarity", "tick"));
  /** @type {[number, string][]} */
  const lines = [[inUse, "in-use"], [threshold, "measured"]];
  lines.forEach(([value, kind]) => {
    const x = scale(value, from, to, width);
    area.append(element("line", { x1: x, x2: x, y1: -12, y2: HEIGHT, class: `threshold ${kind}` }));
  });
  area.append(label(scale(threshold, from, to, width), -18, threshold.toFixed(3), "tick"));
  svg.append(area);
  return svg;
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 */
function element(tag, attributes) {
  const made = document.createElementNS(SPACE, tag);
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, String(value)));
  return made;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} text
 * @param {string} kind
 */
function label(x, y, text, kind) {
  const made = element("text", { x, y, "text-anchor": "middle", class: kind });
  made.textContent = text;
  return made;
}

/** @param {number} rate */
function percent(rate) {
  return `${Number((100 * rate).toPrecision(3))} %`;
}

/** @param {number} far */
function textOfRate(far) {
  return RATES.find(([rate]) => rate === far)?.[1] ?? percent(far);
}
