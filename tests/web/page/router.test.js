// Addresses of the page.

import assert from "node:assert/strict";
import test from "node:test";

import { parseRoute, routeTo } from "../../../stream/web/page/router.js";

/** A route with its query as plain pairs. */
const parsed = (hash) => {
  const { view, name, query } = parseRoute(hash);
  return { view, name, query: Object.fromEntries(query) };
};

test("an address names a view, a camera and a query", () => {
  assert.deepEqual(parsed("#/wall"), { view: "wall", name: "", query: {} });
  assert.deepEqual(parsed("#/live/front-door"), { view: "live", name: "front-door", query: {} });
  assert.deepEqual(parsed("#/events?camera=yard&kind=unknown"),
    { view: "events", name: "", query: { camera: "yard", kind: "unknown" } });
});

test("an address that names no view leaves the choice to the page", () => {
  for (const hash of ["", "#", "#/", "#/nothing", "#/live", "#/live/", "#main"]) {
    assert.deepEqual(parsed(hash), { view: "", name: "", query: {} }, hash);
  }
});

test("an invalid escape is kept unchanged", () => {
  assert.equal(parsed("#/live/100%").name, "100%");
});

test("parseRoute parses what routeTo formats", () => {
  const hash = routeTo("live", "back yard/2?", { name: "Ada & Grace", day: "" });
  assert.deepEqual(parsed(hash), { view: "live", name: "back yard/2?", query: { name: "Ada & Grace" } });
});

test("empty values of a query are omitted", () => {
  assert.equal(routeTo("events", "", { kind: "", camera: "" }), "#/events");
  assert.equal(routeTo("events", "", { kind: "", camera: "yard" }), "#/events?camera=yard");
});
