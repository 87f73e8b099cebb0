// Sending the photos of many people.

import assert from "node:assert/strict";
import test from "node:test";

import { ApiError } from "../../../stream/web/connection/api.js";
import { UploadQueue } from "../../../stream/web/people/upload_queue.js";

const files = (name, n, size = 1) => Array.from({ length: n }, (_, i) => {
  const file = new File(["x"], `${i}.jpg`);
  Object.defineProperty(file, "size", { value: size });
  return { path: `${name}/${i}.jpg`, file };
});
const identityOf = (name) => ({ identity_id: `id-${name}`, name });
const added = (person, photos) => ({
  identity: identityOf(person.name), rejected: [],
  enrolled: photos.map((_, photo) => ({ image: "", photo, photo_id: photo + 1 })),
});
const refused = (photo, reason, faces = []) => ({ image: "", photo, reason, detail: `it is ${reason}`, faces, size: [9, 9], face: null });

/** Resolves once nothing is sent any more, and nothing waits. */
const ended = (queue) => new Promise((resolve) => {
  const look = () => !queue.isRunning && resolve();
  queue.on("change", look);
  look();
});

test("two requests at most run at a time, one for a person who is new", async () => {
  let now = 0;
  let most = 0;
  const open = new Map();
  const queue = new UploadQueue(async (person, photos) => {
    now += 1;
    most = Math.max(most, now);
    open.set(person, (open.get(person) ?? 0) + 1);
    assert.ok(person.identityId !== null || open.get(person) === 1, "a second person of that name would be made");
    await new Promise((resolve) => { setTimeout(resolve, 1); });
    now -= 1;
    open.set(person, open.get(person) - 1);
    return added(person, photos);
  });
  ["Ada", "Joe", "Zoë"].forEach((name) => queue.add(name, files(name, 20)));
  await ended(queue);
  assert.equal(most, 2);
  assert.deepEqual([queue.done, queue.count("added")], [60, 60]);
  assert.deepEqual(queue.people.map(({ identityId }) => identityId), ["id-Ada", "id-Joe", "id-Zoë"]);
});

test("a request holds eight photos at most, and 32 MiB", async () => {
  const sizes = [];
  const queue = new UploadQueue(async (person, photos) => {
    sizes.push(photos.length);
    return added(person, photos);
  });
  queue.add("Ada", files("Ada", 10));
  await ended(queue);
  queue.add("Joe", files("Joe", 3, 20 * 1024 * 1024));
  await ended(queue);
  assert.deepEqual(sizes, [8, 2, 1, 1, 1]);
});

test("a refused photo keeps its reason and faces, and the others go on", async () => {
  const faces = [{ index: 0, box: [0, 0, 1, 1], quality: 0.5, fault: null, crop: "data:," }];
  const queue = new UploadQueue(async (person, photos) => ({
    ...added(person, photos.slice(1).map((each) => each)), enrolled: [{ image: "", photo: 1, photo_id: 7 }],
    rejected: [refused(0, "blurred", faces), refused(2, "duplicate")],
  }));
  queue.add("Ada", files("Ada", 3));
  await ended(queue);
  const [first, second, third] = queue.photos;
  assert.deepEqual([first.state, first.detail, first.faces], ["refused", "it is blurred", faces]);
  assert.deepEqual([second.state, second.photoId], ["added", 7]);
  assert.equal(third.state, "known");
});

test("a photo is sent again alone, with the chosen face", async () => {
  const sent = [];
  const queue = new UploadQueue(async (person, photos) => {
    sent.push(photos.map(({ path, face, force }) => [path, face, force]));
    return sent.length === 1 ? { identity: null, enrolled: [], rejected: [refused(0, "blurred"), refused(1, "blurred")] } : added(person, photos);
  });
  queue.add("Ada", files("Ada", 2));
  await ended(queue);
  queue.again(queue.photos[1], { face: 3 });
  await ended(queue);
  assert.deepEqual(sent[1], [["Ada/1.jpg", 3, false]]);
  assert.deepEqual(queue.photos.map(({ state }) => state), ["refused", "added"]);
});

test("group photos are looked at again together, once", async () => {
  const sent = [];
  const queue = new UploadQueue(async (person, photos) => {
    sent.push(photos.map(({ path }) => path));
    return { identity: identityOf("Ada"), enrolled: [{ image: "", photo: photos.length - 1, photo_id: 1 }],
      rejected: photos.slice(0, -1).map((_, photo) => refused(photo, "several_faces")) };
  });
  queue.add("Ada", files("Ada", 4));
  await ended(queue);
  assert.deepEqual(sent, [["Ada/0.jpg", "Ada/1.jpg", "Ada/2.jpg", "Ada/3.jpg"], ["Ada/0.jpg", "Ada/1.jpg", "Ada/2.jpg"]]);
  assert.deepEqual(queue.photos.map(({ state }) => state), ["refused", "refused", "added", "added"]);
});

test("while the service is away photos wait longer and longer, and are sent when it is back", async () => {
  const waits = [];
  let failures = 6;
  const queue = new UploadQueue(async (person, photos) => {
    if (failures) {
      failures -= 1;
      throw new ApiError("the service does not answer", 0);
    }
    return added(person, photos);
  }, async (ms) => {
    waits.push(ms);
    assert.equal(queue.outage, "the service does not answer");
    assert.equal(queue.done, 0);
  });
  queue.add("Ada", files("Ada", 2));
  await ended(queue);
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 10000, 10000]);
  assert.deepEqual([queue.outage, queue.count("added")], ["", 2]);
});

test("a failed request is repeated photo by photo, and only the one at fault fails", async () => {
  const queue = new UploadQueue(async (person, photos) => {
    if (photos.some(({ path }) => path === "Ada/1.jpg")) {
      throw new ApiError("the request is too large", 413);
    }
    return added(person, photos);
  });
  queue.add("Ada", files("Ada", 3));
  await ended(queue);
  assert.deepEqual(queue.photos.map(({ state }) => state), ["added", "failed", "added"]);
  assert.equal(queue.photos[1].detail, "the request is too large");
});

test("a full disk halts all, and the photos can be sent later", async () => {
  let isFull = true;
  const queue = new UploadQueue(async (person, photos) => {
    if (isFull) {
      throw new ApiError("the disk is full", 507);
    }
    return added(person, photos);
  });
  queue.add("Ada", files("Ada", 2));
  await ended(queue);
  assert.deepEqual([queue.halted, queue.count("waiting")], ["the disk is full", 2]);
  isFull = false;
  queue.resume();
  await ended(queue);
  assert.equal(queue.count("added"), 2);
});

test("a stop sends no more, and can go on", async () => {
  const queue = new UploadQueue(async (person, photos) => {
    queue.stop();
    return added(person, photos);
  });
  queue.add("Ada", files("Ada", 10));
  await ended(queue);
  assert.deepEqual([queue.done, queue.count("waiting")], [8, 2]);
  queue.resume();
  await ended(queue);
  assert.equal(queue.done, 10);
});
