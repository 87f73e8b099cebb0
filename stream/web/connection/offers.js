// Pending WebRTC offers.

const ANSWER_TIMEOUT_MS = 10000;

/** @typedef {{id: string, sdp: string, via: string, notice: string}} Answer */

export class Offers {
  #nextId = 1;
  /** @type {Map<string, {resolve: (answer: Answer) => void, reject: (error: Error) => void, timer: ReturnType<typeof setTimeout>}>} */
  #waiting = new Map();

  /**
   * Register an offer; its promise rejects if no answer arrives in time.
   * @returns {{id: string, answered: Promise<Answer>}} the id is unique
   */
  add() {
    const id = String(this.#nextId++);
    /** @type {Promise<Answer>} */
    const answered = new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.refuse(id, "no answer"), ANSWER_TIMEOUT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
    });
    return { id, answered };
  }

  /** @param {Answer} answer */
  accept(answer) {
    this.#take(answer.id)?.resolve(answer);
  }

  /**
   * @param {string} id
   * @param {string} reason
   */
  refuse(id, reason) {
    this.#take(id)?.reject(new Error(reason));
  }

  /** @param {string} reason */
  refuseAll(reason) {
    for (const id of [...this.#waiting.keys()]) {
      this.refuse(id, reason);
    }
  }

  /** @param {string} id */
  #take(id) {
    const offer = this.#waiting.get(id);
    this.#waiting.delete(id);
    clearTimeout(offer?.timer);
    return offer;
  }
}
