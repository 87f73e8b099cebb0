// Modal dialogs: the browser keeps the focus inside, Escape closes them.

import { byId, find } from "./dom.js";
import { messageOf, sentence } from "./text.js";

/** Returned by `submit` to keep the dialog open. */
export const STAY = Symbol("stay open");

/** @type {WeakMap<HTMLDialogElement, symbol>} the newest use of each dialog */
const uses = new WeakMap();

/**
 * Open a dialog that runs `submit` when its form is submitted; it stays open with the reason if that
 * fails, or if it returns STAY. Resolves to the result of `submit`, true if there is none, or null if
 * the person canceled: closing the dialog aborts the signal of `submit`, and waits until it has ended.
 * @template T
 * @param {string} prefix of the ids: PREFIX-dialog, PREFIX-form, PREFIX-problem
 * @param {(signal: AbortSignal) => Promise<T | typeof STAY>} submit
 * @returns {Promise<NonNullable<T> | true | null>}
 */
export function ask(prefix, submit) {
  const dialog = byId(`${prefix}-dialog`, HTMLDialogElement);
  const form = byId(`${prefix}-form`);
  const problem = byId(`${prefix}-problem`);
  const button = find(form, "[type=submit]", HTMLButtonElement);
  problem.hidden = true;
  button.disabled = false;
  const use = Symbol(prefix);
  uses.set(dialog, use);
  return new Promise((resolve) => {
    /** @type {NonNullable<T> | true | null} */
    let result = null;
    let running = Promise.resolve();
    const ended = new AbortController();
    const options = { signal: ended.signal };
    const run = async () => {
      button.disabled = true;
      problem.hidden = true;
      try {
        const answer = (await submit(ended.signal)) ?? true;
        result = answer === STAY ? null : /** @type {NonNullable<T> | true} */ (answer);
        if (answer !== STAY && !ended.signal.aborted) {
          dialog.close();
        }
      } catch (error) {
        // By now another use of the dialog may be open.
        if (ended.signal.aborted) {
          return;
        }
        problem.textContent = sentence(messageOf(error));
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
      if (dialog.open && uses.get(dialog) === use) {
        return; // the late event of the use before, which ends by it
      }
      ended.abort();
      await running;
      resolve(result);
    }, options);
    dialog.showModal();
  });
}

/**
 * Ask for confirmation; resolves as `ask` does.
 * @template T
 * @param {{title: string, text: string, yes: string, run: () => Promise<T>}} question
 */
export function confirm({ title, text, yes, run }) {
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  return ask("confirm", run);
}
