// The form of a rule: filled from its settings, read as the body of the API's request.

import { ask } from "../page/dialogs.js";
import { glyph, h } from "../page/dom.js";
import { ActionFields } from "./action_fields.js";
import { bare, DAYS, isExcluded } from "./rule_text.js";

/** @import { Choices } from "./action_fields.js" */
/** @import { Rule } from "./rule_text.js" */

/** @typedef {{identity_id: string, name: string}} Named */
/** @typedef {Choices & {groups: string[], time_zone: string}} AllChoices */

const DAY_NAMES = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/** Whom a rule may be about, besides people by name. */
const SIMPLE = ["*", "known", "unknown", "first-time visitor", "returning visitor"];

/** What "Comes into view" stands for. */
const ARRIVALS = ["enter", "unknown"];
const SHOWN_KINDS = [...ARRIVALS, "exit", "camera_down", "camera_up"];

/** The settings of a new rule. */
export const NEW = {
  name: "", who: ["*"], cameras: /** @type {string[]} */ ([]), zones: /** @type {string[]} */ ([]), kinds: ["enter", "unknown"], hours: "",
  days: /** @type {string[]} */ ([]), cooldown_s: 60, max_per_hour: 30,
  then: [{ settings: /** @type {Record<string, any>} */ ({ type: "push" }) }],
};

/** @typedef {typeof NEW} Settings */

/**
 * Split `who` into a choice of the form, and people: those chosen, or those excluded.
 * @param {string[]} who
 * @returns {{choice: string, people: string[]} | null} null if the form cannot show it
 */
export function choiceOf(who) {
  const wanted = who.filter((entry) => !isExcluded(entry));
  const excluded = who.filter(isExcluded).map(bare);
  if (wanted.length === 0 || (wanted.length === 1 && SIMPLE.includes(wanted[0]))) {
    return excluded.some((entry) => SIMPLE.includes(entry)) ? null : { choice: wanted[0] ?? "*", people: excluded };
  }
  const isOfPeople = !excluded.length && !wanted.some((entry) => SIMPLE.includes(entry));
  return isOfPeople ? { choice: "people", people: wanted } : null;
}

/**
 * `who` of a choice of the form.
 * @param {string} choice
 * @param {string[]} people
 */
export function whoOf(choice, people) {
  return choice === "people" ? people : [choice, ...people.map((entry) => `!${entry}`)];
}

/**
 * `kinds` of the form's boxes; those that the form does not show stay.
 * @param {string[]} checked
 * @param {string[]} before
 */
export function kindsOf(checked, before) {
  // A rule of the configuration may want only one of both.
  const arrivals = before.filter((kind) => ARRIVALS.includes(kind));
  return [
    ...checked.flatMap((kind) => (kind === "arrives" ? (arrivals.length ? arrivals : ARRIVALS) : [kind])),
    ...before.filter((kind) => !SHOWN_KINDS.includes(kind)),
  ];
}

/**
 * `hours` of two times of day, of which the second may be midnight.
 * @param {string} from
 * @param {string} to
 */
export function hoursOf(from, to) {
  return from ? `${from}-${to === "00:00" ? "24:00" : to}` : "";
}

/**
 * @param {string} value
 * @param {string} label
 * @param {boolean} checked
 */
const check = (value, label, checked) => h("label", { class: "check chip" }, h("input", { type: "checkbox", value, checked }), h("span", {}, label));

/** @param {Element} box */
const checkedIn = (box) => [.../** @type {NodeListOf<HTMLInputElement>} */ (box.querySelectorAll("input:checked"))].map(({ value }) => value);

/** The dialog, made once. */
export class RuleForm {
  #title = h("h2", { id: "rule-dialog-title" });
  #name = h("input", { id: "rule-name", maxlength: 80, required: true, autocomplete: "off", placeholder: "Strangers at night" });
  #choice = h("select", { id: "rule-who" },
    h("option", { value: "*" }, "Anybody"),
    h("option", { value: "known" }, "Anybody known"),
    h("option", { value: "unknown" }, "Any unknown face"),
    h("option", { value: "first-time visitor" }, "A visitor who comes for the first time"),
    h("option", { value: "returning visitor" }, "A visitor who comes again"),
    h("option", { value: "people" }, "Only these people"),
    h("option", { value: "written" }, "As written ..."));
  #peopleLabel = h("span", {});
  #person = h("input", { id: "rule-person", list: "rule-people", maxlength: 220, autocomplete: "off", placeholder: "Name of a person or @group" });
  #suggestions = h("datalist", { id: "rule-people" });
  #people = h("ul", { class: "chips", id: "rule-chosen" });
  #peopleField = h("div", { class: "field" }, h("label", { for: "rule-person" }, this.#peopleLabel),
    h("div", { class: "add-row" }, this.#person, h("button", { type: "button", class: "button small", id: "rule-add-person", onclick: () => this.#addPerson() }, "Add")),
    this.#people);
  #written = h("input", { id: "rule-written", autocomplete: "off", spellcheck: "false", placeholder: "*, !William, @family" });
  #writtenField = h("label", { class: "field" }, h("span", {}, "People, groups and kinds, separated by commas"), this.#written);
  #kinds = h("div", { class: "checks", id: "rule-kinds" });
  #cameras = h("div", { class: "checks", id: "rule-cameras" });
  #zones = h("div", { class: "checks", id: "rule-zones" });
  #zonesField = this.#group("Zones that the person enters (none for the whole image)", this.#zones);
  #from = h("input", { type: "time", id: "rule-from", "aria-label": "From" });
  #to = h("input", { type: "time", id: "rule-to", "aria-label": "To" });
  #zone = h("p", { class: "hint" });
  #days = h("div", { class: "checks", id: "rule-days" });
  #cooldown = h("input", { type: "number", id: "rule-cooldown", min: 0, max: 86400, step: "any", required: true });
  #most = h("input", { type: "number", id: "rule-most", min: 1, max: 1000, step: 1, required: true });
  #actions = h("div", { class: "rule-actions", id: "rule-then" });
  #save = h("button", { type: "submit", class: "button primary", id: "rule-save" });
  /** @type {ActionFields[]} */
  #blocks = [];
  /** @type {string[]} ids or names, as stored */
  #chosen = [];
  /** @type {Map<string, string>} names of people by id */
  #names = new Map();
  /** @type {string[]} */
  #kindsBefore = [];
  /** @type {AllChoices} */
  #choices = { services: [], groups: [], has_apprise: false, has_broker: false, time_zone: "" };

  constructor() {
    this.#choice.addEventListener("change", () => this.#showChoice());
    this.#person.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        this.#addPerson();
      }
    });
    document.body.append(h("dialog", { id: "rule-dialog", "aria-labelledby": "rule-dialog-title" },
      h("form", { method: "dialog", id: "rule-form" },
        this.#title,
        h("label", { class: "field" }, h("span", {}, "Name"), this.#name),
        h("label", { class: "field" }, h("span", {}, "Who"), this.#choice),
        this.#peopleField, this.#suggestions, this.#writtenField,
        this.#group("What", this.#kinds),
        this.#group("Cameras (none for all)", this.#cameras),
        this.#zonesField,
        this.#group("Time of day (empty for any)", h("div", { class: "hours" }, this.#from, h("span", {}, "to"), this.#to), this.#zone),
        this.#group("Days on which it begins (none for every day)", this.#days),
        h("details", { id: "rule-limits" },
          h("summary", {}, "Limits"),
          h("div", { class: "fields" },
            h("label", { class: "field" }, h("span", {}, "Seconds between two, of one person and camera"), this.#cooldown),
            h("label", { class: "field" }, h("span", {}, "At most, an hour"), this.#most))),
        this.#group("Then", this.#actions,
          h("button", { type: "button", class: "button small", id: "rule-add-action", onclick: () => this.#addAction({ type: "webhook" }) }, glyph("plus"), "Another action")),
        h("details", {}, h("summary", {}, "Placeholders of texts"), h("p", { class: "hint" },
          "{text} what happened, in a sentence; {name}, {camera}, {zone}, {kind}, {at}, {time}, {similarity}, {visit_count}, {detail}, {rule}, {event_id}, {event_url}, {crop_url}.")),
        h("p", { class: "problem", id: "rule-problem", role: "alert", hidden: true }),
        h("div", { class: "actions" },
          h("button", { type: "button", class: "button", "data-cancel": true }, "Cancel"), this.#save))));
  }

  /**
   * @param {string} label
   * @param {...HTMLElement} parts
   */
  #group(label, ...parts) {
    return h("fieldset", { class: "group" }, h("legend", {}, label), ...parts);
  }

  /**
   * Ask for a rule; resolves as `ask` does.
   * @template T
   * @param {Rule | Settings} rule
   * @param {{isNew: boolean, choices: AllChoices, cameras: string[], zones: string[], people: Named[], save: (body: object) => Promise<T>}} options
   */
  open(rule, { isNew, choices, cameras, zones, people, save }) {
    this.#choices = choices;
    this.#names = new Map(people.map((each) => [each.identity_id, each.name]));
    this.#title.textContent = isNew ? "New rule" : `Rule ${rule.name}`;
    this.#save.textContent = isNew ? "Add rule" : "Save";
    this.#name.value = rule.name;
    const choice = choiceOf(rule.who);
    this.#choice.value = choice?.choice ?? "written";
    this.#chosen = choice?.people ?? [];
    this.#written.value = rule.who.join(", ");
    this.#person.value = "";
    this.#suggestions.replaceChildren(
      ...choices.groups.map((group) => h("option", { value: `@${group}` })),
      ...people.map(({ name }) => h("option", { value: name })));
    this.#showChoice();
    this.#kindsBefore = rule.kinds;
    this.#kinds.replaceChildren(
      check("arrives", "Comes into view", rule.kinds.some((kind) => ARRIVALS.includes(kind))),
      check("exit", "Leaves", rule.kinds.includes("exit")),
      check("camera_down", "Camera is down", rule.kinds.includes("camera_down")),
      check("camera_up", "Camera is up again", rule.kinds.includes("camera_up")));
    const all = [...new Set([...cameras, ...rule.cameras])];
    this.#cameras.replaceChildren(...all.map((name) => check(name, name, rule.cameras.includes(name))));
    const allZones = [...new Set([...zones, ...rule.zones])];
    this.#zones.replaceChildren(...allZones.map((name) => check(name, name, rule.zones.includes(name))));
    this.#zonesField.hidden = !allZones.length;
    [this.#from.value, this.#to.value] = rule.hours ? rule.hours.replace("24:00", "00:00").split("-") : ["", ""];
    this.#zone.textContent = choices.time_zone ? `Time of ${choices.time_zone}.` : "Time of the machine on which the service runs.";
    this.#days.replaceChildren(...DAYS.map((day, index) => check(day, DAY_NAMES[index], rule.days.includes(day))));
    this.#cooldown.value = String(rule.cooldown_s);
    this.#most.value = String(rule.max_per_hour);
    this.#blocks = [];
    this.#actions.replaceChildren();
    rule.then.forEach(({ settings }) => this.#addAction(settings ?? { type: "push" }));
    return ask("rule", () => save(this.#body()));
  }

  #showChoice() {
    const choice = this.#choice.value;
    this.#writtenField.hidden = choice !== "written";
    this.#peopleField.hidden = choice === "written";
    this.#peopleLabel.textContent = choice === "people" ? "People" : "Except";
    this.#people.replaceChildren(...this.#chosen.map((entry) => {
      const name = this.#names.get(entry) ?? entry;
      return h("li", {}, name, h("button", { type: "button", class: "icon-button", "aria-label": `Remove ${name}`, onclick: () => {
        this.#chosen = this.#chosen.filter((each) => each !== entry);
        this.#showChoice();
      } }, glyph("close")));
    }));
  }

  #addPerson() {
    const typed = this.#person.value.trim();
    if (typed) {
      // By id, so that the rule stays that person's after a rename.
      const found = [...this.#names].find(([, name]) => name.toLowerCase() === typed.toLowerCase());
      const entry = found?.[0] ?? typed;
      this.#chosen = [...this.#chosen.filter((each) => each !== entry), entry];
      this.#person.value = "";
      this.#showChoice();
    }
  }

  /** @param {Record<string, any>} settings */
  #addAction(settings) {
    const block = new ActionFields(settings, this.#choices, (removed) => {
      this.#blocks = this.#blocks.filter((each) => each !== removed);
      removed.element.remove();
    });
    this.#blocks.push(block);
    this.#actions.append(block.element);
  }

  #body() {
    this.#addPerson(); // typed, but not added
    const choice = this.#choice.value;
    const who = choice === "written"
      ? this.#written.value.split(",").map((entry) => entry.trim()).filter(Boolean)
      : whoOf(choice, this.#chosen);
    if (!who.length) {
      throw new Error("choose at least one person");
    }
    const kinds = kindsOf(checkedIn(this.#kinds), this.#kindsBefore);
    if (!kinds.length) {
      throw new Error("choose what it is that happens, such as “Comes into view”");
    }
    if (!this.#blocks.length) {
      throw new Error("add at least one action");
    }
    const from = this.#from.value.slice(0, 5);
    const to = this.#to.value.slice(0, 5);
    if (Boolean(from) !== Boolean(to)) {
      throw new Error("enter both times of day, or none");
    }
    return {
      name: this.#name.value.trim(), who, kinds,
      cameras: checkedIn(this.#cameras),
      zones: checkedIn(this.#zones),
      hours: hoursOf(from, to),
      days: checkedIn(this.#days),
      cooldown_s: Number(this.#cooldown.value),
      max_per_hour: Number(this.#most.value),
      then: this.#blocks.map((block) => block.value),
    };
  }
}
