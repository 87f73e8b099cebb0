// The service worker of notifications: shows what the service pushes, and opens the event.

/** @typedef {{title: string, body: string, tag: string, at: string, url: string, icon?: string}} Message */

const worker = /** @type {any} */ (self);

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("push", (/** @type {any} */ event) => {
  /** @type {Message} */
  const { title, body, tag, at, url, icon } = event.data.json();
  event.waitUntil(worker.registration.showNotification(title, {
    body,
    tag, // a message that arrives twice is shown once
    icon: icon ?? "icon.svg",
    badge: "icon.svg",
    timestamp: Date.parse(at),
    data: { url: new URL(url, worker.registration.scope).href },
  }));
});

worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
  event.notification.close();
  event.waitUntil(openEvent(event.notification.data.url));
});

/** @param {string} url of the event on the page */
async function openEvent(url) {
  const pages = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
  const page = pages.find((/** @type {any} */ each) => each.url.startsWith(worker.registration.scope));
  if (page) {
    page.postMessage({ url });
    await page.focus();
  } else {
    await worker.clients.openWindow(url);
  }
}
