// The role of this browser: administrators make changes, viewers watch and read.

import { api } from "../connection/api.js";

/** Read the role. Elements with data-changes are shown to administrators only; see style.css. */
export async function learnRole() {
  const { role } = await api("GET", "api/session");
  document.documentElement.dataset.role = role ?? "";
}

export function mayChange() {
  return document.documentElement.dataset.role === "admin";
}
