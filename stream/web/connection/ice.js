// STUN and TURN: the servers that the service gives its viewers, and why no connection came up.

import { api } from "./api.js";

const FRESH_MS = 10 * 60 * 1000; // credentials are good for a day

/** @typedef {{urls: string, username?: string, credential?: string}} Server */

/** @type {Promise<Server[]> | null} */
let asked = null;
let askedAt = -Infinity;

/** The servers for RTCPeerConnection; asks the service now and then. */
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

/** Ask the service anew the next time, such as after a failed connection. */
export function forgetIceServers() {
  asked = null;
}

/** Notes what a connection's search for addresses brought, for saying why it failed. */
export class Search {
  #peer;
  #servers;
  /** @type {Set<string | null>} */
  #types = new Set();
  /** @type {number[]} */
  #errors = [];

  /**
   * @param {RTCPeerConnection} peer
   * @param {Server[]} servers that it was given
   */
  constructor(peer, servers) {
    this.#peer = peer;
    this.#servers = servers;
    peer.addEventListener("icecandidate", ({ candidate }) => candidate && this.#types.add(candidate.type));
    peer.addEventListener("icecandidateerror", ({ errorCode }) => this.#errors.push(errorCode));
  }

  /**
   * Wait for addresses to offer: one of this machine's, and one of each kind that servers give.
   * @param {{atMostMs: number, moreMs: number, serversMs: number}} times for an address of this
   *   machine, for others after the first, and for one that servers give
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
   * Say why no connection came up.
   * @param {string} answerSdp of the service, "" where none came
   */
  whyNot(answerSdp) {
    if (!this.#hasTurn) {
      const address = / typ host/.test(answerSdp) ? ` at ${addressesOf(answerSdp)}` : "";
      return `no way to the service was found: this network does not reach it by UDP${address}, and no TURN server is set up to relay the video`;
    }
    if (!this.#types.has("relay")) {
      const isRefused = this.#errors.some((code) => code === 401 || code === 403);
      return isRefused
        ? "no way to the service was found: the TURN server refuses its user or password"
        : "no way to the service was found: the TURN server cannot be reached from this network";
    }
    if (!answerSdp.includes(" typ relay")) {
      return "no way to the service was found: the service itself cannot use its TURN server";
    }
    return "no way to the service was found, not even through the TURN server";
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
