// The WebSocket: comes back by itself, speaks JSON, matches answers to offers.

const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 8000;
const ANSWER_TIMEOUT_MS = 10000;

/** Events: "open", "close", and one of each message's type with the message as detail. */
export class Socket extends EventTarget {
  #socket = null;
  #attempt = 0;
  #timer = 0;
  #nextId = 1;
  #offers = new Map();
  #followed = null;

  connect() {
    clearTimeout(this.#timer);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/ws`);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      this.#attempt = 0;
      this.dispatchEvent(new Event("open"));
      this.follow(this.#followed);
    });
    socket.addEventListener("message", (event) => this.#hear(JSON.parse(event.data)));
    socket.addEventListener("close", () => this.#closed());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Offer a connection; resolves to {id, sdp} or fails with the service's reason. */
  offer(fields) {
    const id = String(this.#nextId++);
    return new Promise((resolve, reject) => {
      if (!this.isOpen) {
        reject(new Error("not connected"));
        return;
      }
      const timer = setTimeout(() => this.#settle(id, null, "no answer"), ANSWER_TIMEOUT_MS);
      this.#offers.set(id, { resolve, reject, timer });
      this.#send({ type: "offer", id, ...fields });
    });
  }

  hangUp(id) {
    this.#send({ type: "close", id });
  }

  follow(camera) {
    this.#followed = camera;
    this.#send({ type: "follow", camera });
  }

  #send(message) {
    if (this.isOpen) {
      this.#socket.send(JSON.stringify(message));
    }
  }

  #hear(message) {
    if (message.type === "answer") {
      this.#settle(message.id, message);
    } else if (message.type === "error" && message.id) {
      this.#settle(message.id, null, message.message);
    } else {
      this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
    }
  }

  #settle(id, answer, reason = "") {
    const offer = this.#offers.get(id);
    if (!offer) {
      return;
    }
    this.#offers.delete(id);
    clearTimeout(offer.timer);
    if (answer) {
      offer.resolve(answer);
    } else {
      offer.reject(new Error(reason));
    }
  }

  #closed() {
    for (const id of [...this.#offers.keys()]) {
      this.#settle(id, null, "the connection was lost");
    }
    this.dispatchEvent(new Event("close"));
    // Some chance in it, so that a hundred pages do not come back in the same instant.
    const delay = Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.connect(), delay * (0.75 + Math.random() / 2));
  }
}
