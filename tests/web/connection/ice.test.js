// STUN and TURN: when there are enough addresses, and why no connection came up.

import assert from "node:assert/strict";
import test from "node:test";

import { Search } from "../../../stream/web/connection/ice.js";

const TURN = { urls: "turn:turn.example:3478", username: "u", credential: "p" };
const STUN = { urls: "stun:stun.example" };
const TIMES = { atMostMs: 1500, moreMs: 60, serversMs: 3000 };
const HOST_ANSWER =
  "v=0\r\n" +
  "a=candidate:1 1 udp 2130706431 192.0.2.7 51000 typ host\r\n" +
  "a=candidate:2 1 udp 2130706431 192.0.2.8 51000 typ host\r\n" +
  "a=candidate:1 2 udp 2130706430 192.0.2.7 51001 typ host\r\n";

/** A peer of which only the search for addresses matters. */
class Peer extends EventTarget {
  iceGatheringState = "new";

  find(type) {
    this.dispatchEvent(Object.assign(new Event("icecandidate"), { candidate: type && { type } }));
  }

  fail(errorCode) {
    this.dispatchEvent(Object.assign(new Event("icecandidateerror"), { errorCode }));
  }
}

test("without TURN, the addresses that were tried are named once each", () => {
  const search = new Search(new Peer(), []);
  const reason = search.whyNot(HOST_ANSWER);
  assert.match(reason, /by UDP at 192\.0\.2\.7 or 192\.0\.2\.8, and no TURN server is set up/);
});

test("without TURN and without an answer, no address is named", () => {
  assert.match(new Search(new Peer(), [STUN]).whyNot(""), /by UDP, and no TURN server/);
});

test("a TURN server that refuses is told from one that is out of reach", () => {
  for (const code of [401, 403]) {
    const peer = new Peer();
    const search = new Search(peer, [TURN]);
    peer.fail(code);
    assert.match(search.whyNot(""), /refuses its user or password/);
  }
  const peer = new Peer();
  const search = new Search(peer, [TURN]);
  peer.fail(701);
  assert.match(search.whyNot(""), /cannot be reached from this network/);
});

test("with a relay here, the service's own side is named", () => {
  const peer = new Peer();
  const search = new Search(peer, [STUN, TURN]);
  peer.find("relay");
  assert.match(search.whyNot(HOST_ANSWER), /the service itself cannot use its TURN server/);
  assert.match(search.whyNot(`${HOST_ANSWER}a=candidate:9 1 udp 1 192.0.2.9 5 typ relay\r\n`), /not even through/);
});

/** Whether a promise has resolved by now. */
async function isResolved(promise) {
  return Promise.race([promise.then(() => true), new Promise((resolve) => { setImmediate(() => resolve(false)); })]);
}

test("the address that the servers give ends the search, a moment later", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const peer = new Peer();
  const gathered = new Search(peer, [STUN, TURN]).gathered(TIMES);
  peer.find("host");
  peer.find("srflx");
  context.mock.timers.tick(TIMES.moreMs);
  assert.equal(await isResolved(gathered), false);
  peer.find("relay");
  assert.equal(await isResolved(gathered), false);
  context.mock.timers.tick(TIMES.moreMs);
  assert.equal(await isResolved(gathered), true);
});

test("without servers the first address of this machine ends it", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const peer = new Peer();
  const gathered = new Search(peer, []).gathered(TIMES);
  peer.find("host");
  context.mock.timers.tick(TIMES.moreMs);
  assert.equal(await isResolved(gathered), true);
});

test("servers that give nothing are not waited for without end", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const gathered = new Search(new Peer(), [TURN]).gathered(TIMES);
  context.mock.timers.tick(TIMES.serversMs - 1);
  assert.equal(await isResolved(gathered), false);
  context.mock.timers.tick(1);
  assert.equal(await isResolved(gathered), true);
});

test("a search that is complete is at an end", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const peer = new Peer();
  const gathered = new Search(peer, [TURN]).gathered(TIMES);
  peer.iceGatheringState = "complete";
  peer.dispatchEvent(new Event("icegatheringstatechange"));
  assert.equal(await isResolved(gathered), true);
});
