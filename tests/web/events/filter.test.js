// Filters of the timeline.

import assert from "node:assert/strict";
import test, { after, before } from "node:test";

import { filterOf } from "../../../stream/web/events/filter.js";

const { TZ } = process.env;
before(() => { process.env.TZ = "Europe/Berlin"; });
after(() => { process.env.TZ = TZ ?? ""; });

const filter = (values) => filterOf({ kind: "", camera: "", name: "", day: "", ...values });
const event = (fields) => ({ kind: "enter", camera: "yard", name: "Ada", at: "2026-05-01T10:00:00Z", ...fields });

test("no filter queries and accepts all events", () => {
  const { query, accepts } = filter({});
  assert.equal(query.toString(), "");
  assert.equal(accepts(event({})), true);
  assert.equal(accepts(event({ kind: "camera_down", name: null })), true);
});

test("a group of kinds is queried by each kind", () => {
  const { query, accepts } = filter({ kind: "cameras" });
  assert.deepEqual(query.getAll("kind"), ["camera_up", "camera_down"]);
  assert.equal(accepts(event({ kind: "camera_up" })), true);
  assert.equal(accepts(event({})), false);
});

test("the faces group is all kinds but those of cameras", () => {
  assert.deepEqual(filter({ kind: "faces" }).query.getAll("kind"), ["enter", "exit", "unknown", "renamed", "zone"]);
});

test("a single kind is queried alone", () => {
  const { query, accepts } = filter({ kind: "unknown" });
  assert.equal(query.toString(), "kind=unknown");
  assert.equal(accepts(event({})), false);
  assert.equal(accepts(event({ kind: "unknown" })), true);
});

test("camera and name must both match", () => {
  const { query, accepts } = filter({ camera: "yard", name: "Ada" });
  assert.equal(query.toString(), "camera=yard&name=Ada");
  assert.equal(accepts(event({})), true);
  assert.equal(accepts(event({ camera: "door" })), false);
  assert.equal(accepts(event({ name: "Grace" })), false);
  assert.equal(accepts(event({ name: null })), false);
});

test("a visitor is filtered by its name until it has another", () => {
  const { accepts } = filter({ name: "Visitor 3" });
  assert.equal(accepts(event({ name: null, visitor: "Visitor 3" })), true);
  assert.equal(accepts(event({ name: null, visitor: "Visitor 31" })), false);
  assert.equal(accepts(event({ name: null, visitor: null })), false);
});

test("a day is in the browser's time zone while no other is known, from midnight to midnight", () => {
  const { query, accepts } = filter({ day: "2026-05-01" });
  assert.equal(query.get("after"), "2026-04-30T22:00:00.000Z");
  assert.equal(query.get("before"), "2026-05-01T22:00:00.000Z");
  assert.equal(accepts(event({ at: "2026-04-30T21:59:59Z" })), false);
  assert.equal(accepts(event({ at: "2026-04-30T22:00:00Z" })), true);
  assert.equal(accepts(event({ at: "2026-05-01T21:59:59Z" })), true);
  assert.equal(accepts(event({ at: "2026-05-01T22:00:00Z" })), false);
});

test("days on which daylight saving changes have 23 and 25 hours", () => {
  const hours = (day) => {
    const { query } = filter({ day });
    return (Date.parse(query.get("before")) - Date.parse(query.get("after"))) / 3600_000;
  };
  assert.equal(hours("2026-03-29"), 23);
  assert.equal(hours("2026-10-25"), 25);
  assert.equal(hours("2026-12-31"), 24);
});
