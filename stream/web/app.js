// The page: parts made and joined.

import { api, told } from "./api.js";
import { Cameras } from "./cameras.js";
import { ask } from "./dialogs.js";
import { byId, setText } from "./dom.js";
import { Events } from "./events.js";
import { Link } from "./link.js";
import { askName } from "./naming.js";
import { OwnCamera } from "./own.js";
import { People } from "./people.js";
import { Socket } from "./socket.js";
import { Stage } from "./stage.js";
import { makeTabs } from "./tabs.js";

const LISTS_AFTER_MS = 400;
const DEMO_NOTE = "facewire-demo-note-closed";

const socket = new Socket();
const stage = new Stage(socket);
const own = new OwnCamera(socket, stage);
const cameras = new Cameras(socket);
const people = new People();
const events = new Events(socket);
let watched = null; // the link of a camera that is watched; this browser's own has its own

function select(name) {
  if (own.link?.name === name) {
    endWatched();
    stage.show(own.link);
  } else if (watched?.name !== name || stage.link !== watched) {
    endWatched();
    watched = new Link(socket, { camera: name });
    stage.show(watched);
  }
  byId("enrol").hidden = !stage.link?.isOwn;
  cameras.select(name);
  stage.update(cameras.find(name), true);
}

function endWatched() {
  watched?.end();
  watched = null;
}

function showNone() {
  endWatched();
  stage.show(null);
  byId("enrol").hidden = true;
  cameras.select(null);
}

function showLink(state) {
  byId("link").dataset.state = state;
  setText(byId("link-text"), { open: "Connected", connecting: "Connecting", lost: "Reconnecting" }[state]);
}

cameras.addEventListener("select", ({ detail }) => select(detail));
cameras.addEventListener("change", () => {
  const isOwn = stage.link?.isOwn ?? false;
  if (stage.link && !isOwn && !cameras.find(stage.camera)) {
    showNone(); // it was removed
  }
  if (!stage.link && cameras.cameras.length > 0) {
    select(cameras.cameras[0].name);
  }
  stage.update(cameras.find(stage.camera), cameras.cameras.length > 0);
});
cameras.addEventListener("remove", (event) => {
  if (own.link?.name === event.detail) {
    event.preventDefault();
    own.stop();
  }
});
own.addEventListener("start", () => {
  cameras.own = own.link.name;
  select(own.link.name);
});
own.addEventListener("stop", () => {
  cameras.own = null;
  const first = cameras.cameras.find((camera) => camera.name !== stage.camera);
  if (stage.link?.isOwn) {
    showNone();
    if (first) {
      select(first.name);
    }
  }
});
own.addEventListener("enrolled", () => told(people.load()));
stage.addEventListener("name", async ({ detail: { camera, track, size } }) => {
  if (await askName(camera, track, size, stage.video)) {
    await told(people.load());
  }
});
stage.addEventListener("action", () => cameras.add());
events.addEventListener("person", () => told(people.load()));
people.addEventListener("removed", () => told(events.forget()));

socket.addEventListener("open", () => {
  showLink("open");
  // The picture first: lists and thumbnails would compete with its connection.
  setTimeout(() => {
    told(events.load());
    told(people.load());
  }, LISTS_AFTER_MS);
});
socket.addEventListener("close", () => {
  showLink("lost");
  api("GET", "api/cameras").catch(() => {}); // tells a lost service from a missing token
});

let isAsking = false;
window.addEventListener("facewire:signed-out", async () => {
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
});

async function showDemo() {
  const { is_demo: isDemo } = await api("GET", "healthz");
  byId("demo").hidden = !isDemo || sessionStorage.getItem(DEMO_NOTE) !== null;
}
byId("demo-close").addEventListener("click", () => {
  byId("demo").hidden = true;
  sessionStorage.setItem(DEMO_NOTE, "");
});

makeTabs(document.querySelector("[role=tablist]"));
told(showDemo());
socket.connect();
