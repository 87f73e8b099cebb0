// Texts about a camera in the settings view.

import { duration, sentence } from "../page/text.js";

/** @import { Camera, CameraSettings } from "../connection/schemas.js" */

/** @type {Record<string, string>} */
const STATES = {
  live: "Live",
  connecting: "Connecting",
  frozen: "Frozen",
  failing: "No video",
  ended: "Ended",
  off: "Off",
};

/**
 * A camera's state with its figures: "Live · 1280×720 · 25 fps · 2 watching".
 * @param {Camera} camera
 */
export function stateText(camera) {
  const { state } = camera;
  /** @type {Record<string, string>} */
  const figures = {
    live: ` · ${camera.width}×${camera.height} · ${Math.round(camera.fps_in)} fps`,
    failing: ` for ${duration(camera.since_s)}`,
    frozen: ` for ${duration(camera.since_s)}`,
  };
  const back = camera.reconnects ? ` · reconnected ${camera.reconnects === 1 ? "once" : `${camera.reconnects} times`}` : "";
  const watching = camera.viewers ? ` · ${camera.viewers} watching` : "";
  return `${STATES[state] ?? state}${figures[state] ?? ""}${watching}${back}`;
}

/**
 * The settings of a camera that differ from the defaults; "" if none does.
 * @param {CameraSettings} settings
 */
export function settingsText(settings) {
  const parts = [
    settings.min_face_px && `faces from ${settings.min_face_px} pixels`,
    settings.target_fps && `at most ${settings.target_fps} frames per second`,
    settings.rotation && `rotated by ${settings.rotation}°`,
    settings.region && "part of the image",
    Object.keys(settings.zones).length > 0 && `zones ${Object.keys(settings.zones).join(", ")}`,
    settings.rtsp_transport === "udp" && "RTSP over UDP",
    settings.pixel_aspect !== "auto" && `pixel aspect ratio ${settings.pixel_aspect}`,
    settings.deinterlace !== "auto" && `deinterlacing ${settings.deinterlace}`,
    !settings.verify_tls && "certificate not verified",
  ];
  return sentence(parts.filter(Boolean).join(" · "));
}
