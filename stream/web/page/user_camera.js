// The camera of this browser, for all parts that use it.

import { toast } from "./dom.js";
import { messageOf } from "./text.js";

const WANTED = {
  audio: false,
  video: {
    width: { ideal: 1280 },
    height: { ideal: 720 },
    frameRate: { ideal: 25, max: 30 },
    facingMode: "user",
  },
};
/** @type {Record<string, string>} */
const REASONS = {
  NotAllowedError: "The browser is not allowed to use the camera: allow it in the address bar, then try again.",
  NotFoundError: "This device has no camera.",
  NotReadableError: "Another program is using the camera.",
  OverconstrainedError: "The camera does not support this video format.",
};

/**
 * Open the camera; null if that fails, after the reason was shown.
 * @returns {Promise<MediaStream | null>}
 */
export async function openCamera() {
  if (!navigator.mediaDevices) {
    toast("Browsers allow camera access only on https:// pages and on 127.0.0.1.", "bad");
    return null;
  }
  try {
    return await navigator.mediaDevices.getUserMedia(WANTED);
  } catch (error) {
    toast(REASONS[nameOf(error)] ?? `The camera did not start: ${messageOf(error)}`, "bad");
    return null;
  }
}

/** @param {unknown} error */
function nameOf(error) {
  return error instanceof Error ? error.name : "";
}
