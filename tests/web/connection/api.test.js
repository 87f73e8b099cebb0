// Requests to the HTTP API, with a real local server.

import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";

import { ApiError, api, apiList, attempt, isShownElsewhere } from "../../../stream/web/connection/api.js";
import { json, serve, service } from "../service.js";

let signedOut = 0;

serve();
globalThis.window.addEventListener("facewire:signed-out", () => { signedOut += 1; });
beforeEach(() => { signedOut = 0; });

/** Await a request that must fail, and return its error. */
async function failureOf(request) {
  const error = await request.then(() => assert.fail("it did not fail"), (reason) => reason);
  assert.ok(error instanceof ApiError);
  return error;
}

test("the body is sent as JSON, and the response is parsed as JSON", async () => {
  let seen = {};
  service.answer = async (request, response) => {
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
  service.answer = (request, response) => {
    type = request.headers["content-type"];
    json(201, {})(request, response);
  };
  const form = new FormData();
  form.append("name", "Ada");
  await api("POST", "api/identities", form);
  assert.match(type, /^multipart\/form-data; boundary=/);
});

test("a response without JSON is null", async () => {
  service.answer = (_request, response) => response.writeHead(204).end();
  assert.equal(await api("DELETE", "api/cameras/yard"), null);
});

test("a failure has the service's reason and status", async () => {
  service.answer = json(409, { error: "there is a camera yard already" });
  const error = await failureOf(api("POST", "api/cameras", {}));
  assert.equal(error.message, "there is a camera yard already");
  assert.equal(error.status, 409);
  assert.equal(signedOut, 0);
});

test("rejected photos are the reason if there is no other", async () => {
  const rejected = [
    { image: "a.jpg", reason: "no_face", detail: "no face found" },
    { image: "b.jpg", reason: "not_an_image", detail: "not a JPEG" },
  ];
  service.answer = json(422, { rejected });
  const error = await failureOf(api("POST", "api/identities", new FormData()));
  assert.equal(error.message, "a.jpg: no face found; b.jpg: not a JPEG");
  assert.deepEqual(error.rejected, rejected);
});

test("a proxy's error page is not used as the reason", async () => {
  service.answer = (_request, response) => response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad</h1>");
  assert.equal((await failureOf(api("GET", "api/cameras"))).message, "the service answered 502");
});

test("a missing token is signaled to the page", async () => {
  service.answer = json(401, { error: "a token is needed" });
  assert.equal((await failureOf(api("GET", "api/cameras"))).status, 401);
  assert.equal(signedOut, 1);
});

test("an unreachable service has no status", async () => {
  service.answer = (request) => request.socket.destroy();
  const error = await failureOf(api("GET", "api/cameras"));
  assert.equal(error.status, 0);
  assert.equal(error.message, "the service does not answer");
});

test("a list has its total and the address of its next page", async () => {
  service.answer = json(200, [{ name: "Ada" }], {
    "x-total-count": "120", link: '</api/identities?limit=1&after=3>; rel="next"',
  });
  assert.deepEqual(await apiList("api/identities?limit=1"), {
    rows: [{ name: "Ada" }], total: 120, next: `${service.base}api/identities?limit=1&after=3`,
  });
});

test("the last page of a list has no next page", async () => {
  service.answer = json(200, [], { "x-total-count": "0" });
  assert.deepEqual(await apiList("api/identities"), { rows: [], total: 0, next: null });
});

test("a lost service and a missing token are shown elsewhere on the page", () => {
  assert.equal(isShownElsewhere(new ApiError("the service does not answer", 0)), true);
  assert.equal(isShownElsewhere(new ApiError("a token is needed", 401)), true);
  assert.equal(isShownElsewhere(new ApiError("the gallery is full", 507)), false);
});

test("a failure of the page itself is not hidden", async () => {
  await attempt(Promise.reject(new ApiError("the service does not answer", 0)));
  await assert.rejects(attempt(Promise.reject(new TypeError("no such property"))), TypeError);
});
