// The state of a camera's video and its message: the same on the wall and in the live view.

import { duration, sentence } from "../page/text.js";

/** @import { Camera } from "../connection/schemas.js" */

const STALLED_MS = 4000; // without a frame from a live camera

/**
 * Describe a camera's video.
 * @param {{
 *   name: string, status: Camera | null, link: {state: string, reason: string} | null,
 *   isFresh: boolean, isConnected: boolean, mayChange: boolean}} facts
 *   the camera's name; its status, null while unknown; the connection that carries its video;
 *   whether a frame was shown recently; whether the page is connected to the service; whether the
 *   person may change settings
 * @returns {{state: "playing" | "connecting" | "failing" | "ended" | "off", title: string, text: string}}
 */
export function conditionOf({ name, status, link, isFresh, isConnected, mayChange }) {
  if (isFresh && status?.state !== "off") {
    return { state: "playing", title: "", text: "" };
  }
  if (!isConnected) {
    return { state: "connecting", title: "Connecting to facewire", text: "The video returns as soon as the service answers." };
  }
  if (status?.state === "off") {
    return { state: "off", title: `${sentence(name)} is off`, text: mayChange ? "Turn it on in its settings." : "An administrator can turn it on." };
  }
  if (status?.state === "failing") {
    return { state: "failing", title: `No video from ${name}`, text: `${sentence(status.reason)}. Retrying automatically${sinceText(status.since_s)}.` };
  }
  if (status?.state === "frozen") {
    return { state: "failing", title: `The video of ${name} is frozen`, text: `${sentence(status.reason)}. Waiting for new frames${sinceText(status.since_s)}.` };
  }
  if (status?.state === "ended") {
    return { state: "ended", title: "The video has ended", text: sentence(status.reason) };
  }
  if (link?.state === "failing") {
    return { state: "failing", title: "The video connection failed", text: `${sentence(link.reason)}. Retrying automatically.` };
  }
  return { state: "connecting", title: `Connecting to ${name}`, text: "" };
}

/**
 * Whether a connection must be restarted: camera and connection are up, but no frame arrived for so long.
 * @param {{status: Camera | null, link: {state: string} | null, forMs: number}} facts
 */
export function isStalled({ status, link, forMs }) {
  return link?.state === "connected" && status?.state === "live" && forMs > STALLED_MS;
}

/**
 * Whether a camera's video must be requested again at once: another machine runs it now, or it is
 * live again while the connection waits for its next try.
 * @param {{before: Camera | null, status: Camera | null, link: {state: string} | null}} facts
 */
export function isBack({ before, status, link }) {
  if (!before || !status || !link) {
    return false;
  }
  const isLiveAgain = before.state !== "live" && status.state === "live";
  return before.machine !== status.machine || (isLiveAgain && link.state === "failing");
}

/** @param {number} seconds */
function sinceText(seconds) {
  return seconds >= 10 ? ` for ${duration(seconds)}` : "";
}
