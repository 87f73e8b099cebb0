// How long to wait before trying again.

/** Delays that double from `firstMs` to `lastMs`. */
export class Backoff {
  #attempt = 0;
  #firstMs;
  #lastMs;
  #spread;
  #random;

  /**
   * @param {{firstMs: number, lastMs: number, spread?: number, random?: () => number}} options
   *   `spread` is the share by which chance makes a delay longer or shorter, so that a hundred
   *   pages do not come back in the same instant; `random` gives numbers from 0 to 1.
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

  /** Begin with the first delay again. */
  reset() {
    this.#attempt = 0;
  }
}
