// The WebSocket: comes back by itself, speaks JSON, matches answers to offers.

import { Emitter } from "../page/emitter.js";
import { ApiError, api } from "./api.js";
import { Backoff } from "./backoff.js";
import { Offers } from "./offers.js";

/** @import { Camera, Event, Tracks } from "./schemas.js" */

const SILENCE_MS = 7000; // the service sends something every two seconds
const CHECK_MS = 1000;

const NOT_PASSED_ON =
  "The service answers, but its live connection does not come through: a proxy must pass on WebSocket " +
  "(nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;).";

/**
 * Events: "open", "close" and "refused" with the reason as detail, "" where none is known, and one
 * of each message's type with the message as detail.
 * @extends {Emitter<{
 *   open: void, close: string, refused: string,
 *   cameras: {cameras: Camera[]}, tracks: Tracks, event: {event: Event}, closed: {id: string}}>}
 */
export class Socket extends Emitter {
  /** @type {WebSocket | null} */
  #socket = null;
  #heardAt = 0;
  #backoff = new Backoff({ firstMs: 500, lastMs: 8000, spread: 0.25 });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #offers = new Offers();
  /** @type {string | null} */
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
    this.#timer = undefined;
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
      this.#backoff.reset();
      this.#heardAt = Date.now();
      this.emit("open");
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
    if (this.#timer !== undefined) {
      this.#backoff.reset();
      this.connect();
    }
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /**
   * Offer a connection; resolves to the answer or fails with the service's reason.
   * @param {object} fields of the message, but its type and id
   */
  async offer(fields) {
    if (!this.isOpen) {
      throw new Error("not connected");
    }
    const { id, answered } = this.#offers.add();
    this.#send({ type: "offer", id, ...fields });
    return answered;
  }

  /** @param {string} id of an offer */
  hangUp(id) {
    this.#send({ type: "close", id });
  }

  /** @param {string | null} camera whose faces are wanted, null for none */
  follow(camera) {
    this.#followed = camera;
    this.#send({ type: "follow", camera });
  }

  /** @param {object} message */
  #send(message) {
    if (this.isOpen) {
      this.#socket?.send(JSON.stringify(message));
    }
  }

  /** @param {any} message */
  #hear(message) {
    if (message.type === "answer") {
      this.#offers.accept(message);
    } else if (message.type === "error" && message.id) {
      this.#offers.refuse(message.id, message.message);
    } else {
      this.emit(message.type, message);
    }
  }

  /**
   * @param {string} reason
   * @param {boolean} wasOpen
   */
  #closed(reason, wasOpen) {
    this.#socket = null;
    this.#offers.refuseAll("the connection was lost");
    this.emit("close", reason);
    if (!wasOpen && !reason) {
      this.#explain();
    }
    this.#timer = setTimeout(() => this.connect(), this.#backoff.next());
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
      this.emit("refused", reason);
    }
  }
}
