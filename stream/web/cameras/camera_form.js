// The form of a camera: filled from its settings, read back as what the API takes.

import { encode } from "../connection/api.js";
import { byId } from "../page/dom.js";
import { Region } from "./region.js";

const field = (name) => byId(`camera-form-${name}`);
let region = null;

const DEFAULTS = {
  url: "", rtsp_transport: "tcp", loop: true, target_fps: null, min_face_px: null, rotation: 0,
  region: null, open_timeout_s: 10, read_timeout_s: 5, frozen_after_s: 30, pixel_aspect: "auto",
  deinterlace: "auto", verify_tls: true, enabled: true,
};

/** Fill the form for a camera, null for a new one; returns what clears it after. */
export function fillForm(camera) {
  const settings = camera?.settings ?? DEFAULTS;
  const isPushed = camera?.is_pushed ?? false;
  byId("camera-dialog-title").textContent = camera ? `Settings of ${camera.name}` : "Add a camera";
  byId("camera-save").textContent = camera ? "Save" : "Add camera";
  field("name").value = camera?.name ?? "";
  field("name").readOnly = isPushed; // its sender knows it by this name
  field("url").value = settings.url;
  field("url").required = !isPushed;
  field("url").toggleAttribute("autofocus", camera !== null); // names seldom change
  field("address").hidden = byId("camera-url-hint").hidden = isPushed;
  field("face").value = settings.min_face_px ?? "";
  field("fps").value = settings.target_fps ?? "";
  field("rotation").value = settings.rotation;
  field("transport").value = settings.rtsp_transport;
  field("loop").checked = settings.loop;
  field("open").value = settings.open_timeout_s;
  field("read").value = settings.read_timeout_s;
  field("frozen").value = settings.frozen_after_s;
  field("aspect").value = settings.pixel_aspect;
  field("deinterlace").value = settings.deinterlace;
  field("tls").checked = settings.verify_tls;
  field("open-field").hidden = field("tls-field").hidden = isPushed;
  field("connection").open = false;
  field("enabled").checked = settings.enabled;
  field("more").open = camera !== null;
  region ??= new Region();
  const isLive = camera?.state === "live";
  region.show(settings.region, isLive ? `api/cameras/${encode(camera.name)}/snapshot.jpg?width=640&at=${Date.now()}` : "");
  return () => {
    field("url").value = ""; // it may hold a password
    region.show(null, "");
  };
}

/** Read the form: all of a new camera, and of an old one what differs. */
export function readForm(camera) {
  const number = (name) => (field(name).value === "" ? null : Number(field(name).value));
  const name = field("name").value.trim();
  const settings = {
    url: field("url").value.trim(),
    rtsp_transport: field("transport").value,
    loop: field("loop").checked,
    target_fps: number("fps"),
    min_face_px: number("face"),
    rotation: Number(field("rotation").value),
    region: region.value,
    open_timeout_s: number("open") ?? DEFAULTS.open_timeout_s,
    read_timeout_s: number("read") ?? DEFAULTS.read_timeout_s,
    frozen_after_s: number("frozen") ?? DEFAULTS.frozen_after_s,
    pixel_aspect: field("aspect").value.trim() || DEFAULTS.pixel_aspect,
    deinterlace: field("deinterlace").value,
    verify_tls: field("tls").checked,
    enabled: field("enabled").checked,
  };
  if (!camera) {
    return { name, ...settings };
  }
  const isChanged = ([key, value]) => JSON.stringify(value) !== JSON.stringify(camera.settings[key]);
  const changed = Object.fromEntries(Object.entries(settings).filter(isChanged));
  return name === camera.name ? changed : { name, ...changed };
}
