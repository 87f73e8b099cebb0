// The page: creates its parts and connects them.

import { Cameras } from "./cameras/cameras.js";
import { api, attempt } from "./connection/api.js";
import { Socket } from "./connection/socket.js";
import { announcementOf } from "./events/event_text.js";
import { Search } from "./events/search.js";
import { Timeline } from "./events/timeline.js";
import { DayOfVisits } from "./events/visits.js";
import { Live } from "./live/live.js";
import { askName, askNameOfEvent } from "./live/naming.js";
import { OwnCamera } from "./live/own_camera.js";
import { ask } from "./page/dialogs.js";
import { byId, setText } from "./page/dom.js";
import { learnRole } from "./page/role.js";
import { Router, routeTo, showView } from "./page/router.js";
import { sentence } from "./page/text.js";
import { offerPast } from "./people/past.js";
import { People } from "./people/people.js";
import { Rules } from "./rules/rules.js";
import { Settings } from "./settings/settings.js";
import { Wall } from "./wall/wall.js";

/** @import { Event } from "./connection/schemas.js" */
/** @import { Route } from "./page/router.js" */

const LISTS_AFTER_MS = 400;
const ANNOUNCE_MS = 1000;
const DEMO_NOTE = "facewire-demo-note-closed";

const socket = new Socket();
const router = new Router();
const cameras = new Cameras(socket);
const wall = new Wall(socket, cameras);
const live = new Live(socket, router, cameras);
const own = new OwnCamera(socket, live.stage);
const timeline = new Timeline(socket, router, cameras);
const visits = new DayOfVisits(socket, router, cameras);
const search = new Search(router, cameras);
const settings = new Settings(cameras);
const rules = new Rules(socket, cameras);
const people = new People();
live.own = own;

const hidden = () => {};
/** @type {Record<string, {show: (route: Route) => unknown, hide: () => void}>} */
const VIEWS = {
  wall: { show: () => wall.show(), hide: () => wall.hide() },
  live: { show: ({ name }) => live.show(name), hide: () => live.hide() },
  events: { show: ({ query }) => attempt(timeline.show(query)), hide: () => timeline.hide() },
  visits: { show: ({ query }) => attempt(visits.show(query)), hide: () => visits.hide() },
  people: { show: ({ name }) => attempt(people.show(name)), hide: hidden },
  search: { show: ({ query }) => attempt(search.show(query)), hide: () => search.hide() },
  rules: { show: () => attempt(rules.show()), hide: () => rules.hide() },
  settings: { show: () => attempt(settings.show()), hide: () => settings.hide() },
};
/** @type {Route} */
let route = { view: "", name: "", query: new URLSearchParams() };
let isStarted = false; // before, the address is not read

router.on("route", (next) => {
  isStarted = true;
  if (!next.view) {
    choose();
    return;
  }
  const before = route;
  route = next;
  const isSame = before.view === next.view && before.name === next.name;
  if (!isSame) {
    VIEWS[before.view]?.hide();
    showView(next);
  }
  VIEWS[next.view].show(next);
  if (before.view === "live" && next.view === "wall") {
    wall.focus(before.name); // the camera that was shown before
  }
});

/** If the address names no view: show the only camera, or the wall. */
function choose() {
  if (isStarted && cameras.isKnown) {
    const [only] = cameras.all;
    router.go(cameras.all.length === 1 ? routeTo("live", only.name) : "#/wall", { replace: true });
  }
}

/** @type {Set<string>} */
const shown = new Set();
cameras.on("change", () => {
  const isGone = route.view === "live" && !cameras.find(route.name) && own.link?.name !== route.name;
  if (!route.view) {
    choose();
  } else if (isGone && shown.has(route.name)) {
    router.go("#/wall"); // removed while it was watched
  }
  shown.clear();
  cameras.all.forEach(({ name }) => shown.add(name));
});
cameras.on("added", (name) => router.go(routeTo("live", name)));
cameras.on("renamed", ({ from, to }) => {
  if (location.hash === routeTo("live", from)) {
    router.go(routeTo("live", to));
  }
});
cameras.on("stop-own", () => own.stop());
wall.on("add", () => cameras.add());

own.on("start", (name) => {
  cameras.own = name;
  router.go(routeTo("live", name));
});
own.on("stop", () => {
  const was = cameras.own;
  cameras.own = null;
  if (route.name === was) {
    const others = cameras.all.filter(({ name }) => name !== was);
    router.go(others.length === 1 ? routeTo("live", others[0].name) : "#/wall", { replace: true });
  }
});
own.on("enrolled", () => attempt(people.load()));

live.on("name", async (picked) => {
  const identity = await askName(picked, live.stage.video);
  if (identity) {
    await attempt(people.load());
    await attempt(offerPast(identity, pastNamed));
  }
});
/** Read again what shows past events. */
function pastNamed() {
  attempt(timeline.reload());
  attempt(live.reload());
}
/** @param {Event} event */
async function nameEvent(event) {
  const identity = await askNameOfEvent(event);
  if (identity) {
    timeline.named(event, identity);
    live.eventNamed(event, identity);
    await attempt(people.load());
    await attempt(offerPast(identity, pastNamed));
  }
}
live.on("event-name", (event) => attempt(nameEvent(event)));
timeline.on("name", (event) => attempt(nameEvent(event)));
people.on("removed", pastNamed);

let announcement = "";
socket.on("event", ({ event }) => {
  if (event.kind === "renamed") {
    attempt(people.load());
  }
  if (event.kind === "unknown" || event.kind === "exit") {
    people.visitorSeen();
  }
  const text = announcementOf(event);
  if (text) {
    if (!announcement) {
      setTimeout(() => {
        setText(byId("announcer"), announcement);
        announcement = "";
      }, ANNOUNCE_MS);
    }
    announcement = text;
  }
});
socket.on("open", () => {
  showLink("open");
  showRefusal("");
  attempt(learnRole()); // each time: tokens may have changed during an outage
  // The video first: lists and thumbnails would compete with its connection.
  setTimeout(() => {
    attempt(people.load());
    attempt(timeline.refresh());
    attempt(visits.refresh());
    attempt(live.refresh());
  }, LISTS_AFTER_MS);
});
socket.on("close", (reason) => {
  showLink("lost");
  if (reason) {
    showRefusal(reason);
  }
  api("GET", "api/cameras").catch(() => {}); // distinguishes a lost service from a missing token
});
socket.on("refused", showRefusal);

/** @param {string} reason "" to show none */
function showRefusal(reason) {
  byId("refusal").hidden = !reason;
  setText(byId("refusal"), sentence(reason));
}

/** @param {"open" | "lost"} state */
function showLink(state) {
  byId("link").dataset.state = state;
  setText(byId("link-text"), state === "open" ? "Connected" : "Reconnecting");
}

byId("sign-in").addEventListener("click", () => signIn());
byId("sign-out").addEventListener("click", () => attempt(signOut()));

async function signOut() {
  await api("DELETE", "api/session");
  location.reload();
}

window.addEventListener("facewire:signed-out", () => signIn());

async function signIn() {
  if (byId("token-dialog", HTMLDialogElement).open) {
    return;
  }
  const token = () => byId("token-input", HTMLInputElement);
  if (await ask("token", () => api("POST", "api/session", { token: token().value }))) {
    token().value = "";
    location.reload();
  }
}

async function showDemo() {
  const { is_demo: isDemo } = await api("GET", "healthz");
  byId("demo").hidden = !isDemo || sessionStorage.getItem(DEMO_NOTE) !== null;
}
byId("demo-close").addEventListener("click", () => {
  byId("demo").hidden = true;
  sessionStorage.setItem(DEMO_NOTE, "");
});
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is for views
  byId("main").focus();
});

attempt(showDemo());
socket.connect();
// The days of the views are those of the service's time zone.
learnRole().catch(() => {}).finally(() => router.start());
