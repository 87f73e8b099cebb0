// Notifications: this device, the rules with their state, and the devices that are notified.

import { api, apiList, attempt, encode } from "../connection/api.js";
import { confirm } from "../page/dialogs.js";
import { byId, glyph, h, setChildren, setText, toast } from "../page/dom.js";
import { mayChange } from "../page/role.js";
import { messageOf, sentence } from "../page/text.js";
import { timeText } from "../page/time.js";
import { Turns } from "../page/turns.js";
import { deviceState, stateText as deviceText, subscribe, unsubscribe } from "./device.js";
import { NEW, RuleForm } from "./rule_form.js";
import { actionText, limitText, ruleText, stateText } from "./rule_text.js";

/** @import { Cameras } from "../cameras/cameras.js" */
/** @import { Socket } from "../connection/socket.js" */
/** @import { AllChoices, Named, Settings } from "./rule_form.js" */
/** @import { Rule } from "./rule_text.js" */

/** @typedef {AllChoices & {rules: Rule[]}} Answer */
/** @typedef {{label: string, error: string}} Tested */

const SOON_MS = 600; // from an event to the request: deliveries take a moment
const EVERY_MS = 10_000; // deliveries that wait change without an event
const HOUR_S = 3600;
const MOST = 1000; // people that are suggested

/** Rules to begin with. */
const EXAMPLES = [
  { label: "Strangers at night", rule: { ...NEW, name: "Strangers at night", who: ["unknown"], hours: "22:00-06:00" } },
  { label: "Somebody known comes", rule: { ...NEW, name: "Somebody known comes", who: ["known"], cooldown_s: 600 } },
  { label: "A camera is down", rule: { ...NEW, name: "A camera is down", kinds: ["camera_down"] } },
];

export class Rules {
  #cameras;
  #isShown = false;
  #turns = new Turns();
  /** @type {RuleForm | null} */
  #form = null;
  /** @type {Answer | null} */
  #answer = null;
  /** @type {Map<string, Tested[]>} results of tests, by rule */
  #tested = new Map();
  /** @type {Map<string, string>} names of people by id */
  #names = new Map();
  /** @type {Map<HTMLElement, Map<string, HTMLElement>>} the items of each list, by what they show */
  #shown = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #soon;

  /**
   * @param {Socket} socket
   * @param {Cameras} cameras
   */
  constructor(socket, cameras) {
    this.#cameras = cameras;
    socket.on("event", () => this.#isShown && this.#loadAfter(SOON_MS));
    byId("rule-add").addEventListener("click", () => attempt(this.#add(NEW)));
    byId("rule-examples").replaceChildren(...EXAMPLES.map(({ label, rule }) =>
      h("button", { type: "button", class: "button small", onclick: () => attempt(this.#add(rule)) }, label)));
    byId("device-switch").addEventListener("click", () => attempt(this.#toggleDevice()));
    if ("serviceWorker" in navigator) {
      navigator.serviceWorker.addEventListener("message", ({ data }) => {
        location.hash = new URL(data.url).hash; // a notification was clicked
      });
    }
  }

  async show() {
    this.#isShown = true;
    await this.load();
    await this.#showDevice();
  }

  hide() {
    this.#isShown = false;
    clearTimeout(this.#soon);
    this.#tested.clear();
  }

  /** Read the rules and the devices. */
  async load() {
    await this.#turns.run(() => this.#read());
    this.#loadAfter(EVERY_MS);
  }

  /** @param {number} ms */
  #loadAfter(ms) {
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => this.#isShown && attempt(this.load()), ms);
  }

  async #read() {
    const [answer, push] = await Promise.all([api("GET", "api/rules"), api("GET", "api/push")]);
    if (answer.rules.some((/** @type {Rule} */ rule) => rule.who.length) && !this.#names.size) {
      this.#names = namesOf(await this.#people());
    }
    this.#answer = answer;
    const isEmpty = answer.rules.length === 0;
    byId("rules-empty").hidden = !isEmpty;
    byId("rule-list").hidden = isEmpty;
    const open = document.activeElement?.id ?? "";
    this.#fill(byId("rule-list"), answer.rules, (rule) => this.#card(rule));
    if (open.startsWith("rule-")) {
      document.getElementById(open)?.focus({ preventScroll: true });
    }
    byId("devices").hidden = !mayChange() || push.devices.length === 0;
    this.#fill(byId("device-list"), push.devices, deviceItem(() => attempt(this.load())));
  }

  /**
   * Show the items of a list; one that shows the same already stays, so that it does not flicker.
   * @template T
   * @param {HTMLElement} list
   * @param {T[]} items
   * @param {(item: T) => HTMLElement} make
   */
  #fill(list, items, make) {
    const shown = this.#shown.get(list) ?? new Map();
    const next = new Map();
    for (const item of items) {
      const key = JSON.stringify([item, this.#tested.get(/** @type {any} */ (item).rule_id) ?? null]);
      next.set(key, shown.get(key) ?? make(item));
    }
    this.#shown.set(list, next);
    setChildren(list, [...next.values()]);
  }

  /** @returns {Promise<Named[]>} */
  async #people() {
    return (await apiList(`api/identities?limit=${MOST}`)).rows;
  }

  /** @param {Rule} rule */
  #card(rule) {
    const { rule_id: id, name } = rule;
    const isOn = !rule.is_paused;
    const now = new Date();
    /**
     * @param {string} icon
     * @param {string} label
     * @param {() => Promise<void>} run
     */
    const tool = (icon, label, run, kind = "") => h("button", { type: "button", id: `rule-${id}-${icon}`, class: `icon-button ${kind}`, "aria-label": `${label} ${name}`, title: label, onclick: () => attempt(run()) }, glyph(icon));
    const turn = h("button", { type: "button", id: `rule-${id}-switch`, role: "switch", class: "switch", "aria-label": `${name} is on`, "aria-checked": String(isOn), onclick: () => attempt(this.#pause(rule, isOn, null)) });
    const tested = this.#tested.get(id) ?? [];
    return h("li", { class: "rule", "data-rule": name, "data-on": String(isOn) },
      h("div", { class: "camera-text" },
        h("strong", { class: "rule-name" }, name),
        h("p", { class: "rule-state" }, stateText(rule, now)),
        h("p", { class: "camera-reason" }, sentence(ruleText(rule, this.#names))),
        h("ul", { class: "rule-deliveries" }, ...rule.then.map((action) =>
          h("li", { class: action.trouble ? "failing" : "" }, actionText(action)))),
        h("p", { class: "camera-settings" }, sentence(limitText(rule))),
        h("div", { class: "rule-buttons", "data-changes": true },
          h("button", { type: "button", id: `rule-${id}-test`, class: "button small", "aria-label": `Send a test of ${name}`, onclick: (/** @type {MouseEvent} */ event) => attempt(this.#test(rule, event)) }, "Send a test"),
          isOn ? h("button", { type: "button", id: `rule-${id}-hour`, class: "button small", "aria-label": `Switch off ${name} for an hour`, onclick: () => attempt(this.#pause(rule, true, HOUR_S)) }, "Off for an hour") : null),
        tested.length ? h("ul", { class: "tested", role: "status" }, ...tested.map(testedItem)) : null),
      h("div", { class: "camera-tools", "data-changes": true },
        turn,
        tool("pen", "Change", () => this.#change(rule)),
        tool("trash", "Remove", () => this.#remove(rule), "remove")));
  }

  /** @param {Settings} rule */
  async #add(rule) {
    await this.#ask(rule, true, (body) => api("POST", "api/rules", body));
  }

  /** @param {Rule} rule */
  async #change(rule) {
    await this.#ask(rule, false, (body) => api("PUT", `api/rules/${encode(rule.rule_id)}`, body));
    this.#tested.delete(rule.rule_id);
  }

  /**
   * @param {Rule | Settings} rule
   * @param {boolean} isNew
   * @param {(body: object) => Promise<unknown>} save
   */
  async #ask(rule, isNew, save) {
    const people = await this.#people();
    this.#names = namesOf(people);
    this.#form ??= new RuleForm();
    const cameras = this.#cameras.all.map(({ name }) => name);
    const zones = [...new Set(this.#cameras.all.flatMap(({ settings }) => Object.keys(settings.zones)))];
    const choices = this.#answer ?? (await api("GET", "api/rules"));
    if (await this.#form.open(rule, { isNew, choices, cameras, zones, people, save })) {
      await this.load();
    }
  }

  /** @param {Rule} rule */
  async #remove({ rule_id: id, name }) {
    const removed = await confirm({
      title: `Remove ${name}?`,
      text: "It notifies no more, and what it has not sent yet is dropped.",
      yes: "Remove rule",
      run: () => api("DELETE", `api/rules/${encode(id)}`),
    });
    if (removed) {
      await this.load();
    }
  }

  /**
   * @param {Rule} rule
   * @param {boolean} isPaused
   * @param {number | null} seconds null for until it is switched on
   */
  async #pause({ rule_id: id }, isPaused, seconds) {
    await api("POST", `api/rules/${encode(id)}/pause`, { is_paused: isPaused, for_s: seconds });
    await this.load();
  }

  /**
   * @param {Rule} rule
   * @param {MouseEvent} event
   */
  async #test({ rule_id: id }, { currentTarget }) {
    const button = /** @type {HTMLButtonElement} */ (currentTarget);
    button.disabled = true;
    setText(button, "Sending");
    try {
      const { results } = await api("POST", `api/rules/${encode(id)}/test`);
      this.#tested.set(id, results);
    } finally {
      button.disabled = false;
      setText(button, "Send a test");
      await this.load();
    }
  }

  async #showDevice() {
    const state = await deviceState();
    setText(byId("device-text"), deviceText(state));
    const turn = byId("device-switch", HTMLButtonElement);
    turn.disabled = state !== "on" && state !== "off";
    turn.setAttribute("aria-checked", String(state === "on"));
  }

  async #toggleDevice() {
    const isOn = (await deviceState()) === "on";
    try {
      await (isOn ? unsubscribe() : subscribe());
    } catch (error) {
      toast(sentence(messageOf(error)), "bad");
    }
    await this.#showDevice();
    await this.load();
  }
}

/** @param {Named[]} people */
function namesOf(people) {
  return new Map(people.map((each) => [each.identity_id, each.name]));
}

/** @param {Tested} tested */
function testedItem({ label, error }) {
  return h("li", { class: error ? "failing" : "accepted" }, error ? `${sentence(label)}: ${error}` : `${sentence(label)}: accepted`);
}

/**
 * @param {() => void} onremoved
 * @returns {(device: {device_id: string, name: string, added_at: string, role: string}) => HTMLElement}
 */
function deviceItem(onremoved) {
  return ({ device_id: id, name, added_at: at, role }) => h("li", { class: "device" },
    h("div", { class: "camera-text" },
      h("strong", {}, name),
      h("p", { class: "camera-settings" }, `Since ${timeText(new Date(at), { dateStyle: "medium" })}${role === "viewer" ? " · viewer" : ""}`)),
    h("button", { type: "button", class: "icon-button remove", "aria-label": `Remove ${name}`, title: "Remove", "data-changes": true, onclick: async () => {
      await attempt(api("DELETE", `api/push/devices/${encode(id)}`));
      onremoved();
    } }, glyph("trash")));
}
