// A camera's settings: the defaults, and what a form changed.

/** @import { Camera, CameraSettings } from "../connection/schemas.js" */

/** @type {CameraSettings} */
export const DEFAULTS = {
  url: "", rtsp_transport: "tcp", loop: true, target_fps: null, min_face_px: null, rotation: 0,
  region: null, zones: {}, open_timeout_s: 10, read_timeout_s: 5, frozen_after_s: 30, pixel_aspect: "auto",
  deinterlace: "auto", verify_tls: true, enabled: true,
};

/**
 * Read a number field; null if it is empty.
 * @param {string} text
 */
export function numberIn(text) {
  return text === "" ? null : Number(text);
}

/**
 * The body of the request: all settings of a new camera, the changed ones of an existing camera.
 * @param {Camera | null} camera null for a new one
 * @param {string} name
 * @param {CameraSettings} settings
 * @returns {Partial<CameraSettings> & {name?: string}}
 */
export function changesOf(camera, name, settings) {
  if (!camera) {
    return { name, ...settings };
  }
  const old = new Map(Object.entries(camera.settings));
  const changed = Object.fromEntries(Object.entries(settings)
    .filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(old.get(key))));
  return name === camera.name ? changed : { name, ...changed };
}
