// The page: parts made and joined.

import { api, told } from "./connection/api.js";
import { Cameras } from "./cameras/cameras.js";
import { ask } from "./page/dialogs.js";
import { byId, sentence, setText } from "./page/dom.js";
import { Live } from "./live/live.js";
import { askName, askNameOfEvent } from "./live/naming.js";
import { OwnCamera } from "./live/own_camera.js";
import { People } from "./people/people.js";
import { learnRole } from "./page/role.js";
import { Router, routeTo, showView } from "./page/router.js";
import { Settings } from "./settings/settings.js";
import { Socket } from "./connection/socket.js";
import { Timeline } from "./events/timeline.js";
import { Wall } from "./wall/wall.js";

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
const settings = new Settings(cameras);
const people = new People();
live.own = own;

const hidden = () => {};
const VIEWS = {
  wall: { show: () => wall.show(), hide: () => wall.hide() },
  live: { show: ({ name }) => live.show(name), hide: () => live.hide() },
  events: { show: ({ query }) => told(timeline.show(query)), hide: () => timeline.hide() },
  people: { show: () => told(people.load()), hide: hidden },
  settings: { show: () => told(settings.show()), hide: () => settings.hide() },
};
let route = { view: "", name: "", query: new URLSearchParams() };

router.addEventListener("route", ({ detail }) => {
  if (!detail.view) {
    choose();
    return;
  }
  const before = route;
  route = detail;
  const isSame = before.view === detail.view && before.name === detail.name;
  if (!isSame) {
    VIEWS[before.view]?.hide();
    showView(detail);
  }
  VIEWS[detail.view].show(detail);
  if (before.view === "live" && detail.view === "wall") {
    wall.focus(before.name); // where the person came from
  }
});

/** Where the address names no view: the only camera, or the wall. */
function choose() {
  if (cameras.isKnown) {
    const [only] = cameras.all;
    router.go(cameras.all.length === 1 ? routeTo("live", only.name) : "#/wall", { replace: true });
  }
}

cameras.addEventListener("change", () => {
  const isGone = route.view === "live" && !cameras.find(route.name) && own.link?.name !== route.name;
  if (!route.view) {
    choose();
  } else if (isGone && shown.has(route.name)) {
    router.go("#/wall"); // it was removed while it was watched
  }
  shown.clear();
  cameras.all.forEach(({ name }) => shown.add(name));
});
const shown = new Set();
cameras.addEventListener("added", ({ detail }) => router.go(routeTo("live", detail)));
cameras.addEventListener("renamed", ({ detail: { from, to } }) => {
  if (location.hash === routeTo("live", from)) {
    router.go(routeTo("live", to));
  }
});
cameras.addEventListener("remove", (event) => {
  if (own.link?.name === event.detail) {
    event.preventDefault();
    own.stop();
  }
});
wall.addEventListener("add", () => cameras.add());

own.addEventListener("start", () => {
  cameras.own = own.link.name;
  router.go(routeTo("live", own.link.name));
});
own.addEventListener("stop", () => {
  const was = cameras.own;
  cameras.own = null;
  if (route.name === was) {
    const others = cameras.all.filter(({ name }) => name !== was);
    router.go(others.length === 1 ? routeTo("live", others[0].name) : "#/wall", { replace: true });
  }
});
own.addEventListener("enrolled", () => told(people.load()));

live.addEventListener("name", async ({ detail: { camera, track, size } }) => {
  if (await askName(camera, track, size, live.stage.video)) {
    await told(people.load());
  }
});
async function nameEvent({ detail }) {
  const identity = await askNameOfEvent(detail);
  if (identity) {
    timeline.named(detail, identity);
    live.eventNamed(detail, identity);
    await told(people.load());
  }
}
live.addEventListener("event-name", (event) => told(nameEvent(event)));
timeline.addEventListener("name", (event) => told(nameEvent(event)));
people.addEventListener("removed", () => {
  told(timeline.reload());
  told(live.reload());
});

let toSay = "";
socket.addEventListener("event", ({ detail: { event } }) => {
  if (event.kind === "renamed") {
    told(people.load());
  }
  const who = event.name ?? "An unknown face";
  const said = {
    enter: `${who} came into view of ${event.camera}`,
    unknown: `${who} is in view of ${event.camera}`,
    camera_down: `${event.camera} went down`,
  }[event.kind];
  if (said) {
    if (!toSay) {
      setTimeout(() => {
        setText(byId("announcer"), toSay);
        toSay = "";
      }, ANNOUNCE_MS);
    }
    toSay = said;
  }
});
socket.addEventListener("open", () => {
  showLink("open");
  showRefusal("");
  told(learnRole()); // each time: after an outage the tokens may be others
  // The picture first: lists and thumbnails would compete with its connection.
  setTimeout(() => {
    told(people.load());
    told(timeline.refresh());
    told(live.refresh());
  }, LISTS_AFTER_MS);
});
socket.addEventListener("close", ({ detail: reason }) => {
  showLink("lost");
  if (reason) {
    showRefusal(reason);
  }
  api("GET", "api/cameras").catch(() => {}); // tells a lost service from a missing token
});
socket.addEventListener("refused", ({ detail: reason }) => showRefusal(reason));

function showRefusal(reason) {
  byId("refusal").hidden = !reason;
  setText(byId("refusal"), reason && sentence(reason));
}

function showLink(state) {
  byId("link").dataset.state = state;
  setText(byId("link-text"), { open: "Connected", connecting: "Connecting", lost: "Reconnecting" }[state]);
}

byId("sign-in").addEventListener("click", () => signIn());
byId("sign-out").addEventListener("click", () => told(signOut()));

async function signOut() {
  await api("DELETE", "api/session");
  location.reload();
}

window.addEventListener("facewire:signed-out", () => signIn());

let isAsking = false;
async function signIn() {
  if (!isAsking) {
    isAsking = true;
    const signedIn = await ask("token", async () => {
      await api("POST", "api/session", { token: byId("token-input").value });
      byId("token-input").value = "";
    });
    isAsking = false;
    if (signedIn) {
      location.reload();
    }
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
  event.preventDefault(); // its address would be a view's
  byId("main").focus();
});

told(showDemo());
router.start();
socket.connect();
