// The WebSocket: reconnects automatically, carries JSON, matches answers to offers.

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
 * Events: "open"; "close" and "refused" with the reason, "" if unknown; and for each message an
 * event named by its type, with the message as detail.
 * @extends {Emitter<{
 *   open: void, close: string, refused: string,
 *   cameras: {cameras: Camera[]}, tracks: Tracks, event: {event: Event}, closed: {id: string}}>}
 */
export class Socket extends Emitter {
  /** @type {WebSocket | null} */
  #socket = null;
  #receivedAt = 0;
  #backoff = new Backoff({ firstMs: 500, lastMs: 8000, spread: 0.25 });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #offers = new Offers();
  /** @type {string | null} */
  #followed = null;

  constructor() {
    super();
    // A connection can be lost without a close event, such as on a laptop that was suspended.
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
    this.#receivedAt = Date.now();
    let wasOpen = false;
    socket.addEventListener("open", () => {
      if (socket !== this.#socket) {
        return;
      }
      wasOpen = true;
      this.#backoff.reset();
      this.#receivedAt = Date.now();
      this.emit("open");
      this.follow(this.#followed);
    });
    socket.addEventListener("message", (event) => {
      if (socket === this.#socket) {
        this.#receivedAt = Date.now();
        this.#receive(JSON.parse(event.data));
      }
    });
    socket.addEventListener("close", ({ reason }) => {
      if (socket === this.#socket) {
        this.#closed(reason, wasOpen);
      }
    });
  }

  /** Close a connection on which nothing arrives. */
  #check() {
    if (this.#socket && Date.now() - this.#receivedAt > SILENCE_MS) {
      const silent = this.#socket;
      const wasOpen = this.isOpen;
      this.#closed("", wasOpen);
      silent.close();
    }
  }

  /** Connect now if a retry is scheduled. */
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
   * Send a WebRTC offer; resolves to the answer or rejects with the service's reason.
   * @param {object} fields of the message, without type and id
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

  /** @param {string | null} camera whose tracks to receive, null for none */
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
  #receive(message) {
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

  /** Find out why it was refused: browsers do not expose the reason to the page. */
  async #explain() {
    let reason = NOT_PASSED_ON;
    try {
      await api("OPTIONS", "api/ws");
    } catch (error) {
      if (!(error instanceof ApiError)) {
        throw error;
      }
      // An unreachable service and a missing token are shown elsewhere on the page.
      reason = error.status === 0 || error.status === 401 || error.status >= 500 ? "" : error.message;
    }
    if (reason && !this.isOpen) {
      this.emit("refused", reason);
    }
  }
}
