// Settings: the cameras with their states, and information about the service.

import { settingsText, stateText } from "../cameras/camera_text.js";
import { RotationHint } from "../cameras/rotation_hint.js";
import { api, attempt } from "../connection/api.js";
import { byId, glyph, h, setText } from "../page/dom.js";
import { routeTo } from "../page/router.js";
import { amount, duration, sentence } from "../page/text.js";

/** @import { Cameras } from "../cameras/cameras.js" */
/** @import { Camera, Machine } from "../connection/schemas.js" */

/**
 * The response of GET /api/about.
 * @typedef {{device: string, engine: string, model: string, threshold: number, keep_days: number,
 *   keep_mib: number, used_mib: number, needs_token: boolean}} About
 */

/**
 * One of the response of GET /api/integrations.
 * @typedef {{name: string, where: string, is_working: boolean, detail: string, trouble: string}} Integration
 */

/** @typedef {ReturnType<typeof makeCard>} Card */

/** @type {Record<string, string>} */
const DEVICES = { cpu: "CPU", cuda: "GPU (CUDA)" };

export class Settings {
  #cameras;
  /** @type {Map<string, Card>} */
  #cards = new Map();
  #isShown = false;

  /** @param {Cameras} cameras */
  constructor(cameras) {
    this.#cameras = cameras;
    cameras.on("change", () => this.#update());
    byId("add-camera").addEventListener("click", () => cameras.add());
  }

  async show() {
    this.#isShown = true;
    this.#update();
    const [health, about, { integrations }] = await Promise.all([
      api("GET", "healthz"), api("GET", "api/about"), api("GET", "api/integrations"),
    ]);
    for (const [id, lines] of [["health", health.problems], ["notices", health.notices]]) {
      byId(id).hidden = lines.length === 0;
      setText(byId(id), lines.map(sentence).join(". "));
    }
    byId("about").replaceChildren(...aboutRows(about).map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text))));
    byId("sign-out").hidden = !about.needs_token;
    byId("machines").hidden = health.machines.length < 2;
    byId("machine-list").replaceChildren(...health.machines.map(machineItem));
    byId("integrations").hidden = integrations.length === 0;
    byId("integration-list").replaceChildren(...integrations.map(integrationItem));
  }

  hide() {
    this.#isShown = false;
  }

  #update() {
    if (!this.#isShown) {
      return;
    }
    for (const [name, card] of this.#cards) {
      if (!this.#cameras.find(name)) {
        card.item.remove();
        this.#cards.delete(name);
      }
    }
    for (const camera of this.#cameras.all) {
      let card = this.#cards.get(camera.name);
      if (!card) {
        card = makeCard(this.#cameras, camera.name);
        this.#cards.set(camera.name, card);
        byId("camera-list").append(card.item);
      }
      this.#fill(card, camera);
    }
    byId("cameras-empty").hidden = !this.#cameras.isKnown || this.#cameras.all.length > 0;
  }

  /**
   * @param {Card} card
   * @param {Camera} camera
   */
  #fill(card, camera) {
    card.item.dataset.state = camera.state;
    setText(card.name, this.#cameras.titleOf(camera.name));
    setText(card.state, stateText(camera));
    setText(card.reason, camera.state === "live" ? "" : sentence(camera.reason));
    setText(card.url, camera.is_pushed ? "Sent by a browser or encoder" : camera.url); // viewers see none
    setText(card.settings, settingsText(camera.settings));
    const isOfSeveral = this.#cameras.all.some(({ machine }) => machine !== camera.machine);
    setText(card.machine, isOfSeveral ? `On ${camera.machine}` : "");
    for (const part of [card.reason, card.machine, card.url, card.settings]) {
      part.hidden = !part.textContent;
    }
    card.hint.show(camera);
    card.turn.setAttribute("aria-checked", String(camera.settings.enabled));
  }
}

/**
 * Information about the service: pairs of term and value.
 * @param {About} about
 * @returns {[string, string][]}
 */
export function aboutRows(about) {
  return [
    ["Recognition runs on", `${DEVICES[about.device] ?? about.device}, by ${about.engine}`],
    ["Model", about.model.slice(0, 16)],
    ["A face is a match from", `similarity ${about.threshold.toFixed(3)} (−1 to 1)`],
    ["Events are kept for", `${amount(about.keep_days, "day")}, at most ${amount(about.keep_mib, "MiB", "MiB")}`],
    ["Events use now", amount(about.used_mib, "MiB", "MiB")],
  ];
}

/** @param {Machine} machine */
function machineItem(machine) {
  return h("li", { class: "camera-item", "data-state": machine.state === "ok" ? "live" : "failing" },
    h("div", { class: "camera-text" },
      h("span", { class: "camera-name" }, machine.name),
      h("p", { class: "camera-state" }, machineText(machine)),
      ...machine.problems.map((problem) => h("p", { class: "camera-reason" }, sentence(problem))),
      h("p", { class: "camera-settings" }, `facewire ${machine.version}`)));
}

/**
 * A machine's state: "Works · 3 cameras · this page is from it".
 * @param {Machine} machine
 */
export function machineText({ state, seen_s, cameras, is_this }) {
  const states = { ok: "Works", away: `Away for ${duration(seen_s)}`, unreachable: "Cannot be reached" };
  return `${states[state]} · ${amount(cameras, "camera")}${is_this ? " · this page is from it" : ""}`;
}

/** @param {Integration} integration */
function integrationItem({ name, where, is_working, detail, trouble }) {
  return h("li", { class: "camera-item", "data-state": is_working ? "live" : "failing" },
    h("div", { class: "camera-text" },
      h("span", { class: "camera-name" }, name),
      h("p", { class: "camera-state" }, is_working ? "Works" : "Does not work"),
      ...(trouble ? [h("p", { class: "camera-reason" }, sentence(trouble))] : []),
      ...(where ? [h("p", { class: "camera-url" }, where)] : []),
      h("p", { class: "camera-settings" }, sentence(detail))));
}

/**
 * @param {Cameras} cameras
 * @param {string} name
 */
function makeCard(cameras, name) {
  /**
   * @param {string} icon
   * @param {string} label
   * @param {() => void} onclick
   */
  const tool = (icon, label, onclick, kind = "") =>
    h("button", { type: "button", class: `icon-button ${kind}`, "aria-label": `${label} ${name}`, title: label, onclick }, glyph(icon));
  const parts = {
    name: h("a", { class: "camera-name", href: routeTo("live", name) }),
    state: h("p", { class: "camera-state" }),
    reason: h("p", { class: "camera-reason" }),
    machine: h("p", { class: "camera-settings" }),
    url: h("p", { class: "camera-url" }),
    settings: h("p", { class: "camera-settings" }),
  };
  const hint = new RotationHint(cameras);
  const turn = h("button", { type: "button", role: "switch", class: "switch", "aria-label": `${name} is on` });
  turn.addEventListener("click", () => {
    attempt(cameras.turn(name, turn.getAttribute("aria-checked") !== "true"));
  });
  const item = h("li", { class: "camera-item", "data-camera": name },
    h("div", { class: "camera-text" }, ...Object.values(parts), hint.element),
    h("div", { class: "camera-tools", "data-changes": true },
      turn,
      tool("pen", "Change", () => cameras.edit(name)),
      tool("trash", "Remove", () => cameras.remove(name), "remove")));
  return { ...parts, hint, turn, item };
}
