// The list of cameras.

import { api, encode } from "./api.js";
import { ask, confirm } from "./dialogs.js";
import { byId, glyph, h, sentence, setText, toast } from "./dom.js";

const SNAPSHOT_MS = 10000;
const STATES = { live: "Live", connecting: "Connecting", failing: "No picture", ended: "Ended", off: "Off" };

/** Events: "change"; "select" and "remove" with a camera's name, the latter can be prevented. */
export class Cameras extends EventTarget {
  cameras = [];
  own = null; // the name of this browser's camera while it is sent
  #cards = new Map();
  #selected = null;

  constructor(socket) {
    super();
    socket.addEventListener("cameras", ({ detail }) => this.#show(detail.cameras));
    byId("add-camera").addEventListener("click", () => this.add());
    setInterval(() => this.#refreshSnapshots(), SNAPSHOT_MS);
  }

  find(name) {
    return this.cameras.find((camera) => camera.name === name) ?? null;
  }

  select(name) {
    this.#selected = name;
    for (const [key, card] of this.#cards) {
      card.button.setAttribute("aria-current", String(key === name));
    }
  }

  async add() {
    const name = byId("camera-form-name");
    const url = byId("camera-form-url");
    name.value = url.value = "";
    const camera = await ask("camera", () =>
      api("POST", "api/cameras", { name: name.value.trim(), url: url.value.trim() }));
    url.value = ""; // it may hold a password
    if (camera) {
      toast(`${camera.name} was added.`);
      this.dispatchEvent(new CustomEvent("select", { detail: camera.name }));
    }
  }

  #show(cameras) {
    const before = new Map(this.cameras.map((camera) => [camera.name, camera.state]));
    this.cameras = cameras;
    for (const [name, card] of this.#cards) {
      if (!this.find(name)) {
        card.item.remove();
        this.#cards.delete(name);
      }
    }
    for (const camera of cameras) {
      let card = this.#cards.get(camera.name);
      if (!card) {
        card = this.#card(camera);
        this.#cards.set(camera.name, card);
        byId("camera-list").append(card.item);
      }
      this.#fill(card, camera);
      if (camera.state === "live" && before.get(camera.name) !== "live") {
        setTimeout(() => this.#snapshot(camera.name), 600);
      }
    }
    byId("cameras-empty").hidden = cameras.length > 0;
    this.select(this.#selected);
    this.dispatchEvent(new Event("change"));
  }

  #card(camera) {
    const image = h("img", { alt: "", hidden: true });
    image.addEventListener("load", () => { image.hidden = false; });
    image.addEventListener("error", () => { image.hidden = true; });
    const card = {
      image,
      name: h("span", { class: "camera-name" }),
      state: h("span", { class: "camera-state" }),
      detail: h("span", { class: "camera-detail" }),
    };
    card.button = h("button", {
      type: "button",
      class: "camera-card",
      onclick: () => this.dispatchEvent(new CustomEvent("select", { detail: camera.name })),
    },
      h("span", { class: "thumb", "aria-hidden": "true" }, glyph("camera"), image),
      h("span", { class: "camera-text" }, card.name, card.state, card.detail));
    card.item = h("li", { class: "camera-item" }, card.button,
      h("button", {
        type: "button",
        class: "icon-button remove",
        "aria-label": `Remove ${camera.name}`,
        onclick: () => this.#remove(camera.name),
      }, glyph("close")));
    return card;
  }

  #fill(card, camera) {
    card.item.dataset.state = camera.state;
    card.item.dataset.camera = camera.name;
    card.button.title = camera.url;
    setText(card.name, camera.name === this.own ? "This browser’s camera" : camera.name);
    const figures = camera.state === "live"
      ? ` · ${Math.round(camera.fps_in)} fps${camera.viewers ? ` · ${camera.viewers} watching` : ""}`
      : "";
    setText(card.state, (STATES[camera.state] ?? camera.state) + figures);
    const reason = camera.state === "live" ? "" : sentence(camera.reason);
    setText(card.detail, reason);
    card.detail.title = reason;
    card.detail.hidden = !reason;
  }

  #remove(name) {
    const wish = new CustomEvent("remove", { detail: name, cancelable: true });
    if (!this.dispatchEvent(wish)) {
      return null;
    }
    return confirm({
      title: `Remove ${name}?`,
      text: "The camera is no longer watched. People and events stay. A camera of the configuration returns at the next start.",
      yes: "Remove camera",
      run: () => api("DELETE", `api/cameras/${encode(name)}`),
    });
  }

  #refreshSnapshots() {
    if (!document.hidden) {
      this.cameras.filter((camera) => camera.state === "live").forEach(({ name }) => this.#snapshot(name));
    }
  }

  #snapshot(name) {
    const card = this.#cards.get(name);
    if (card) {
      card.image.src = `api/cameras/${encode(name)}/snapshot.jpg?width=320&at=${Date.now()}`;
    }
  }
}
