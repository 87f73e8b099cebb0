// Texts about rules; needs no document.

import { counted, duration } from "../page/text.js";
import { clockText, dayText, timeText } from "../page/time.js";

/**
 * An action of a rule, as GET /api/rules gives it.
 * @typedef {{type: string, label: string, settings: Record<string, any> | null, delivered: number,
 *   failures: number, dead: number, waiting: number, trouble: string}} Action
 */

/**
 * A rule, as GET /api/rules gives it.
 * @typedef {{rule_id: string, name: string, who: string[], cameras: string[], zones: string[], kinds: string[],
 *   hours: string, days: string[], cooldown_s: number, max_per_hour: number, then: Action[],
 *   is_configured: boolean, is_paused: boolean, paused_until: string | null, fired: number,
 *   last_fired: string | null, in_cooldown: number, over_limit: number}} Rule
 */

/** @type {Record<string, string>} */
const WHO = {
  "*": "anybody", known: "known people", unknown: "unknown faces",
  "first-time visitor": "first-time visitors", "returning visitor": "returning visitors",
};

/** @type {Record<string, string>} */
const KINDS = {
  enter: "comes into view", unknown: "is seen", exit: "leaves", renamed: "is recognized later",
  camera_down: "the camera is down", camera_up: "the camera is up again",
};

export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_NAMES = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/** @param {string} entry of `who` */
export function isExcluded(entry) {
  return entry.startsWith("!") || entry.startsWith("not ");
}

/** @param {string} entry of `who`, without its "!" or "not " */
export function bare(entry) {
  return entry.replace(/^!|^not /, "").trim();
}

/**
 * Whom a rule is about: "anybody except Ada".
 * @param {string[]} who
 * @param {Map<string, string>} names of people by id
 */
export function whoText(who, names = new Map()) {
  const text = (/** @type {string} */ entry) => WHO[bare(entry)] ?? names.get(bare(entry)) ?? bare(entry).replace(/^@/, "group ");
  const wanted = who.filter((entry) => !isExcluded(entry)).map(text);
  const excluded = who.filter(isExcluded).map(text);
  return (wanted.join(", ") || WHO["*"]) + (excluded.length ? ` except ${excluded.join(", ")}` : "");
}

/**
 * When a rule applies, in one line.
 * @param {Rule} rule
 * @param {Map<string, string>} names of people by id
 */
export function ruleText(rule, names) {
  const faces = rule.kinds.filter((kind) => !kind.startsWith("camera"));
  const cameras = rule.kinds.filter((kind) => kind.startsWith("camera"));
  const arrives = faces.includes("enter") || faces.includes("unknown");
  const verbs = [...(arrives ? ["comes into view"] : []), ...(faces.includes("exit") ? ["leaves"] : [])];
  const what = [
    faces.length ? `${whoText(rule.who, names)}: ${verbs.join(" or ") || KINDS.renamed}` : "",
    ...cameras.map((kind) => KINDS[kind]),
  ];
  return [
    what.filter(Boolean).join("; "),
    [rule.cameras.join(", ") || "all cameras", rule.zones.length && `in ${rule.zones.join(", ")}`].filter(Boolean).join(" "),
    [daysText(rule.days), rule.hours.replace("-", "–")].filter(Boolean).join(" "),
  ].filter(Boolean).join(" · ");
}

/** @param {string[]} days */
export function daysText(days) {
  const some = DAYS.map((day) => days.includes(day));
  if (!days.length || some.every(Boolean)) {
    return "";
  }
  if (some.join() === "true,true,true,true,true,false,false") {
    return "Mon–Fri";
  }
  return DAY_NAMES.filter((_, index) => some[index]).join(", ");
}

/**
 * Whether a rule is on, and what it did.
 * @param {Rule} rule
 * @param {Date} now
 */
export function stateText(rule, now) {
  const parts = [];
  if (rule.is_paused) {
    parts.push(rule.paused_until ? `Off until ${momentText(new Date(rule.paused_until), now)}` : "Off");
  } else {
    parts.push("On");
  }
  parts.push(rule.last_fired
    ? `fired ${rule.fired === 1 ? "once" : `${rule.fired} times`}, last ${momentText(new Date(rule.last_fired), now)}`
    : "has not fired yet");
  const limited = rule.in_cooldown + rule.over_limit;
  if (limited) {
    parts.push(`${counted(limited, "event")} held back`);
  }
  return parts.join(" · ");
}

/**
 * @param {Date} at
 * @param {Date} now
 */
function momentText(at, now) {
  return dayText(at) === dayText(now) ? clockText(at) : timeText(at, { dateStyle: "medium", timeStyle: "short" });
}

/**
 * How an action goes, in one line.
 * @param {Action} action
 */
export function actionText({ label, delivered, dead, waiting, trouble }) {
  const counts = [
    delivered ? `${delivered} sent` : "",
    waiting ? `${waiting} wait` : "",
    dead ? `${dead} given up` : "",
  ].filter(Boolean).join(", ");
  return `${label}${counts ? ` · ${counts}` : ""}${trouble ? ` · ${trouble}` : ""}`;
}

/**
 * What limits a rule.
 * @param {Rule} rule
 */
export function limitText(rule) {
  const pause = rule.cooldown_s ? `${duration(rule.cooldown_s)} between two of the same person and camera, ` : "";
  return `${pause}at most ${rule.max_per_hour} an hour`;
}
