// Dialogs about people: the name for photos, and the confirmation to erase.

import { ApiError, api, encode } from "../connection/api.js";
import { ask, confirm } from "../page/dialogs.js";
import { byId, h, setText, toast } from "../page/dom.js";
import { counted } from "../page/text.js";

/** @import { WholePerson } from "../connection/schemas.js" */

/**
 * Ask for confirmation to erase a person; resolves to whether it was done.
 * @param {WholePerson} person
 */
export async function askErase({ identity_id: id, name, photos, n_events: n }) {
  const events = n ? `the names and crops of ${counted(n, "event")}` : "no events";
  const removed = await confirm({
    title: `Remove ${name}?`,
    text: `This erases the name, ${counted(photos.length, "photo")} and ${events}. This cannot be undone.`,
    yes: "Erase person",
    run: () => api("DELETE", `api/identities/${encode(id)}`),
  });
  if (removed) {
    toast(`${name} was erased.`);
  }
  return removed !== null;
}

let isBuilt = false;

/**
 * Ask for a name, with suggestions; resolves to what `run(name)` returned, or null.
 * @template T
 * Where a refusal can be overruled, `canForce`, it is offered after the first one; if that is a text,
 * only after a conflict, by this text.
 * @param {{title: string, hint: string, yes: string, canForce?: boolean | string, run: (name: string, force: boolean) => Promise<T>}} question
 * @returns {Promise<NonNullable<T> | true | null>}
 */
export function askWho({ title, hint, yes, canForce = false, run }) {
  if (!isBuilt) {
    isBuilt = true;
    build();
  }
  setText(byId("who-title"), title);
  setText(byId("who-hint"), hint);
  setText(byId("who-yes"), yes);
  const input = byId("who-input", HTMLInputElement);
  input.value = "";
  const force = byId("who-force", HTMLInputElement);
  force.checked = false;
  byId("who-anyway").hidden = true;
  setText(byId("who-anyway-text"), typeof canForce === "string" ? canForce : "Add anyway: I know who this is");
  return ask("who", async () => {
    try {
      return await run(input.value.trim(), force.checked);
    } catch (error) {
      const isConflict = error instanceof ApiError && error.status === 409;
      byId("who-anyway").hidden = typeof canForce === "string" ? !isConflict : !canForce;
      throw error;
    }
  });
}

function build() {
  document.body.append(
    h("dialog", { id: "who-dialog", "aria-labelledby": "who-title" },
      h("form", { method: "dialog", id: "who-form" },
        h("h2", { id: "who-title" }),
        h("label", { class: "field" },
          h("span", {}, "Name"),
          h("input", { id: "who-input", list: "known-names", maxlength: 200, required: true, autocomplete: "off", "aria-describedby": "who-hint" })),
        h("p", { class: "hint", id: "who-hint" }),
        h("p", { class: "problem", id: "who-problem", role: "alert", hidden: true }),
        h("label", { class: "check", id: "who-anyway", hidden: true },
          h("input", { type: "checkbox", id: "who-force" }), " ", h("span", { id: "who-anyway-text" })),
        h("div", { class: "actions" },
          h("button", { type: "button", class: "button", "data-cancel": true }, "Cancel"),
          h("button", { type: "submit", class: "button primary", id: "who-yes" })))));
}
