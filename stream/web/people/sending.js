// Sending photos one by one.

/** @import { Identity, Rejected } from "../connection/schemas.js" */

/**
 * The result for a photo: the person it was added to, or the reason why it was rejected.
 * @typedef {{identity: Identity | null, reason: string | null}} Outcome
 */

/** Sends photos and counts them as added or refused. */
export class Sending {
  added = 0;
  refused = 0;
  #files;
  #post;

  /**
   * @param {File[]} files
   * @param {(file: File, index: number) => Promise<Outcome>} post sends one
   */
  constructor(files, post) {
    this.#files = files;
    this.#post = post;
  }

  get sent() {
    return this.added + this.refused;
  }

  /**
   * Send one after another; an aborted signal stops before the next one. A failure stops too, and is
   * ignored after an abort.
   * @param {AbortSignal} signal
   * @param {(file: File, outcome: Outcome) => void} ended called after each
   */
  async run(signal, ended) {
    for (const [index, file] of this.#files.entries()) {
      if (signal.aborted) {
        return;
      }
      let outcome;
      try {
        outcome = await this.#post(file, index);
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        throw error;
      }
      if (outcome.reason === null) {
        this.added += 1;
      } else {
        this.refused += 1;
      }
      ended(file, outcome);
    }
  }
}

/**
 * Why a photo was rejected, if the error is a rejection; null for another failure.
 * @param {{status: number, message: string, rejected: Rejected[] | null}} error
 */
export function refusalOf(error) {
  if (error.rejected?.length) {
    return error.rejected[0].detail;
  }
  return error.status === 413 ? error.message : null;
}
