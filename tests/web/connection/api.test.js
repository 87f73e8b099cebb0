// The HTTP API, by a real server on this machine.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import test, { after, before, beforeEach } from "node:test";

import { ApiError, api, apiList } from "../../../stream/web/connection/api.js";

const { fetch } = globalThis;
let base = "";
let signedOut = 0;
/** Answers the next request. */
let answer = (_request, response) => response.end();
const server = createServer((request, response) => answer(request, response));

before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  base = `http://127.0.0.1:${server.address().port}/`;
  // A page's addresses are relative to it.
  globalThis.fetch = (path, options) => fetch(new URL(path, base), options);
  globalThis.window = new EventTarget();
  globalThis.window.addEventListener("facewire:signed-out", () => { signedOut += 1; });
});
beforeEach(() => { signedOut = 0; });
after(() => {
  globalThis.fetch = fetch;
  server.close();
});

const json = (status, body, headers = {}) => (_request, response) => {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
};

/** Make a request fail, and return its error. */
async function failureOf(request) {
  const error = await request.then(() => assert.fail("it did not fail"), (reason) => reason);
  assert.ok(error instanceof ApiError);
  return error;
}

test("a body is sent as JSON, and the answer is read as JSON", async () => {
  let seen = {};
  answer = async (request, response) => {
    let body = "";
    for await (const part of request) {
      body += part;
    }
    seen = { method: request.method, url: request.url, type: request.headers["content-type"], body };
    json(200, { name: "yard" })(request, response);
  };
  assert.deepEqual(await api("PATCH", "api/cameras/yard", { enabled: false }), { name: "yard" });
  assert.deepEqual(seen, {
    method: "PATCH", url: "/api/cameras/yard", type: "application/json", body: '{"enabled":false}',
  });
});

test("a form is sent as one", async () => {
  let type = "";
  answer = (request, response) => {
    type = request.headers["content-type"];
    json(201, {})(request, response);
  };
  const form = new FormData();
  form.append("name", "Ada");
  await api("POST", "api/identities", form);
  assert.match(type, /^multipart\/form-data; boundary=/);
});

test("an answer without JSON is null", async () => {
  answer = (_request, response) => response.writeHead(204).end();
  assert.equal(await api("DELETE", "api/cameras/yard"), null);
});

test("a failure has the service's reason and status", async () => {
  answer = json(409, { error: "there is a camera yard already" });
  const error = await failureOf(api("POST", "api/cameras", {}));
  assert.equal(error.message, "there is a camera yard already");
  assert.equal(error.status, 409);
  assert.equal(signedOut, 0);
});

test("refused photos are the reason where there is no other", async () => {
  const rejected = [
    { image: "a.jpg", reason: "no_face", detail: "no face found" },
    { image: "b.jpg", reason: "not_an_image", detail: "not a JPEG" },
  ];
  answer = json(422, { rejected });
  const error = await failureOf(api("POST", "api/identities", new FormData()));
  assert.equal(error.message, "a.jpg: no face found; b.jpg: not a JPEG");
  assert.deepEqual(error.rejected, rejected);
});

test("a proxy's page is no reason", async () => {
  answer = (_request, response) => response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad</h1>");
  assert.equal((await failureOf(api("GET", "api/cameras"))).message, "the service answered 502");
});

test("a missing token is made known to the page", async () => {
  answer = json(401, { error: "a token is needed" });
  assert.equal((await failureOf(api("GET", "api/cameras"))).status, 401);
  assert.equal(signedOut, 1);
});

test("a service that does not answer has no status", async () => {
  answer = (request) => request.socket.destroy();
  const error = await failureOf(api("GET", "api/cameras"));
  assert.equal(error.status, 0);
  assert.equal(error.message, "the service does not answer");
});

test("a list has its total and the address of its next page", async () => {
  answer = json(200, [{ name: "Ada" }], {
    "x-total-count": "120", link: '</api/identities?limit=1&after=3>; rel="next"',
  });
  assert.deepEqual(await apiList("api/identities?limit=1"), {
    rows: [{ name: "Ada" }], total: 120, next: `${base}api/identities?limit=1&after=3`,
  });
});

test("the last page of a list has none after it", async () => {
  answer = json(200, [], { "x-total-count": "0" });
  assert.deepEqual(await apiList("api/identities"), { rows: [], total: 0, next: null });
});
