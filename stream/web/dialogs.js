// Modal dialogs: the browser keeps the focus inside, Escape closes.

import { byId, sentence } from "./dom.js";

/**
 * Open a dialog whose form runs `submit`; it stays open with the reason where that fails.
 * Resolves to what submit returned, or null where the person cancelled.
 */
export function ask(prefix, submit) {
  const dialog = byId(`${prefix}-dialog`);
  const form = byId(`${prefix}-form`);
  const problem = byId(`${prefix}-problem`);
  problem.hidden = true;
  return new Promise((resolve) => {
    let result = null;
    const ended = new AbortController();
    const options = { signal: ended.signal };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("[type=submit]");
      button.disabled = true;
      problem.hidden = true;
      try {
        result = (await submit()) ?? true;
        dialog.close();
      } catch (error) {
        problem.textContent = sentence(error.message);
        problem.hidden = false;
      } finally {
        button.disabled = false;
      }
    }, options);
    form.querySelector("[data-cancel]")?.addEventListener("click", () => dialog.close(), options);
    dialog.addEventListener("close", () => {
      if (dialog.open) {
        return; // the last time's, late
      }
      ended.abort();
      resolve(result);
    }, options);
    dialog.showModal();
  });
}

export function confirm({ title, text, yes, run }) {
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  return ask("confirm", run);
}
