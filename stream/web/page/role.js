// The role of this browser: administrators make changes, viewers watch and read.

import { api } from "../connection/api.js";
import { setTimeZone } from "./time.js";

/**
 * Read the role, and the service's time zone. Elements with data-changes are shown to
 * administrators only; see style.css.
 */
export async function learnRole() {
  const { role, time_zone: zone } = await api("GET", "api/session");
  document.documentElement.dataset.role = role ?? "";
  setTimeZone(zone);
}

export function mayChange() {
  return document.documentElement.dataset.role === "admin";
}
