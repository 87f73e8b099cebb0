// Texts of an event.

import { sentence } from "../page/text.js";
import { dayBeside, dayText, timeText } from "../page/time.js";

/** @import { Event } from "../connection/schemas.js" */

/** @type {Record<string, string>} */
const VERBS = {
  enter: "came into view",
  exit: "left",
  unknown: "seen",
  renamed: "named now",
  zone: "entered",
  camera_up: "is live",
  camera_down: "went down",
};

/**
 * Describe an event.
 * @param {Event} event
 * @returns {{about: "camera" | "known" | "unknown", who: string, verb: string, canName: boolean}}
 *   `canName`: whether its face can be named
 */
export function describe(event) {
  const isCamera = event.kind.startsWith("camera_");
  return {
    about: isCamera ? "camera" : event.name ? "known" : "unknown",
    who: isCamera ? event.camera : (event.name ?? event.visitor ?? "Unknown face"),
    verb: sentence([VERBS[event.kind] ?? event.kind, placeOf(event)].filter(Boolean).join(" ")),
    canName: event.kind === "unknown" && event.has_crop && !event.name,
  };
}

/**
 * The zones in which somebody came into view, or the one that was entered; "" for others.
 * @param {Event} event
 */
function placeOf({ kind, zones }) {
  if (kind === "zone") {
    return zones.at(-1) ?? "";
  }
  return (kind === "enter" || kind === "unknown") && zones.length ? `in ${zones.join(", ")}` : "";
}

/**
 * The heading of a day.
 * @param {Date} when
 * @param {Date} now
 */
export function dayOf(when, now) {
  const [day, today] = [dayText(when), dayText(now)];
  if (day === today) {
    return "Today";
  }
  if (day === dayBeside(today, -1)) {
    return "Yesterday";
  }
  return timeText(when, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
}

/**
 * The announcement of an event for screen readers; "" if it is not announced.
 * @param {Event} event
 */
export function announcementOf({ kind, name, visitor, camera }) {
  const who = name ?? visitor ?? "An unknown face";
  switch (kind) {
    case "enter":
      return `${who} came into view of ${camera}`;
    case "unknown":
      return `${who} is in view of ${camera}`;
    case "camera_down":
      return `${camera} went down`;
    default:
      return "";
  }
}
