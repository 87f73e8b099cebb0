"""facewire in a real Home Assistant: entities appear, change, are switched, and vanish.

The settings, the password and the dashboard are those of the page docs/pages/home-assistant.md.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import expect

from tests.e2e.harness import RunningService, chromium, open_page, require_chromium, service
from tests.home_assistant import HomeAssistant, home_assistant
from tests.mosquitto import Mosquitto, mosquitto, retained, until
from tests.written import ROOT, blocks_of

pytestmark = pytest.mark.e2e

BLOCKS = blocks_of(ROOT / "docs/pages/home-assistant.md")
SETTINGS = next(block.text for block in BLOCKS if block.language == "toml")
CARD = next(block.text for block in BLOCKS if block.language == "yaml")
PASSWORD = "correct-horse-battery"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    directory = tmp_path_factory.mktemp("broker")
    with mosquitto(directory, user="facewire", password=PASSWORD) as running:
        yield running


@pytest.fixture(scope="module")
def hass(broker: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeAssistant]:
    with home_assistant(tmp_path_factory.mktemp("hass"), broker) as running:
        yield running


@pytest.fixture(scope="module")
def demo(
    broker: Mosquitto, hass: HomeAssistant, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    data = tmp_path_factory.mktemp("data")
    settings = data / "facewire.toml"
    own = SETTINGS.replace("mqtt://127.0.0.1", broker.url)
    settings.write_text(f"{own}faces = true\naway_s = 600\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEWIRE_MQTT_PASSWORD", PASSWORD)
        with service("home-assistant", data, f"--config={settings}") as running:
            yield running


@pytest.fixture(scope="module")
def api(demo: RunningService) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=demo.url, trust_env=False, timeout=60) as client:
        yield client


def present(hass: HomeAssistant) -> list[str]:
    """Return the entities of people who are present; what is known of each comes after it."""
    return [
        key
        for key, each in hass.states().items()
        if key.startswith("binary_sensor.facewire_")
        and each["attributes"].get("device_class") == "presence"
        and each["state"] == "on"
        and "camera" in each["attributes"]
    ]


def name_of(person: Any) -> str:
    """Return the name, before which Home Assistant writes the device's."""
    return str(person["attributes"]["friendly_name"]).removeprefix("facewire ")


def test_a_person_who_is_seen_is_present(hass: HomeAssistant, demo: RunningService) -> None:
    until(lambda: present(hass), "nobody became present")
    states = hass.states()
    person = states[present(hass)[0]]
    name = name_of(person)
    assert person["attributes"]["camera"] == "demo"
    slug = present(hass)[0].removeprefix("binary_sensor.")
    assert states[f"sensor.{slug}_last_camera"]["state"] == "demo"
    assert states["binary_sensor.facewire_connection"]["state"] == "on"
    until(lambda: name in hass.state("sensor.demo_people"))
    until(lambda: hass.state("binary_sensor.demo_face") == "on")
    people = hass.states()["binary_sensor.demo_face"]["attributes"]["people"]
    assert {"identity_id", "name", "similarity", "since", "track_id"} == set(people[0])

    def last_event() -> Any:
        return hass.states()["event.demo_event"]["attributes"]

    until(lambda: last_event().get("event_type") in {"enter", "exit", "unknown", "renamed"})
    assert last_event()["camera"] == "demo"
    until(lambda: hass.state("image.demo_last_face") not in {"", "unknown", "unavailable"})
    assert hass.complaints() == []


def test_the_page_says_that_the_broker_is_connected(demo: RunningService) -> None:
    require_chromium()
    with chromium() as browser:
        page = open_page(browser, f"{demo.url}#/settings")
        integration = page.locator("#integration-list li")
        expect(integration).to_contain_text("MQTT")
        expect(integration).to_contain_text("Works")
        expect(integration).to_contain_text("messages published")


def test_the_dashboard_of_the_page_has_its_entities(
    hass: HomeAssistant, demo: RunningService
) -> None:
    entities = re.findall(r"entity: (\S+)", CARD)
    assert len(entities) == 5
    until(lambda: set(entities) <= hass.states().keys(), f"not all of {entities}")


def test_a_camera_is_switched_off_and_on(hass: HomeAssistant, api: httpx2.Client) -> None:
    def is_enabled() -> bool:
        (camera,) = api.get("api/cameras").json()
        return bool(camera["settings"]["enabled"])

    hass.call("switch", "turn_off", "switch.demo_enabled")
    until(lambda: not is_enabled())
    until(lambda: hass.state("switch.demo_enabled") == "off")
    until(lambda: hass.state("binary_sensor.demo_face") == "unavailable")
    hass.call("switch", "turn_on", "switch.demo_enabled")
    until(is_enabled)
    until(lambda: hass.state("binary_sensor.demo_face") == "on")


def test_home_assistant_and_the_broker_are_restarted(
    hass: HomeAssistant, broker: Mosquitto, demo: RunningService
) -> None:
    until(lambda: present(hass))
    hass.stop()
    broker.kill()
    broker.start()
    hass.start()
    until(lambda: present(hass), "nobody is present after the restart")
    until(lambda: hass.state("binary_sensor.facewire_connection") == "on")
    until(lambda: "Home Assistant has started" in demo.log.read_text())
    assert hass.complaints() == []


def test_a_renamed_person_stays_the_same_entity(hass: HomeAssistant, api: httpx2.Client) -> None:
    until(lambda: present(hass))
    entity = present(hass)[-1]
    name = name_of(hass.states()[entity])
    identity_id = _id_of(api, name)
    api.patch(f"api/identities/{identity_id}", json={"name": "अदा लवलेस"}).raise_for_status()
    until(lambda: hass.states()[entity]["attributes"]["friendly_name"] == "facewire अदा लवलेस")


def test_a_person_who_is_erased_vanishes(
    hass: HomeAssistant, broker: Mosquitto, api: httpx2.Client
) -> None:
    until(lambda: present(hass))
    entity = present(hass)[0]
    name = name_of(hass.states()[entity])
    identity_id = _id_of(api, name)
    api.delete(f"api/identities/{identity_id}").raise_for_status()
    until(lambda: entity not in hass.states())
    until(lambda: not mentions(broker, identity_id, name))
    assert f"sensor.{entity.removeprefix('binary_sensor.')}_last_camera" not in hass.states()


def mentions(broker: Mosquitto, *words: str) -> list[str]:
    """Return the topics that hold one of some words, or a payload that does."""
    return [
        topic
        for topic, payload in retained(broker).items()
        if any(word in topic or word.encode() in payload for word in words)
    ]


def _id_of(api: httpx2.Client, name: str) -> str:
    people = api.get("api/identities").json()
    (found,) = [each["identity_id"] for each in people if each["name"] == name]
    return str(found)
