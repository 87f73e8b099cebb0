// STUN and TURN: when enough candidates are gathered, and why a connection failed.

import assert from "node:assert/strict";
import test from "node:test";

import { Search, forgetIceServers, iceServers } from "../../../stream/web/connection/ice.js";
import { json, serve, service } from "../service.js";

serve();

const TURN = { urls: "turn:turn.example:3478", username: "u", credential: "p" };
const STUN = { urls: "stun:stun.example" };
const TIMES = { atMostMs: 1500, moreMs: 60, serversMs: 3000 };
const HOST_ANSWER =
  "v=0\r\n" +
  "a=candidate:1 1 udp 2130706431 192.0.2.7 51000 typ host\r\n" +
  "a=candidate:2 1 udp 2130706431 192.0.2.8 51000 typ host\r\n" +
  "a=candidate:1 2 udp 2130706430 192.0.2.7 51001 typ host\r\n";

/** The events of an RTCPeerConnection that gathering candidates uses. */
class Peer extends EventTarget {
  iceGatheringState = "new";

  find(type) {
    this.dispatchEvent(Object.assign(new Event("icecandidate"), { candidate: type && { type } }));
  }

  fail(errorCode) {
    this.dispatchEvent(Object.assign(new Event("icecandidateerror"), { errorCode }));
  }
}

test("without TURN, the addresses of the answer are named once each", () => {
  const search = new Search(new Peer(), []);
  const reason = search.whyNot(HOST_ANSWER);
  assert.match(reason, /by UDP at 192\.0\.2\.7 or 192\.0\.2\.8, and no TURN server is configured/);
});

test("without TURN and without an answer, no address is named", () => {
  assert.match(new Search(new Peer(), [STUN]).whyNot(""), /by UDP, and no TURN server/);
});

test("a TURN server that rejects the credentials is distinguished from one that is out of reach", () => {
  for (const code of [401, 403]) {
    const peer = new Peer();
    const search = new Search(peer, [TURN]);
    peer.fail(code);
    assert.match(search.whyNot(""), /rejects its user or password/);
  }
  const peer = new Peer();
  const search = new Search(peer, [TURN]);
  peer.fail(701);
  assert.match(search.whyNot(""), /cannot be reached from this network/);
});

test("with a relay on this side, the service's side is named", () => {
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

test("a candidate of the servers completes gathering, shortly after", async (context) => {
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

test("without servers the first local candidate completes it", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const peer = new Peer();
  const gathered = new Search(peer, []).gathered(TIMES);
  peer.find("host");
  context.mock.timers.tick(TIMES.moreMs);
  assert.equal(await isResolved(gathered), true);
});

test("unresponsive servers are waited for only so long", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const gathered = new Search(new Peer(), [TURN]).gathered(TIMES);
  context.mock.timers.tick(TIMES.serversMs - 1);
  assert.equal(await isResolved(gathered), false);
  context.mock.timers.tick(1);
  assert.equal(await isResolved(gathered), true);
});

test("gathering completes with the browser's", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const peer = new Peer();
  const gathered = new Search(peer, [TURN]).gathered(TIMES);
  peer.iceGatheringState = "complete";
  peer.dispatchEvent(new Event("icegatheringstatechange"));
  assert.equal(await isResolved(gathered), true);
});

test("the servers are read again after ten minutes, or a failed connection", async (context) => {
  let requests = 0;
  let now = 5_000_000;
  context.mock.method(performance, "now", () => now);
  service.answer = (request, response) => {
    requests += 1;
    json(200, { ice_servers: [STUN] })(request, response);
  };
  assert.deepEqual(await iceServers(), [STUN]);
  now += 600_000;
  await iceServers();
  assert.equal(requests, 1);
  now += 1;
  await iceServers();
  assert.equal(requests, 2);
  forgetIceServers();
  await iceServers();
  assert.equal(requests, 3);
  forgetIceServers();
});

test("servers that could not be read are read again", async () => {
  service.answer = json(503, { error: "busy" });
  await assert.rejects(iceServers(), /busy/);
  service.answer = json(200, { ice_servers: [TURN] });
  assert.deepEqual(await iceServers(), [TURN]);
});
