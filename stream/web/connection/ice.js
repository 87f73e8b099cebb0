// STUN and TURN: the servers that the service announces, and why a connection failed.

import { api } from "./api.js";

const FRESH_MS = 10 * 60 * 1000; // credentials are valid for a day

/** @typedef {{urls: string, username?: string, credential?: string}} Server */

/** @type {Promise<Server[]> | null} */
let asked = null;
let askedAt = -Infinity;

/** The servers for RTCPeerConnection, cached. */
export function iceServers() {
  const now = performance.now();
  if (!asked || now - askedAt > FRESH_MS) {
    askedAt = now;
    asked = readServers();
    asked.catch(forgetIceServers);
  }
  return asked;
}

/** @returns {Promise<Server[]>} */
async function readServers() {
  return (await api("GET", "api/ice-servers")).ice_servers;
}

/** Read the servers again next time, such as after a failed connection. */
export function forgetIceServers() {
  asked = null;
}

/** Records the ICE candidates of a connection, to explain why it failed. */
export class Search {
  #peer;
  #servers;
  /** @type {Set<string | null>} */
  #types = new Set();
  /** @type {number[]} */
  #errors = [];

  /**
   * @param {RTCPeerConnection} peer
   * @param {Server[]} servers of its configuration
   */
  constructor(peer, servers) {
    this.#peer = peer;
    this.#servers = servers;
    peer.addEventListener("icecandidate", ({ candidate }) => candidate && this.#types.add(candidate.type));
    peer.addEventListener("icecandidateerror", ({ errorCode }) => this.#errors.push(errorCode));
  }

  /**
   * Wait for candidates to offer: a local one, and one from the servers.
   * @param {{atMostMs: number, moreMs: number, serversMs: number}} time limits for a local
   *   candidate, for more after the first, and for one from the servers
   * @returns {Promise<void>}
   */
  gathered({ atMostMs, moreMs, serversMs }) {
    const peer = this.#peer;
    const wanted = this.#hasTurn ? "relay" : this.#servers.length ? "srflx" : "";
    return new Promise((resolve) => {
      /** @param {RTCIceCandidate | null} candidate */
      const isEnough = (candidate) => !candidate || !wanted || candidate.type === wanted;
      if (peer.iceGatheringState === "complete") {
        resolve();
      }
      setTimeout(resolve, wanted ? serversMs : atMostMs);
      peer.addEventListener("icecandidate", ({ candidate }) => {
        if (isEnough(candidate)) {
          setTimeout(resolve, candidate ? moreMs : 0);
        }
      });
      peer.addEventListener("icegatheringstatechange", () => {
        if (peer.iceGatheringState === "complete") {
          resolve();
        }
      });
    });
  }

  /**
   * Explain why no connection was established.
   * @param {string} answerSdp of the service, "" if there was none
   */
  whyNot(answerSdp) {
    if (!this.#hasTurn) {
      const address = / typ host/.test(answerSdp) ? ` at ${addressesOf(answerSdp)}` : "";
      return `no route to the service: this network does not reach it by UDP${address}, and no TURN server is configured to relay the video`;
    }
    if (!this.#types.has("relay")) {
      const isRefused = this.#errors.some((code) => code === 401 || code === 403);
      return isRefused
        ? "no route to the service: the TURN server rejects its user or password"
        : "no route to the service: the TURN server cannot be reached from this network";
    }
    if (!answerSdp.includes(" typ relay")) {
      return "no route to the service: the service itself cannot use its TURN server";
    }
    return "no route to the service, not even through the TURN server";
  }

  get #hasTurn() {
    return this.#servers.some(({ urls }) => urls.startsWith("turn"));
  }
}

/** @param {string} sdp */
function addressesOf(sdp) {
  const found = sdp.matchAll(/^a=candidate:\S+ \d+ \S+ \d+ (\S+) \d+ typ host/gm);
  return [...new Set([...found].map((match) => match[1]))].slice(0, 2).join(" or ");
}
