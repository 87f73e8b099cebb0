"""Notifications on the page: a rule is made, tested, fires, is switched off; a device is notified.

Headless Chromium has no push service. So the browser's subscription is one of the test, at a
receiver of the test, which decrypts what the service pushes; Chromium's own service worker then
gets it by its debugging protocol.
"""

import json
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from stream.integrations.push.encryption import point_of, to_text
from tests.e2e.harness import (
    OUTPUT,
    chromium,
    go,
    keep_screenshots,
    open_page,
    require_chromium,
    service,
)
from tests.integration.test_rules import Phone
from tests.integration.test_webhooks import Receiver, receiving, until

pytestmark = pytest.mark.e2e

DEMO = '[[cameras]]\nname = "hall"\nurl = "demo:"\ntarget_fps = 5\n[events]\ncooldown_s = 1.0\n'

SUBSCRIPTION = """
const keys = %s;
PushManager.prototype.getSubscription = async () => localStorage.getItem("subscribed") && {
  endpoint: keys.endpoint,
  unsubscribe: async () => localStorage.removeItem("subscribed"),
};
PushManager.prototype.subscribe = async (options) => {
  localStorage.setItem("subscribed", JSON.stringify([...options.applicationServerKey]));
  return { toJSON: () => ({ endpoint: keys.endpoint, keys }), endpoint: keys.endpoint };
};
"""

SHOWN = """async (tag) => {
  const registration = await navigator.serviceWorker.ready;
  return (await registration.getNotifications({ tag })).map(
    ({ title, body, icon, data }) => ({ title, body, icon, url: data.url }));
}"""


def test_a_rule_is_made_tested_fires_and_is_switched_off(tmp_path: Path) -> None:
    require_chromium()
    config = tmp_path / "facewire.toml"
    config.write_text(DEMO)
    with (
        receiving() as receiver,
        service(
            "rules", tmp_path, f"--config={config}", f"--gallery={tmp_path / 'people'}"
        ) as facewire,
        chromium() as browser,
    ):
        page = open_page(browser, facewire.url + "#/settings")
        page.get_by_role("link", name="Notifications").click()
        expect(page.get_by_text("No rule yet.")).to_be_visible()
        keep_screenshots(page, "rules-empty")
        _make(page, receiver)
        _try(page, receiver)
        rule = page.locator('.rule[data-rule="Who is there"]')
        expect(rule.locator(".rule-state")).to_contain_text("On · fired")
        until(lambda: receiver.paths.count("/hook/hall?who=Unknown") > 1)
        keep_screenshots(page, "rules")
        _switch_off(page, rule)
        _change(page, rule, receiver)
        _device(browser, facewire.url, tmp_path)


def _make(page: Page, receiver: Receiver) -> None:
    page.get_by_role("button", name="Strangers at night").click()
    expect(page.locator("#rule-name")).to_have_value("Strangers at night")
    expect(page.locator("#rule-from")).to_have_value("22:00")
    page.fill("#rule-name", "Who is there")
    page.fill("#rule-from", "")
    page.fill("#rule-to", "")
    page.get_by_role("checkbox", name="hall").check()
    page.locator("#rule-limits summary").click()
    page.fill("#rule-cooldown", "1")
    page.fill("#rule-most", "1000")
    page.select_option(".action select[name=type]", "webhook")
    page.select_option("select[name=preset]", "ntfy")
    page.fill("input[name=url]", "http://127.0.0.1:1/{nobody}")
    page.screenshot(path=OUTPUT / "rule-form.png")
    page.click("#rule-save")
    expect(page.locator("#rule-problem")).to_contain_text("{nobody} is no placeholder")
    address = receiver.url.replace("/hook?key=k1", "/hook/{camera}?who={name}")
    page.fill("input[name=url]", address)
    page.click("#rule-save")
    expect(page.locator(".rule")).to_have_count(1)


def _try(page: Page, receiver: Receiver) -> None:
    rule = page.locator('.rule[data-rule="Who is there"]')
    rule.get_by_text("Send a test").click()
    expect(rule.locator(".tested")).to_contain_text("accepted")
    headers, body = receiver.came[0]
    assert headers["Title"] == "Unknown at hall"
    assert body.decode() == "An unknown face is at hall"


def _switch_off(page: Page, rule: Locator) -> None:
    rule.get_by_text("Off for an hour").click()
    expect(rule.locator(".rule-state")).to_contain_text("Off until")
    switch = rule.get_by_role("switch")
    switch.click()
    expect(rule.locator(".rule-state")).to_contain_text("On ·")
    switch.click()
    expect(rule.locator(".rule-state")).to_contain_text("Off ·")
    page.reload()
    expect(rule.locator(".rule-state")).to_contain_text("Off ·")
    switch.click()
    expect(rule.locator(".rule-state")).to_contain_text("On ·")


def _change(page: Page, rule: Locator, receiver: Receiver) -> None:
    rule.get_by_label("Change").click()
    # The address is a secret: it is cut, and kept where it stays so.
    expect(page.locator("input[name=url]")).to_have_value(
        receiver.url.replace("/hook?key=k1", "/***")
    )
    page.fill("textarea[name=body]", "changed: {text}")
    page.click("#rule-save")
    expect(page.locator("#rule-dialog")).to_be_hidden()
    until(lambda: any(body.startswith(b"changed: ") for _, body in receiver.came))
    assert set(receiver.paths) == {"/hook/hall?who=Unknown"}
    rule.get_by_label("Remove").click()
    page.click("#confirm-yes")
    expect(page.get_by_text("No rule yet.")).to_be_visible()


def _device(browser: Browser, url: str, tmp_path: Path) -> None:
    with receiving() as receiver:
        phone = Phone(receiver, now_s=time.time())
        keys = {
            "endpoint": receiver.url,
            "p256dh": to_text(point_of(phone.key)),
            "auth": to_text(phone.auth),
        }
        page = open_page(browser, url, size=(390, 844))
        page.context.grant_permissions(["notifications"])
        page.add_init_script(SUBSCRIPTION % json.dumps(keys))
        page.goto(url + "#/rules")
        page.reload()
        page.click("#device-switch")
        expect(page.locator("#device-switch")).to_have_attribute("aria-checked", "true")
        expect(page.locator(".device")).to_have_count(1)
        phone.public_key = page.evaluate("fetch('api/push').then(r => r.json())")["public_key"]
        page.get_by_role("button", name="Strangers at night").click()
        page.fill("#rule-from", "")
        page.fill("#rule-to", "")
        page.click("#rule-save")
        expect(page.locator(".rule-deliveries")).to_contain_text("1 sent")
        keep_screenshots(page, "rules-device")
        message = phone.read(*receiver.came[0])
        _show(page, message)
        page.click("#device-switch")
        expect(page.locator("#device-switch")).to_have_attribute("aria-checked", "false")
        expect(page.locator(".device")).to_have_count(0)


def _show(page: Page, message: dict[str, str]) -> None:
    """Hand a message to the page's service worker, and click on the notification."""
    session = page.context.new_cdp_session(page)
    registrations: list[str] = []
    session.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda found: registrations.extend(
            each["registrationId"] for each in found["registrations"]
        ),
    )
    session.send("ServiceWorker.enable")
    page.wait_for_function("navigator.serviceWorker.ready.then(() => true)")
    until(lambda: page.evaluate("1") and registrations)
    session.send(
        "ServiceWorker.deliverPushMessage",
        {
            "origin": page.evaluate("location.origin"),
            "registrationId": registrations[-1],
            "data": json.dumps(message),
        },
    )
    found: list[dict[str, str]] = []

    def is_shown() -> bool:
        found[:] = page.evaluate(SHOWN, message["tag"])
        return bool(found)

    until(is_shown)
    (shown,) = found
    assert shown["title"] == "Unknown at hall"
    assert shown["body"] == "An unknown face is at hall"
    assert shown["icon"].startswith("data:image/jpeg;base64,")
    assert shown["url"].endswith(message["url"])
    worker = page.context.service_workers[0]
    worker.evaluate(
        "tag => self.registration.getNotifications({ tag }).then(([notification]) =>"
        " { self.dispatchEvent(new NotificationEvent('notificationclick', { notification })); })",
        message["tag"],
    )
    page.wait_for_url(f"**/{message['url']}")
    number = message["url"].partition("event=")[2]
    expect(page.locator("#event-list .event").first).to_have_attribute("data-id", number)
    page.screenshot(path=OUTPUT / "rules-event.png")
    go(page, "#/rules")
