// One WebRTC connection that reconnects automatically: to watch a camera, or to publish this browser's.

import { Emitter } from "../page/emitter.js";
import { messageOf } from "../page/text.js";
import { Backoff } from "./backoff.js";
import { Search, forgetIceServers, iceServers } from "./ice.js";

/** @import { Tracks } from "./schemas.js" */
/** @import { Socket } from "./socket.js" */

/**
 * What to connect to: a camera, or the name to publish under; `raw` without annotations, `small` in half size.
 * @typedef {{camera?: string, publish?: string, raw?: boolean, small?: boolean}} Wish
 */

const GATHER = {
  atMostMs: 1500, // for a local candidate
  moreMs: 60, // after the first, for the others: the service discovers those itself
  serversMs: 3000, // for those of STUN and TURN servers, which it does not discover
};
const CONNECT_MS = 15000; // a relayed connection takes about five seconds
const MAX_BITRATE = 4_000_000; // sharp video of 1280x720 at 25 to 30 frames per second

/**
 * Events: "stream" when a stream is available, "state" when `state` or `reason` changed,
 * "faces" with the tracks of a frame of raw video, by its RTP timestamp.
 * @extends {Emitter<{stream: void, state: void, faces: Tracks & {rtp: number}}>}
 */
export class Link extends Emitter {
  /** @type {MediaStream | null} */
  stream = null;
  /** @type {"connecting" | "connected" | "failing" | "off"} */
  state = "connecting";
  reason = "";
  /** What sends the video: "facewire" itself, or the kind of an SFU. */
  via = "facewire";
  /** Why it is not the SFU that is configured, "" if it is or there is none. */
  notice = "";
  #socket;
  #wish;
  #own;
  /** @type {RTCPeerConnection | null} */
  #peer = null;
  /** @type {string | null} */
  #offerId = null;
  #backoff = new Backoff({ firstMs: 400, lastMs: 8000 });
  #generation = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #ended = new AbortController();

  /**
   * @param {Socket} socket
   * @param {Wish} wish
   * @param {MediaStream | null} own the stream of the browser's camera to publish
   */
  constructor(socket, wish, own = null) {
    super();
    this.#socket = socket;
    this.#wish = wish;
    this.#own = own;
    const options = { signal: this.#ended.signal };
    socket.on("open", () => this.restart("", 0), options);
    socket.on("close", () => this.#enter("connecting", "the connection was lost"), options);
    socket.on("closed", ({ id }) => {
      if (id === this.#offerId) {
        this.restart("the service ended the video");
      }
    }, options);
    this.restart("", 0);
  }

  get name() {
    return this.#wish.camera ?? this.#wish.publish ?? "";
  }

  get isOwn() {
    return this.#own !== null;
  }

  /**
   * Reconnect after a growing delay, or after the given one.
   * @param {string} reason
   * @param {number | null} delay in milliseconds
   */
  restart(reason, delay = null) {
    this.#hangUp();
    const growing = this.#backoff.next();
    this.#enter(reason ? "failing" : "connecting", reason);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), delay ?? growing);
  }

  /** Reconnect at once, such as when the camera is back. */
  renew() {
    this.#backoff.reset();
    this.restart("", 0);
  }

  end() {
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#hangUp();
    this.#enter("off", "");
  }

  async #connect() {
    if (!this.#socket.isOpen || this.#ended.signal.aborted) {
      return; // restarts when the socket opens
    }
    const generation = ++this.#generation;
    const isStale = () => generation !== this.#generation;
    if (typeof RTCPeerConnection === "undefined") {
      this.restart("WebRTC is disabled in this browser: enable it to watch video");
      return;
    }
    let servers;
    let peer;
    try {
      servers = await iceServers();
      if (isStale() || this.#ended.signal.aborted) {
        return;
      }
      peer = new RTCPeerConnection({ iceServers: servers });
    } catch (error) {
      if (!isStale() && !this.#ended.signal.aborted) {
        this.restart(messageOf(error));
      }
      return;
    }
    this.#peer = peer;
    const search = new Search(peer, servers);
    let answerSdp = "";
    let wasConnected = false;
    peer.addEventListener("track", ({ track, receiver }) => {
      if ("jitterBufferTarget" in receiver) {
        receiver.jitterBufferTarget = 0; // low latency over smoothness
      }
      this.stream = new MediaStream([track]);
      this.emit("stream");
    });
    peer.addEventListener("connectionstatechange", () => {
      if (isStale()) {
        return;
      }
      if (peer.connectionState === "connected") {
        wasConnected = true;
        this.#backoff.reset();
        clearTimeout(this.#timer);
        this.#enter("connected", "");
      } else if (peer.connectionState === "failed" || peer.connectionState === "disconnected") {
        forgetIceServers();
        this.restart(wasConnected ? "the video connection was lost" : search.whyNot(answerSdp));
      }
    });
    if (this.#wish.raw) {
      const channel = peer.createDataChannel("tracks", { ordered: false, maxRetransmits: 0 });
      channel.addEventListener("message", ({ data }) => {
        this.emit("faces", JSON.parse(data));
      });
    }
    try {
      this.#addVideo(peer);
      await peer.setLocalDescription();
      await search.gathered(GATHER);
      const answer = await this.#socket.offer({ ...this.#wish, sdp: peer.localDescription?.sdp });
      if (isStale()) {
        this.#socket.hangUp(answer.id);
        return;
      }
      this.#offerId = answer.id;
      this.via = answer.via;
      this.notice = answer.notice;
      answerSdp = answer.sdp;
      await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      if (!isStale() && peer.connectionState !== "connected") {
        this.#timer = setTimeout(() => {
          forgetIceServers();
          this.restart(search.whyNot(answerSdp));
        }, CONNECT_MS);
      }
    } catch (error) {
      if (!isStale()) {
        this.restart(messageOf(error));
      }
    }
  }

  /** @param {RTCPeerConnection} peer */
  #addVideo(peer) {
    if (!this.#own) {
      peer.addTransceiver("video", { direction: "recvonly" });
      return;
    }
    const [track] = this.#own.getVideoTracks();
    const { sender } = peer.addTransceiver(track, {
      direction: "sendrecv",
      streams: [this.#own],
      sendEncodings: [{ maxBitrate: MAX_BITRATE, maxFramerate: 30 }],
    });
    // Small faces need resolution more than frame rate.
    const parameters = sender.getParameters();
    parameters.degradationPreference = "maintain-resolution";
    sender.setParameters(parameters).catch(() => {}); // not supported by every browser
  }

  #hangUp() {
    this.#generation += 1;
    if (this.#offerId !== null) {
      this.#socket.hangUp(this.#offerId);
      this.#offerId = null;
    }
    this.#peer?.close();
    this.#peer = null;
  }

  /**
   * @param {Link["state"]} state
   * @param {string} reason
   */
  #enter(state, reason) {
    if (state !== this.state || reason !== this.reason) {
      this.state = state;
      this.reason = reason;
      this.emit("state");
    }
  }
}
