// The fields of one action in the form of a rule, and ready-made webhooks of known services.

import { glyph, h } from "../page/dom.js";

/** @typedef {{services: string[], has_apprise: boolean, has_broker: boolean}} Choices */

/** Ready-made webhooks: what is to be filled in stands in capitals. */
const PRESETS = {
  ntfy: {
    name: "ntfy",
    url: "https://ntfy.sh/YOUR-TOPIC",
    headers: { Title: "{name} at {camera}", Click: "{event_url}" },
    body: "{text}", format: "text",
  },
  gotify: {
    name: "Gotify",
    url: "https://GOTIFY-HOST/message",
    headers: { "X-Gotify-Key": "APP-TOKEN" },
    body: '{"title": "{name} at {camera}", "message": "{text}", "priority": 5}', format: "json",
  },
  telegram: {
    name: "Telegram",
    url: "https://api.telegram.org/botBOT-TOKEN/sendMessage",
    headers: {},
    body: '{"chat_id": "CHAT-ID", "text": "{text}"}', format: "json",
  },
  homeassistant: {
    name: "Home Assistant",
    url: "http://HOME-ASSISTANT:8123/api/webhook/WEBHOOK-ID",
    headers: {},
    body: "", format: "json",
  },
};

/**
 * @param {string} label
 * @param {HTMLElement} control
 * @param {string} [hint]
 */
const field = (label, control, hint) => h("label", { class: "field" }, h("span", {}, label), control, hint ? h("span", { class: "hint" }, hint) : null);

/**
 * @param {string} name
 * @param {Record<string, any>} attributes
 */
const text = (name, attributes = {}) => h("input", { name, autocomplete: "off", spellcheck: "false", ...attributes });

/** The block of one action. */
export class ActionFields {
  #choices;
  #type;
  #fields = h("div", { class: "action-fields" });
  element;

  /**
   * @param {Record<string, any>} settings of the action
   * @param {Choices} choices
   * @param {(fields: ActionFields) => void} onremove
   */
  constructor(settings, choices, onremove) {
    this.#choices = choices;
    this.#type = h("select", { name: "type", "aria-label": "Action" },
      h("option", { value: "push" }, "Phones and browsers"),
      h("option", { value: "webhook" }, "Webhook (ntfy, Gotify, Telegram, Home Assistant ...)"),
      h("option", { value: "apprise" }, "Service of Apprise (e-mail, Signal, Matrix ...)"),
      h("option", { value: "mqtt" }, "MQTT topic"));
    this.#type.value = settings.type;
    this.#type.addEventListener("change", () => this.#show({ type: this.#type.value }));
    this.element = h("div", { class: "action" },
      h("div", { class: "action-head" }, this.#type,
        h("button", { type: "button", class: "icon-button", "aria-label": "Remove this action", title: "Remove", onclick: () => onremove(this) }, glyph("trash"))),
      this.#fields);
    this.#show(settings);
  }

  /** @param {Record<string, any>} settings */
  #show(settings) {
    this.#fields.replaceChildren(...this.#parts(settings));
  }

  /**
   * @param {Record<string, any>} settings
   * @returns {HTMLElement[]}
   */
  #parts(settings) {
    const { services, has_apprise: hasApprise, has_broker: hasBroker } = this.#choices;
    switch (settings.type) {
      case "push":
        return [
          h("p", { class: "hint" }, "With the face’s picture, on every device on which “Notify me on this device” is on."),
          field("Title", text("title", { value: settings.title ?? "{name} at {camera}", maxlength: 200 })),
          field("Text", text("body", { value: settings.body ?? "{text}", maxlength: 500 }))];
      case "apprise":
        return [
          ...(hasApprise ? [] : [h("p", { class: "problem" }, "Apprise is not installed: pip install '.[notify]' where the service runs.")]),
          ...(services.length ? [] : [h("p", { class: "problem" }, "No service is configured: name one in [notify.services] of facewire.toml, or by FACEWIRE_NOTIFY_NAME in the environment. Its address holds secrets, so it is not entered here.")]),
          field("Service", h("select", { name: "service", required: true }, ...services.map((each) => h("option", { value: each, selected: each === settings.service }, each)))),
          field("Title", text("title", { value: settings.title ?? "{name} at {camera}" })),
          field("Text", text("body", { value: settings.body ?? "{text}" })),
          h("label", { class: "check" }, h("input", { type: "checkbox", name: "with_crop", checked: settings.with_crop ?? true }), h("span", {}, "Attach the face’s picture"))];
      case "mqtt":
        return [
          ...(hasBroker ? [] : [h("p", { class: "problem" }, "No broker is configured: fill the section [mqtt] of facewire.toml.")]),
          field("Topic", text("topic", { value: settings.topic ?? "home/faces/{camera}", required: true })),
          field("Payload", h("textarea", { name: "payload", rows: 3, spellcheck: "false" }, settings.payload ?? ""), "Empty for the event as JSON.")];
      default:
        return this.#webhook(settings);
    }
  }

  /** @param {Record<string, any>} settings */
  #webhook(settings) {
    const headers = Object.entries(settings.headers ?? {}).map(([name, value]) => `${name}: ${value}`).join("\n");
    const preset = h("select", { name: "preset" }, h("option", { value: "" }, "Fill in for ..."),
      ...Object.entries(PRESETS).map(([key, each]) => h("option", { value: key }, each.name)));
    preset.addEventListener("change", () => {
      const chosen = /** @type {Record<string, any>} */ (PRESETS)[preset.value];
      if (chosen) {
        this.#show({ type: "webhook", ...chosen });
      }
    });
    const formats = [["json", "JSON"], ["text", "Plain text"], ["crop", "The face’s picture (JPEG)"]];
    return [
      field("Ready-made", preset),
      field("Address", text("url", { value: settings.url ?? "", required: true, placeholder: "https://ntfy.sh/YOUR-TOPIC", inputmode: "url" }), "Secret parts are shown as ***: leave it unchanged to keep them, or enter it in full."),
      field("Body is", h("select", { name: "format" }, ...formats.map(([value, label]) => h("option", { value, selected: value === (settings.format ?? "json") }, label)))),
      field("Body", h("textarea", { name: "body", rows: 3, spellcheck: "false" }, settings.body ?? ""), "Empty for the event as JSON."),
      field("Headers", h("textarea", { name: "headers", rows: 2, spellcheck: "false", placeholder: "Authorization: Bearer TOKEN" }, headers), "One a line."),
    ];
  }

  /** The action as the API takes it. */
  get value() {
    const type = this.#type.value;
    /** @param {string} name */
    const valueOf = (name) => /** @type {HTMLInputElement | null} */ (this.#fields.querySelector(`[name="${name}"]`))?.value ?? "";
    switch (type) {
      case "push":
        return { type, title: valueOf("title"), body: valueOf("body") };
      case "apprise": {
        const box = /** @type {HTMLInputElement} */ (this.#fields.querySelector('[name="with_crop"]'));
        return { type, service: valueOf("service"), title: valueOf("title"), body: valueOf("body"), with_crop: box.checked };
      }
      case "mqtt":
        return { type, topic: valueOf("topic").trim(), payload: valueOf("payload") };
      default:
        return { type, url: valueOf("url").trim(), headers: headersOf(valueOf("headers")), body: valueOf("body"), format: valueOf("format") };
    }
  }
}

/**
 * The headers of a text with one a line.
 * @param {string} lines
 * @returns {Record<string, string>}
 */
export function headersOf(lines) {
  const filled = lines.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(filled.map((line) => {
    const colon = line.indexOf(":");
    if (colon < 1) {
      throw new Error(`a header must be like "Authorization: Bearer TOKEN", got "${line}"`);
    }
    return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
  }));
}
