// The WebSocket: comes back by itself, speaks JSON, matches answers to offers.

import { ApiError, api } from "./api.js";

const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 8000;
const ANSWER_TIMEOUT_MS = 10000;
const SILENCE_MS = 7000; // the service sends something every two seconds
const CHECK_MS = 1000;

const NOT_PASSED_ON =
  "The service answers, but its live connection does not come through: a proxy must pass on WebSocket " +
  "(nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;).";

/**
 * Events: "open", "close" with the reason as detail where one is known, and one of each message's
 * type with the message as detail.
 */
export class Socket extends EventTarget {
  #socket = null;
  #heardAt = 0;
  #attempt = 0;
  #timer = 0;
  #nextId = 1;
  #offers = new Map();
  #followed = null;

  constructor() {
    super();
    // A connection that is cut without a word is lost, too, such as by a sleeping laptop.
    setInterval(() => this.#check(), CHECK_MS);
    window.addEventListener("online", () => this.#retry());
    document.addEventListener("visibilitychange", () => !document.hidden && this.#retry());
  }

  connect() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const address = new URL("api/ws", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    this.#socket = socket;
    this.#heardAt = Date.now();
    let wasOpen = false;
    socket.addEventListener("open", () => {
      if (socket !== this.#socket) {
        return;
      }
      wasOpen = true;
      this.#attempt = 0;
      this.#heardAt = Date.now();
      this.dispatchEvent(new Event("open"));
      this.follow(this.#followed);
    });
    socket.addEventListener("message", (event) => {
      if (socket === this.#socket) {
        this.#heardAt = Date.now();
        this.#hear(JSON.parse(event.data));
      }
    });
    socket.addEventListener("close", ({ reason }) => {
      if (socket === this.#socket) {
        this.#closed(reason, wasOpen);
      }
    });
  }

  /** Give up a connection on which nothing comes. */
  #check() {
    if (this.#socket && Date.now() - this.#heardAt > SILENCE_MS) {
      const silent = this.#socket;
      const wasOpen = this.isOpen;
      this.#closed("", wasOpen);
      silent.close();
    }
  }

  /** Connect now where a later try is planned. */
  #retry() {
    if (this.#timer) {
      this.#attempt = 0;
      this.connect();
    }
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

  #closed(reason, wasOpen) {
    this.#socket = null;
    for (const id of [...this.#offers.keys()]) {
      this.#settle(id, null, "the connection was lost");
    }
    this.dispatchEvent(new CustomEvent("close", { detail: reason }));
    if (!wasOpen && !reason) {
      this.#explain();
    }
    // Some chance in it, so that a hundred pages do not come back in the same instant.
    const delay = Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#timer = setTimeout(() => this.connect(), delay * (0.75 + Math.random() / 2));
  }

  /** Ask why it was refused: browsers tell a page nothing of it. */
  async #explain() {
    let reason = NOT_PASSED_ON;
    try {
      await api("OPTIONS", "api/ws");
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      // A service that is away, or a missing token, is shown by the page already.
      reason = error.status === 0 || error.status === 401 || error.status >= 500 ? "" : error.message;
    }
    if (reason && !this.isOpen) {
      this.dispatchEvent(new CustomEvent("refused", { detail: reason }));
    }
  }
}
