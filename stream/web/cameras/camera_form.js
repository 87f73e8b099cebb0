// The form of a camera: filled from its settings, read as the body of the API's request.

import { encode } from "../connection/api.js";
import { byId } from "../page/dom.js";
import { DEFAULTS, changesOf, numberIn } from "./camera_settings.js";
import { Region } from "./region.js";
import { ZoneEditor } from "./zone_editor.js";

/** @import { Camera } from "../connection/schemas.js" */

/** @param {string} name */
const part = (name) => byId(`camera-form-${name}`);
/** @param {string} name */
const input = (name) => byId(`camera-form-${name}`, HTMLInputElement);
/** @param {string} name */
const choice = (name) => byId(`camera-form-${name}`, HTMLSelectElement);
/** @param {string} name */
const section = (name) => byId(`camera-form-${name}`, HTMLDetailsElement);

/** @type {Region | null} */
let madeRegion = null;
const region = () => (madeRegion ??= new Region());
/** @type {ZoneEditor | null} */
let madeEditor = null;
const zones = () => (madeEditor ??= new ZoneEditor());

/**
 * Fill the form for a camera, null for a new one.
 * @param {Camera | null} camera
 * @returns {() => void} clears it afterwards
 */
export function fillForm(camera) {
  const settings = camera?.settings ?? DEFAULTS;
  const isPushed = camera?.is_pushed ?? false;
  byId("camera-dialog-title").textContent = camera ? `Settings of ${camera.name}` : "Add a camera";
  byId("camera-save").textContent = camera ? "Save" : "Add camera";
  input("name").value = camera?.name ?? "";
  input("name").readOnly = isPushed; // its sender uses this name
  input("url").value = settings.url;
  input("url").required = !isPushed;
  input("url").toggleAttribute("autofocus", camera !== null); // names seldom change
  part("address").hidden = byId("camera-url-hint").hidden = isPushed;
  input("face").value = String(settings.min_face_px ?? "");
  input("fps").value = String(settings.target_fps ?? "");
  choice("rotation").value = String(settings.rotation);
  choice("transport").value = settings.rtsp_transport;
  input("loop").checked = settings.loop;
  input("open").value = String(settings.open_timeout_s);
  input("read").value = String(settings.read_timeout_s);
  input("frozen").value = String(settings.frozen_after_s);
  input("aspect").value = settings.pixel_aspect;
  choice("deinterlace").value = settings.deinterlace;
  input("tls").checked = settings.verify_tls;
  part("open-field").hidden = part("tls-field").hidden = isPushed;
  section("connection").open = false;
  input("enabled").checked = settings.enabled;
  section("more").open = camera !== null;
  const snapshot = camera?.state === "live"
    ? `api/cameras/${encode(camera.name)}/snapshot.jpg?width=640&at=${Date.now()}`
    : "";
  region().show(settings.region, snapshot);
  zones().show(settings.zones, snapshot);
  return () => {
    input("url").value = ""; // it may hold a password
    region().show(null, "");
    zones().show({}, "");
  };
}

/**
 * Read the form as the body of the API's request.
 * @param {Camera | null} camera that it was filled for
 */
export function readForm(camera) {
  /** @param {string} name */
  const number = (name) => numberIn(input(name).value);
  return changesOf(camera, input("name").value.trim(), {
    url: input("url").value.trim(),
    rtsp_transport: choice("transport").value,
    loop: input("loop").checked,
    target_fps: number("fps"),
    min_face_px: number("face"),
    rotation: Number(choice("rotation").value),
    region: region().value,
    zones: zones().value,
    open_timeout_s: number("open") ?? DEFAULTS.open_timeout_s,
    read_timeout_s: number("read") ?? DEFAULTS.read_timeout_s,
    frozen_after_s: number("frozen") ?? DEFAULTS.frozen_after_s,
    pixel_aspect: input("aspect").value.trim() || DEFAULTS.pixel_aspect,
    deinterlace: choice("deinterlace").value,
    verify_tls: input("tls").checked,
    enabled: input("enabled").checked,
  });
}
