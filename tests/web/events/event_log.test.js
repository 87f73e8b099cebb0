// A list of events: live and queried ones, merged without gaps.

import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";

import { EventLog } from "../../../stream/web/events/event_log.js";

/** The events of the service, newest first. */
let kept = [];
/** The requests. */
let asked = [];
let failure = null;

const event = (id, fields = {}) => ({
  id, kind: "enter", camera: "yard", at: "2026-05-01T12:00:00Z", track_id: `t${id}`, identity_id: null,
  name: null, similarity: null, previous_name: null, detail: "", has_crop: true, ...fields,
});
const events = (from, to) => Array.from({ length: from - to + 1 }, (_, index) => event(from - index));

/** Responds like GET /api/events. */
async function read(search) {
  const query = new URLSearchParams(search);
  asked.push(query.has("cursor") ? `older than ${query.get("cursor")}` : "newest");
  const limit = Number(query.get("limit"));
  const cursor = Number(query.get("cursor") ?? Infinity);
  const found = kept.filter(({ id }) => id < cursor).slice(0, limit);
  if (failure) {
    throw failure;
  }
  return { events: found, cursor: found.length === limit ? found.at(-1).id : null };
}

/** The ids that a view of the log shows. */
function drawn(log) {
  const shown = [];
  log.on("clear", () => { shown.length = 0; });
  log.on("put", ({ event: { id }, before }) => {
    shown.splice(before === null ? shown.length : shown.indexOf(before), 0, id);
  });
  log.on("drop", (id) => shown.splice(shown.indexOf(id), 1));
  return shown;
}

async function opened(options = {}, accepts = () => true, query = new URLSearchParams()) {
  const log = new EventLog({ page: 3, maxShown: 6, read, ...options });
  const shown = drawn(log);
  await log.open(query, accepts);
  asked = [];
  return { log, shown };
}

beforeEach(() => {
  kept = events(10, 1);
  asked = [];
  failure = null;
});

test("it opens with the newest page, and reads older ones on demand", async () => {
  const { log, shown } = await opened();
  assert.deepEqual(shown, [10, 9, 8]);
  assert.equal(log.hasOlder, true);
  await log.older();
  assert.deepEqual(asked, ["older than 8"]);
  assert.deepEqual(shown, [10, 9, 8, 7, 6, 5]);
});

test("nothing is older than the first event", async () => {
  kept = events(4, 1);
  const { log, shown } = await opened();
  await log.older();
  assert.deepEqual(shown, [4, 3, 2, 1]);
  assert.equal(log.hasOlder, false);
});

test("older events that a person asked for are kept", async () => {
  const { log, shown } = await opened({ maxShown: 3 });
  await log.older();
  assert.deepEqual(shown, [10, 9, 8, 7, 6, 5]);
});

test("a live event comes first, marked as such", async () => {
  const { log, shown } = await opened();
  const live = [];
  log.on("put", ({ isLive }) => live.push(isLive));
  log.add(event(11));
  assert.deepEqual(shown, [11, 10, 9, 8]);
  await log.older();
  assert.deepEqual(live, [true, false, false, false]);
  assert.deepEqual(asked, ["older than 8"]);
});

test("a live event that the filter rejects is not shown, and is not a gap", async () => {
  const { log, shown } = await opened({}, ({ camera }) => camera === "yard");
  log.add(event(11, { camera: "door" }));
  log.add(event(12));
  assert.deepEqual(shown, [12, 10, 9, 8]);
  assert.deepEqual(asked, []);
});

test("an event that arrives twice is shown once", async () => {
  const { log, shown } = await opened();
  let changes = 0;
  log.on("change", () => { changes += 1; });
  log.add(event(10));
  assert.deepEqual(shown, [10, 9, 8]);
  assert.equal(changes, 0);
});

test("a live event during a read is inserted by its id", async () => {
  const log = new EventLog({ page: 3, maxShown: 6, read });
  const shown = drawn(log);
  const opening = log.open(new URLSearchParams(), () => true);
  log.add(event(11));
  await opening;
  assert.deepEqual(shown, [11, 10, 9, 8]);
});

test("events missed before a live one are read", async () => {
  const { log, shown } = await opened();
  kept = events(14, 1);
  const changed = new Promise((resolve) => { log.on("change", () => shown.length === 6 && resolve()); });
  log.add(event(14));
  await changed;
  assert.deepEqual(shown, [14, 13, 12, 11, 10, 9]);
});

test("a second gap before the first was closed hides none", async () => {
  const { log, shown } = await opened({ maxShown: 20 });
  kept = events(17, 1);
  const changed = new Promise((resolve) => { log.on("change", () => shown.length === 10 && resolve()); });
  log.add(event(14));
  log.add(event(17));
  await changed;
  assert.deepEqual(shown, [17, 16, 15, 14, 13, 12, 11, 10, 9, 8]);
});

test("after an outage pages are read until one is already shown", async () => {
  const { log, shown } = await opened({ maxShown: 20 });
  kept = events(17, 1);
  await log.refresh();
  assert.deepEqual(asked, ["newest", "older than 15", "older than 12"]);
  assert.deepEqual(shown, [17, 16, 15, 14, 13, 12, 11, 10, 9, 8]);
});

test("if more were missed than fit, the oldest are dropped, and can be read again without a gap", async () => {
  const { log, shown } = await opened();
  kept = events(30, 1);
  await log.refresh();
  assert.deepEqual(shown, [30, 29, 28, 27, 26, 25]);
  await log.older();
  assert.deepEqual(shown, [30, 29, 28, 27, 26, 25, 24, 23, 22]);
});

test("a live event beyond the limit drops the oldest, which can be read again", async () => {
  const { log, shown } = await opened({ maxShown: 3 });
  log.add(event(11));
  log.add(event(12));
  assert.deepEqual(shown, [12, 11, 10]);
  await log.older();
  assert.deepEqual(shown, [12, 11, 10, 9, 8, 7]);
});

test("a failed refresh leaves no gap", async () => {
  const { log, shown } = await opened({ maxShown: 20 });
  kept = events(16, 1);
  failure = new Error("the service does not answer");
  await assert.rejects(log.refresh());
  failure = null;
  kept = events(17, 1);
  await log.refresh();
  assert.deepEqual(shown, [17, 16, 15, 14, 13, 12, 11, 10, 9, 8]);
});

test("the response for a former filter is ignored", async () => {
  const log = new EventLog({ page: 3, maxShown: 6, read });
  const shown = drawn(log);
  const first = log.open(new URLSearchParams(), () => true);
  kept = events(3, 1);
  const second = log.open(new URLSearchParams({ camera: "door" }), () => true);
  await Promise.all([first, second]);
  assert.deepEqual(shown, [3, 2, 1]);
});

test("the filter is part of the request", async () => {
  const searches = [];
  const log = new EventLog({
    page: 3, maxShown: 6,
    read: async (search) => {
      searches.push(search);
      return { events: [], cursor: null };
    },
  });
  await log.open(new URLSearchParams({ camera: "front door" }), () => true);
  assert.deepEqual(searches, ["limit=3&camera=front+door"]);
});

test("a cleared log is empty", async () => {
  const { log, shown } = await opened();
  log.clear();
  assert.deepEqual(shown, []);
  assert.equal(log.length, 0);
  assert.equal(log.hasOlder, false);
});

test("a name is set on all events of its track, and on no other", async () => {
  kept = [event(5, { track_id: "a" }), event(4, { track_id: "b" }), event(3, { track_id: "a", kind: "unknown" })];
  const { log } = await opened();
  const replaced = [];
  log.on("replace", ({ id, name, identity_id: identity }) => replaced.push([id, name, identity]));
  log.named(kept[2], { name: "Ada", identity_id: "i1" });
  assert.deepEqual(replaced, [[5, "Ada", "i1"], [3, "Ada", "i1"]]);
  assert.deepEqual(log.events.map(({ name }) => name), ["Ada", null, "Ada"]);
});

test("events of the track with another identity keep their name", async () => {
  kept = [event(5, { track_id: "a", identity_id: "i9", name: "Grace" }), event(4, { track_id: "a" })];
  const { log } = await opened();
  log.named(kept[1], { name: "Ada", identity_id: "i1" });
  assert.deepEqual(log.events.map(({ name }) => name), ["Grace", "Ada"]);
});
