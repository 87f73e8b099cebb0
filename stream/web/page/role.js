// What this browser may do: an administrator changes things, a viewer watches and reads.

import { api } from "../connection/api.js";

/** Learn the role. Elements with data-changes are shown to administrators alone; see style.css. */
export async function learnRole() {
  const { role } = await api("GET", "api/session");
  document.documentElement.dataset.role = role ?? "";
}

export function mayChange() {
  return document.documentElement.dataset.role === "admin";
}
