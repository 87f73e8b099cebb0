// Modal dialogs: the browser keeps the focus inside, Escape closes.

import { byId, sentence } from "./dom.js";

/** What submit returns where the dialog is to stay open. */
export const STAY = Symbol("stay open");

/**
 * Open a dialog whose form runs `submit`; it stays open with the reason where that fails, or where
 * it returns STAY. Resolves to what submit returned, or null where the person cancelled: closing
 * the dialog aborts the signal that submit gets, and waits until it has ended.
 */
export function ask(prefix, submit) {
  const dialog = byId(`${prefix}-dialog`);
  const form = byId(`${prefix}-form`);
  const problem = byId(`${prefix}-problem`);
  const button = form.querySelector("[type=submit]");
  problem.hidden = true;
  button.disabled = false;
  return new Promise((resolve) => {
    let result = null;
    let running = Promise.resolve();
    const ended = new AbortController();
    const options = { signal: ended.signal };
    const run = async () => {
      button.disabled = true;
      problem.hidden = true;
      try {
        const answer = (await submit(ended.signal)) ?? true;
        result = answer === STAY ? null : answer;
        if (answer !== STAY && !ended.signal.aborted) {
          dialog.close();
        }
      } catch (error) {
        // The dialog that is open by now may be another question's.
        if (ended.signal.aborted) {
          return;
        }
        problem.textContent = sentence(error.message);
        problem.hidden = false;
      } finally {
        if (!ended.signal.aborted) {
          button.disabled = false;
        }
      }
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      running = run();
    }, options);
    form.querySelector("[data-cancel]")?.addEventListener("click", () => dialog.close(), options);
    dialog.addEventListener("close", async () => {
      if (dialog.open) {
        return; // the last time's, late
      }
      ended.abort();
      await running;
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
