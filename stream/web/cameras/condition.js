// What to say where a camera gives no picture: one answer for the wall and the live view.

import { duration, sentence } from "../page/text.js";

/** @import { Camera } from "../connection/schemas.js" */

const STALLED_MS = 4000; // without a picture, of a camera that is live

/**
 * Describe a picture.
 * @param {{
 *   name: string, status: Camera | null, link: {state: string, reason: string} | null,
 *   isFresh: boolean, isConnected: boolean, mayChange: boolean}} facts
 *   the camera's name; how it is, null while that is not known; the connection that brings its
 *   picture; whether a picture came just now; whether the service is there; whether the person may
 *   change settings
 * @returns {{state: "playing" | "connecting" | "failing" | "ended" | "off", title: string, text: string}}
 */
export function conditionOf({ name, status, link, isFresh, isConnected, mayChange }) {
  if (isFresh && status?.state !== "off") {
    return { state: "playing", title: "", text: "" };
  }
  if (!isConnected) {
    return { state: "connecting", title: "Connecting to facewire", text: "The picture returns as soon as the service answers." };
  }
  if (status?.state === "off") {
    return { state: "off", title: `${sentence(name)} is off`, text: mayChange ? "Turn it on in its settings." : "Whoever looks after facewire can turn it on." };
  }
  if (status?.state === "failing") {
    return { state: "failing", title: `No picture from ${name}`, text: `${sentence(status.reason)}. Trying again by itself${sinceText(status.since_s)}.` };
  }
  if (status?.state === "frozen") {
    return { state: "failing", title: `The picture of ${name} stands still`, text: `${sentence(status.reason)}. Waiting for a new one${sinceText(status.since_s)}.` };
  }
  if (status?.state === "ended") {
    return { state: "ended", title: "The video has ended", text: sentence(status.reason) };
  }
  if (link?.state === "failing") {
    return { state: "failing", title: "The video connection failed", text: `${sentence(link.reason)}. Trying again by itself.` };
  }
  return { state: "connecting", title: `Connecting to ${name}`, text: "" };
}

/**
 * Whether a connection is to be made anew: all is well, but for so long no picture came.
 * @param {{status: Camera | null, link: {state: string} | null, forMs: number}} facts
 */
export function isStalled({ status, link, forMs }) {
  return link?.state === "connected" && status?.state === "live" && forMs > STALLED_MS;
}

/** @param {number} seconds */
function sinceText(seconds) {
  return seconds >= 10 ? `, for ${duration(seconds)} now` : "";
}
