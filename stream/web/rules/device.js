// This browser's notifications: subscribed at its push service, and the subscription at the service.

import { api, encode } from "../connection/api.js";

/** @typedef {"insecure" | "unsupported" | "denied" | "on" | "off"} State */

const WORKER = "push.js";

/**
 * What this browser can do now.
 * @returns {Promise<State>}
 */
export async function deviceState() {
  if (!window.isSecureContext) {
    return "insecure";
  }
  if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window)) {
    return "unsupported";
  }
  if (Notification.permission === "denied") {
    return "denied";
  }
  const registration = await navigator.serviceWorker.getRegistration(WORKER);
  return (await registration?.pushManager.getSubscription()) ? "on" : "off";
}

/**
 * What is said about a state.
 * @param {State} state
 */
export function stateText(state) {
  return {
    insecure: "A browser takes notifications only from a page with https:// (or http://localhost). Serve this page over HTTPS: the documentation says how.",
    unsupported: "This browser has no notifications. On an iPhone or iPad, first add this page to the home screen, and open it there.",
    denied: "Notifications of this page are blocked in this browser. Allow them in its settings for this site.",
    on: "This device is notified.",
    off: "Rules with the action “Phones and browsers” notify every device on which this is switched on.",
  }[state];
}

/** Ask the person, subscribe, and hand the subscription to the service. */
export async function subscribe() {
  if ((await Notification.requestPermission()) !== "granted") {
    throw new Error("notifications were not allowed in this browser");
  }
  const { public_key: key } = await api("GET", "api/push");
  await navigator.serviceWorker.register(WORKER);
  const registration = await navigator.serviceWorker.ready;
  const before = await registration.pushManager.getSubscription();
  await before?.unsubscribe(); // it may be for another key
  const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytesOf(key) });
  try {
    await api("POST", "api/push/devices", bodyOf(subscription.toJSON(), nameOf(navigator.userAgent)));
  } catch (error) {
    await subscription.unsubscribe();
    throw error;
  }
  await registration.showNotification("facewire", { body: "This device is notified from now on.", icon: "icon.svg", tag: "facewire-subscribed" });
}

/** End the subscription, here and at the service. */
export async function unsubscribe() {
  const registration = await navigator.serviceWorker.getRegistration(WORKER);
  const subscription = await registration?.pushManager.getSubscription();
  if (subscription) {
    const id = await idOf(subscription.endpoint);
    await subscription.unsubscribe();
    await api("DELETE", `api/push/devices/${encode(id)}`);
  }
}

/**
 * The id that the service gives to an endpoint.
 * @param {string} endpoint
 */
export async function idOf(endpoint) {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(endpoint));
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("").slice(0, 32);
}

/**
 * The body of the request that adds a device.
 * @param {PushSubscriptionJSON} subscription
 * @param {string} name
 */
export function bodyOf({ endpoint, keys }, name) {
  return { name, endpoint, p256dh: keys?.p256dh, auth: keys?.auth };
}

/**
 * A device's name for people: "Chrome on Android".
 * @param {string} agent the browser's User-Agent
 */
export function nameOf(agent) {
  const browser = [["Edg", "Edge"], ["Firefox", "Firefox"], ["Chrome", "Chrome"], ["Safari", "Safari"]].find(([key]) => agent.includes(key))?.[1] ?? "Browser";
  const system = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS", "macOS"], ["Linux", "Linux"]].find(([key]) => agent.includes(key))?.[1];
  return system ? `${browser} on ${system}` : browser;
}

/**
 * The bytes of base64url text.
 * @param {string} text
 */
export function bytesOf(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}
