// A real HTTP server, to which the page's relative URLs lead.

import { once } from "node:events";
import { createServer } from "node:http";
import { after, before } from "node:test";

export const service = {
  /** Its URL. */
  base: "",
  /** Handles the next requests. */
  answer: (_request, response) => response.end(),
};

/** Start it before the tests of a file, and stop it after them. */
export function serve() {
  const { fetch } = globalThis;
  globalThis.window = new EventTarget(); // receives the page's own events
  const server = createServer((request, response) => service.answer(request, response));
  before(async () => {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    service.base = `http://127.0.0.1:${server.address().port}/`;
    globalThis.fetch = (path, options) => fetch(new URL(path, service.base), options);
  });
  after(() => {
    globalThis.fetch = fetch;
    server.close();
  });
}

/** Respond with JSON. */
export function json(status, body, headers = {}) {
  return (_request, response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };
}
