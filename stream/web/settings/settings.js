// Settings: every camera with its state, and what runs here.

import { api, told } from "../connection/api.js";
import { STATES } from "../cameras/cameras.js";
import { duration } from "../cameras/condition.js";
import { byId, glyph, h, sentence, setText } from "../page/dom.js";
import { routeTo } from "../page/router.js";

const DEVICES = { cpu: "CPU", cuda: "GPU (CUDA)" };

export class Settings {
  #cameras;
  #cards = new Map();
  #isShown = false;

  constructor(cameras) {
    this.#cameras = cameras;
    cameras.addEventListener("change", () => this.#update());
    byId("add-camera").addEventListener("click", () => cameras.add());
  }

  async show() {
    this.#isShown = true;
    this.#update();
    const [health, about] = await Promise.all([api("GET", "healthz"), api("GET", "api/about")]);
    for (const [id, lines] of [["health", health.problems], ["notices", health.notices]]) {
      byId(id).hidden = lines.length === 0;
      setText(byId(id), lines.map(sentence).join(". "));
    }
    this.#showAbout(about);
    byId("sign-out").hidden = !about.needs_token;
  }

  hide() {
    this.#isShown = false;
  }

  #showAbout(about) {
    const rows = [
      ["Recognition runs on", `${DEVICES[about.device] ?? about.device}, by ${about.engine}`],
      ["Model", about.model.slice(0, 16)],
      ["A face is a match from", `similarity ${about.threshold.toFixed(3)} (−1 to 1)`],
      ["Events are kept for", `${count(about.keep_days, "day")}, at most ${count(about.keep_mib, "MiB", "MiB")}`],
      ["Events take now", count(about.used_mib, "MiB", "MiB")],
    ];
    byId("about").replaceChildren(...rows.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text))));
  }

  #update() {
    if (!this.#isShown) {
      return;
    }
    for (const [name, card] of this.#cards) {
      if (!this.#cameras.find(name)) {
        card.item.remove();
        this.#cards.delete(name);
      }
    }
    for (const camera of this.#cameras.all) {
      let card = this.#cards.get(camera.name);
      if (!card) {
        card = this.#card(camera.name);
        this.#cards.set(camera.name, card);
        byId("camera-list").append(card.item);
      }
      this.#fill(card, camera);
    }
    byId("cameras-empty").hidden = !this.#cameras.isKnown || this.#cameras.all.length > 0;
  }

  #card(name) {
    const card = {
      name: h("a", { class: "camera-name", href: routeTo("live", name) }),
      state: h("p", { class: "camera-state" }),
      reason: h("p", { class: "camera-reason" }),
      url: h("p", { class: "camera-url" }),
      settings: h("p", { class: "camera-settings" }),
      turn: h("button", { type: "button", role: "switch", class: "switch", "aria-label": `${name} is on` }),
    };
    card.turn.addEventListener("click", () => {
      const isOn = card.turn.getAttribute("aria-checked") === "true";
      told(this.#cameras.turn(name, !isOn));
    });
    const tool = (icon, label, onclick, kind = "") =>
      h("button", { type: "button", class: `icon-button ${kind}`, "aria-label": `${label} ${name}`, title: label, onclick }, glyph(icon));
    card.item = h("li", { class: "camera-item", "data-camera": name },
      h("div", { class: "camera-text" }, card.name, card.state, card.reason, card.url, card.settings),
      h("div", { class: "camera-tools", "data-changes": true },
        card.turn,
        tool("pen", "Change", () => this.#cameras.edit(name)),
        tool("trash", "Remove", () => this.#cameras.remove(name), "remove")));
    return card;
  }

  #fill(card, camera) {
    const { settings } = camera;
    card.item.dataset.state = camera.state;
    setText(card.name, this.#cameras.titleOf(camera.name));
    setText(card.state, stateText(camera));
    const reason = camera.state === "live" ? "" : sentence(camera.reason);
    setText(card.reason, reason);
    card.reason.hidden = !reason;
    setText(card.url, camera.is_pushed ? "Sent by a browser or encoder" : camera.url);
    card.url.hidden = !card.url.textContent; // viewers see none
    const parts = [
      settings.min_face_px && `faces from ${settings.min_face_px} pixels`,
      settings.target_fps && `at most ${settings.target_fps} frames per second`,
      settings.rotation && `turned by ${settings.rotation}°`,
      settings.region && "part of the picture",
      settings.rtsp_transport === "udp" && "RTSP over UDP",
      settings.pixel_aspect !== "auto" && `pixels ${settings.pixel_aspect}`,
      settings.deinterlace !== "auto" && `deinterlacing ${settings.deinterlace}`,
      !settings.verify_tls && "certificate not checked",
    ];
    setText(card.settings, sentence(parts.filter(Boolean).join(" · ")));
    card.settings.hidden = !card.settings.textContent;
    card.turn.setAttribute("aria-checked", String(settings.enabled));
  }
}

function stateText(camera) {
  const { state } = camera;
  const figures = {
    live: ` · ${camera.width}×${camera.height} · ${Math.round(camera.fps_in)} fps`,
    failing: ` for ${duration(camera.since_s)}`,
    frozen: ` for ${duration(camera.since_s)}`,
  };
  const back = camera.reconnects ? ` · came back ${camera.reconnects === 1 ? "once" : `${camera.reconnects} times`}` : "";
  const watching = camera.viewers ? ` · ${camera.viewers} watching` : "";
  return `${STATES[state] ?? state}${figures[state] ?? ""}${watching}${back}`;
}

function count(number, word, many = `${word}s`) {
  return `${Number(number.toFixed(1)).toLocaleString()} ${number === 1 ? word : many}`;
}
