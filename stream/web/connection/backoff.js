// Delays between retries.

/** Delays that double from `firstMs` to `lastMs`. */
export class Backoff {
  #attempt = 0;
  #firstMs;
  #lastMs;
  #spread;
  #random;

  /**
   * @param {{firstMs: number, lastMs: number, spread?: number, random?: () => number}} options
   *   `spread` is the random part of a delay, as a fraction of it, so that a hundred pages do not
   *   reconnect at the same time; `random` returns numbers from 0 to 1.
   */
  constructor({ firstMs, lastMs, spread = 0, random = Math.random }) {
    this.#firstMs = firstMs;
    this.#lastMs = lastMs;
    this.#spread = spread;
    this.#random = random;
  }

  /** The next delay in milliseconds. */
  next() {
    const delay = Math.min(this.#lastMs, this.#firstMs * 2 ** this.#attempt);
    this.#attempt += 1;
    return delay * (1 + this.#spread * (2 * this.#random() - 1));
  }

  /** Start with the first delay again. */
  reset() {
    this.#attempt = 0;
  }
}
