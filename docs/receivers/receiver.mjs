#!/usr/bin/env node
// Receives webhooks of facewire and verifies them; needs Node 18 or newer and no packages.
//
//     FACEWIRE_WEBHOOK_SECRET=... node receiver.mjs [PORT]
//
// Headers and signature are those of Standard Webhooks, https://www.standardwebhooks.com

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// Seconds that a delivery may be old, or its clock ahead: older ones may be replayed by others.
const TOLERANCE_S = 300;
const MAX_BYTES = 1_000_000;
const MAX_REMEMBERED = 10_000;

// The key of a secret: the base64 after whsec_, or the bytes of any other text.
export function keyOf(secret) {
  return secret.startsWith("whsec_")
    ? Buffer.from(secret.slice("whsec_".length), "base64")
    : Buffer.from(secret, "utf8");
}

// Whether a delivery was signed with the key, and not long ago. `body` is a Buffer, as it was
// received, before it is parsed; `now` is in seconds since 1970.
export function isGenuine(key, headers, body, now) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!id || !/^\d+$/.test(timestamp)) return false;
  if (Math.abs(now - Number(timestamp)) > TOLERANCE_S) return false;
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // There are several while a secret is replaced, separated by spaces.
  return (headers["webhook-signature"] ?? "").split(" ").some((each) => {
    if (!each.startsWith("v1,")) return false;
    const given = Buffer.from(each.slice("v1,".length), "base64");
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

// Do with an event what it is for: here it is printed.
function receive(event) {
  console.log(event.at, event.camera, event.kind, event.name ?? "");
}

const secret = process.env.FACEWIRE_WEBHOOK_SECRET;
if (!secret) {
  console.error("set FACEWIRE_WEBHOOK_SECRET to the secret in facewire.toml");
  process.exit(1);
}
const key = keyOf(secret);
const seen = new Set();

// facewire tries again where the answer is not 2xx.
async function answer(request) {
  if (request.method !== "POST") return 405;
  if (!(Number(request.headers["content-length"]) <= MAX_BYTES)) return 413;
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  if (!isGenuine(key, request.headers, body, Date.now() / 1000)) return 401;
  const id = request.headers["webhook-id"];
  if (!seen.has(id)) {
    // It comes again where an answer was lost.
    seen.add(id);
    if (seen.size > MAX_REMEMBERED) seen.delete(seen.values().next().value);
    receive(JSON.parse(body.toString("utf8")).event);
  }
  return 204;
}

const server = createServer({ requestTimeout: 10_000 }, (request, response) => {
  answer(request)
    .catch(() => 400)
    .then((status) => response.writeHead(status).end());
});
server.listen(Number(process.argv[2] ?? 8090), "127.0.0.1", () => {
  console.log(`receiving on http://127.0.0.1:${server.address().port}/`);
});
