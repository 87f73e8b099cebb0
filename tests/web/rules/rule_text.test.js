// What the page says about rules.

import assert from "node:assert/strict";
import test from "node:test";

import { headersOf } from "../../../stream/web/rules/action_fields.js";
import { bodyOf, bytesOf, idOf, nameOf, stateText as deviceText } from "../../../stream/web/rules/device.js";
import { choiceOf, hoursOf, kindsOf, NEW, whoOf } from "../../../stream/web/rules/rule_form.js";
import { actionText, daysText, limitText, ruleText, stateText, whoText } from "../../../stream/web/rules/rule_text.js";

const rule = {
  ...NEW, rule_id: "r1", name: "Night", is_configured: false, is_paused: false, paused_until: null,
  fired: 0, last_fired: null, in_cooldown: 0, over_limit: 0, then: [],
};

test("who is meant", () => {
  assert.equal(whoText([]), "anybody");
  assert.equal(whoText(["known", "!a1", "not Bob"], new Map([["a1", "Ada"]])), "known people except Ada, Bob");
  assert.equal(whoText(["@family", "Cleo"]), "group family, Cleo");
});

test("a rule in one line", () => {
  assert.equal(ruleText(rule, new Map()), "anybody: comes into view · all cameras");
  assert.equal(ruleText({ ...rule, cameras: ["door"], zones: ["porch", "path"] }), "anybody: comes into view · door in porch, path");
  const night = { ...rule, who: ["unknown"], kinds: ["unknown", "exit", "camera_down"], cameras: ["door"], hours: "22:00-06:00", days: ["fri", "sat"] };
  assert.equal(ruleText(night, new Map()), "unknown faces: comes into view or leaves; the camera is down · door · Fri, Sat 22:00–06:00");
  assert.equal(daysText(["mon", "tue", "wed", "thu", "fri"]), "Mon–Fri");
  assert.equal(daysText(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]), "");
  assert.equal(limitText(rule), "60 s between two of the same person and camera, at most 30 an hour");
  assert.equal(limitText({ ...rule, cooldown_s: 0 }), "at most 30 an hour");
});

test("whether it is on, and what it did", () => {
  const now = new Date(2026, 10, 27, 12);
  assert.equal(stateText(rule, now), "On · has not fired yet");
  assert.match(stateText({ ...rule, is_paused: true, paused_until: new Date(2026, 10, 27, 13).toISOString() }, now), /^Off until .*1.*00/);
  assert.match(stateText({ ...rule, is_paused: true, fired: 2, last_fired: now.toISOString(), over_limit: 1 }, now), /^Off · fired 2 times, last .* · 1 event held back$/);
});

test("how an action goes", () => {
  const action = { type: "webhook", label: "webhook at https://h", settings: null, delivered: 3, failures: 1, dead: 0, waiting: 2, trouble: "does not answer in time" };
  assert.equal(actionText(action), "webhook at https://h · 3 sent, 2 wait · does not answer in time");
});

test("the form shows what it can, and writes it as it was", () => {
  for (const who of [["*"], ["known", "!a1"], ["unknown"], ["a1", "@family"], ["returning visitor"]]) {
    const { choice, people } = choiceOf(who) ?? assert.fail(who.join());
    assert.deepEqual(whoOf(choice, people), who);
  }
  assert.deepEqual(choiceOf(["!William"]), { choice: "*", people: ["William"] });
  for (const who of [["*", "!unknown"], ["known", "first-time visitor"], ["a1", "!b2"]]) {
    assert.equal(choiceOf(who), null);
  }
});

test("what the form does not show stays", () => {
  assert.deepEqual(kindsOf(["arrives", "exit"], ["unknown", "renamed"]), ["unknown", "exit", "renamed"]);
  assert.deepEqual(kindsOf(["arrives"], ["camera_down"]), ["enter", "unknown"]);
  assert.deepEqual(kindsOf([], ["enter", "exit"]), []);
});

test("a time of day that ends at midnight", () => {
  assert.equal(hoursOf("00:00", "00:00"), "00:00-24:00");
  assert.equal(hoursOf("22:00", "00:00"), "22:00-24:00");
  assert.equal(hoursOf("22:00", "06:00"), "22:00-06:00");
  assert.equal(hoursOf("", ""), "");
});

test("headers are one a line", () => {
  assert.deepEqual(headersOf(" Title: {name}: hello\n\nX-A:b "), { Title: "{name}: hello", "X-A": "b" });
  assert.deepEqual(headersOf(""), {});
  assert.throws(() => headersOf("no colon"), /a header must be like/);
});

test("a subscription as the service takes it", async () => {
  assert.deepEqual(bodyOf({ endpoint: "https://push/x", keys: { p256dh: "k", auth: "a" } }, "Phone"), { name: "Phone", endpoint: "https://push/x", p256dh: "k", auth: "a" });
  assert.deepEqual([...bytesOf("-_8")], [251, 255]);
  assert.equal(await idOf("https://push/x"), "482abaf3902dd569e8c5743f08a4f414");
  assert.equal(nameOf("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36"), "Chrome on Android");
  assert.equal(nameOf("curl"), "Browser");
  assert.match(deviceText("insecure"), /https:/);
});
