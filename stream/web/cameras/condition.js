// What to say where a camera gives no picture: one answer for the wall and the live view.

import { sentence } from "../page/dom.js";
import { mayChange } from "../page/role.js";

/**
 * Describe a picture: {state, title, text}; state is playing, connecting, failing, ended or off.
 * `status` is the camera as the service tells it, null while it is not known.
 */
export function conditionOf({ name, status, link, isFresh, isConnected }) {
  if (isFresh && status?.state !== "off") {
    return { state: "playing", title: "", text: "" };
  }
  if (!isConnected) {
    return { state: "connecting", title: "Connecting to facewire", text: "The picture returns as soon as the service answers." };
  }
  if (status?.state === "off") {
    return { state: "off", title: `${sentence(name)} is off`, text: mayChange() ? "Turn it on in its settings." : "Whoever looks after facewire can turn it on." };
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

function sinceText(seconds) {
  return seconds >= 10 ? `, for ${duration(seconds)} now` : "";
}

/** Say a time roughly: 45 s, 3 min, 2 h, 5 days. */
export function duration(seconds) {
  const steps = [[86400, "days", 2], [3600, "h", 2], [60, "min", 2]];
  for (const [unit, word, from] of steps) {
    if (seconds >= unit * from) {
      return `${Math.floor(seconds / unit)} ${word}`;
    }
  }
  return `${Math.round(seconds)} s`;
}
