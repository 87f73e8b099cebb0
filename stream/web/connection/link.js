// One WebRTC connection that comes back by itself: a camera watched, or this browser's own sent.

import { Emitter } from "../page/emitter.js";
import { messageOf } from "../page/text.js";
import { Backoff } from "./backoff.js";
import { Search, forgetIceServers, iceServers } from "./ice.js";

/** @import { Tracks } from "./schemas.js" */
/** @import { Socket } from "./socket.js" */

/**
 * What is wanted: a camera, with raw or small true where that is, or to send one's own.
 * @typedef {{camera?: string, publish?: string, raw?: boolean, small?: boolean}} Wish
 */

const GATHER = {
  atMostMs: 1500, // for one of this machine's addresses
  moreMs: 60, // after the first, for the others: the service finds those by itself
  serversMs: 3000, // for those that STUN and TURN servers give, which it does not find
};
const CONNECT_MS = 15000; // over a relay it takes about five seconds
const MAX_BITRATE = 4_000_000; // a sharp 1280x720 picture at 25 to 30 a second

/**
 * Events: "stream" when there is a picture to come, "state" when `state` or `reason` changed,
 * "faces" with those of a frame of raw video, by its RTP timestamp.
 * @extends {Emitter<{stream: void, state: void, faces: Tracks & {rtp: number}}>}
 */
export class Link extends Emitter {
  /** @type {MediaStream | null} */
  stream = null;
  /** @type {"connecting" | "connected" | "failing" | "off"} */
  state = "connecting";
  reason = "";
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
   * @param {MediaStream | null} own the stream of the browser's camera, to publish
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
   * Begin anew after a growing delay, or after another.
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

  end() {
    this.#ended.abort();
    clearTimeout(this.#timer);
    this.#hangUp();
    this.#enter("off", "");
  }

  async #connect() {
    if (!this.#socket.isOpen || this.#ended.signal.aborted) {
      return; // the socket's return begins it anew
    }
    const generation = ++this.#generation;
    const isStale = () => generation !== this.#generation;
    if (typeof RTCPeerConnection === "undefined") {
      this.restart("this browser has WebRTC, by which the video comes, switched off");
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
        receiver.jitterBufferTarget = 0; // live before smooth
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
    // Small faces need the pixels more than the rate.
    const parameters = sender.getParameters();
    parameters.degradationPreference = "maintain-resolution";
    sender.setParameters(parameters).catch(() => {}); // not every browser has a choice
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
