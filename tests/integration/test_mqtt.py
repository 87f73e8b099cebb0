"""What a service publishes at a real broker, where nothing stays of what is gone or erased."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from gallery import Gallery, Identity, Match, NewPhoto
from stream.cameras.camera import CameraState
from stream.cameras.registry import Cameras
from stream.config import CameraConfig, Config
from stream.errors import UnknownCameraError
from stream.events.log import EventLog, LoggedEvent
from stream.frames import Event, EventKind, Frame, FrameResult, Track, TrackState
from stream.integrations.mqtt.link import MqttLink
from stream.supervisor import Supervisor
from stream.visitors.book import VisitorBook
from tests.mosquitto import Mosquitto, listening, mosquitto, retained, until
from tests.unit.stream.visitors.test_book import PEOPLE, opened, see

pytestmark = pytest.mark.integration


@dataclass
class ShownCamera:
    """A camera whose faces a test decides."""

    config: CameraConfig
    state: CameraState = CameraState.LIVE
    latest: FrameResult | None = None

    @property
    def name(self) -> str:
        return self.config.name

    def show(self, *tracks: Track) -> None:
        frame = Frame(self.name, 1, time.monotonic(), np.zeros((8, 8, 3), np.uint8))
        self.latest = FrameResult(frame, tracks, (), {})


@dataclass
class ShownCameras:
    """Cameras as the service has them."""

    all: list[ShownCamera] = field(default_factory=list)

    def __iter__(self) -> Iterator[ShownCamera]:
        return iter(list(self.all))

    def get(self, name: str) -> ShownCamera:
        for camera in self.all:
            if camera.name == name:
                return camera
        raise UnknownCameraError(name)

    async def change(self, name: str, config: CameraConfig) -> None:
        camera = self.get(name)
        camera.config = config
        camera.state = CameraState.LIVE if config.enabled else CameraState.OFF
        camera.latest = None

    def add(self, name: str) -> ShownCamera:
        self.all.append(ShownCamera(CameraConfig(name=name, url="/dev/video0")))
        return self.all[-1]


def track(number: int, person: Identity | None, state: TrackState = TrackState.KNOWN) -> Track:
    now = time.monotonic()
    match = None if person is None else Match(person, 0.61)
    box = np.zeros(4, np.float32)
    return Track(f"run-{number}", box, 0.99, now, now, state, match, f"run-{number}")


@dataclass
class Published:
    """A service that publishes."""

    link: MqttLink
    cameras: ShownCameras
    log: EventLog
    book: VisitorBook
    gallery: Gallery

    def enroll(self, name: str, number: int) -> Identity:
        photo = NewPhoto(PEOPLE[number], None, f"{number:064}", 0.9)
        identity, _ = self.gallery.photos.add(name, [photo])
        return identity

    def log_event(self, event: Event) -> LoggedEvent:
        logged = self.log.append(event, time.time())
        self.link.offer(logged)
        return logged

    def enter(self, person: Identity, number: int, camera: str = "door") -> LoggedEvent:
        crop = np.full((112, 112, 3), 90, np.uint8)
        at = time.monotonic()
        return self.log_event(
            Event(EventKind.ENTER, camera, at, f"run-{number}", Match(person, 0.61), at, crop)
        )


@contextmanager
def publishing(
    directory: Path, broker: Mosquitto, *cameras: str, visitors: bool = False, **settings: Any
) -> Iterator[Published]:
    directory.mkdir(exist_ok=True)
    config = Config.model_validate(
        {
            "gallery": {"directory": directory},
            "mqtt": {"url": broker.url, **settings},
            "events": {"absence_s": 0.1},
        }
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    with ExitStack() as stack:
        stack.callback(loop.close)
        stack.callback(thread.join)
        stack.callback(loop.call_soon_threadsafe, loop.stop)
        log, book, gallery = stack.enter_context(opened(directory, is_enabled=visitors))
        shown = ShownCameras()
        for name in cameras:
            shown.add(name)
        supervisor = Supervisor(clock=time.monotonic, first_delay_s=0.05)
        link = MqttLink(config, supervisor=supervisor)
        stack.callback(link.join, 30)
        stack.callback(link.stop)
        link.start(
            cameras=cast(Cameras, shown),
            gallery=gallery,
            has_visitors=lambda: book.is_enabled,
            is_ignored=log.is_ignored,
            loop=loop,
            clock=time.monotonic,
        )
        assert link.client.wait_connected(60)
        yield Published(link, shown, log, book, gallery)
        assert supervisor.problems() == []


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def broker(shared_broker: Mosquitto) -> Mosquitto:
    shared_broker.kill()
    shared_broker.start()  # it has forgotten everything
    return shared_broker


def mentions(broker: Mosquitto, *words: str) -> list[str]:
    return [
        topic
        for topic, payload in retained(broker).items()
        if any(word in topic or word.encode() in payload for word in words)
    ]


def has(broker: Mosquitto, topic: str, payload: str) -> bool:
    return retained(broker).get(topic) == payload.encode()


def read(broker: Mosquitto, topic: str) -> dict[str, Any]:
    """Return the JSON that is retained of a topic; nothing if there is none."""
    found: dict[str, Any] = json.loads(retained(broker).get(topic, b"{}"))
    return found


def test_who_is_in_view_and_who_has_left(tmp_path: Path, broker: Mosquitto) -> None:
    with publishing(tmp_path / "own", broker, "door", away_s=1) as service:
        ada = service.enroll("Ada", 0)
        service.enter(ada, 1)
        (door,) = service.cameras
        door.show(track(1, ada), track(2, None, TrackState.UNKNOWN))
        until(lambda: has(broker, "facewire/cameras/door/people", "Ada"))
        person = f"facewire/people/{ada.identity_id}"
        expected = {
            "facewire/cameras/door/occupancy": b"ON",
            "facewire/cameras/door/status": b"online",
            f"{person}/presence": b"ON",
            f"{person}/camera": b"door",
        }
        until(lambda: expected.items() <= retained(broker).items())

        def state() -> dict[str, Any]:
            return read(broker, "facewire/cameras/door/state")

        until(lambda: (state().get("count"), state().get("unknown")) == (2, 1))
        until(lambda: read(broker, f"{person}/attributes").get("name") == "Ada")
        door.show()
        until(lambda: has(broker, "facewire/cameras/door/people", "nobody"))
        until(lambda: has(broker, "facewire/cameras/door/occupancy", "OFF"))
        until(lambda: has(broker, f"{person}/camera", "None"))
        until(lambda: has(broker, f"{person}/presence", "OFF"))
        door.state, door.latest = CameraState.FAILING, None
        until(lambda: has(broker, "facewire/cameras/door/status", "offline"))


def test_zones_are_occupied_and_those_that_are_removed_leave_nothing(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with publishing(tmp_path / "own", broker, "door") as service:
        (door,) = service.cameras
        square = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
        zones = {"porch": square, "path": square}
        door.config = door.config.model_copy(update={"zones": zones})
        root = "facewire/cameras/door/zones"
        until(lambda: has(broker, f"{root}/porch/occupancy", "OFF"))
        door.show(replace(track(1, None, TrackState.UNKNOWN), zones=("porch",)))
        until(lambda: has(broker, f"{root}/porch/occupancy", "ON"))
        assert has(broker, f"{root}/path/occupancy", "OFF")
        config = read(broker, "homeassistant/binary_sensor/facewire/door_zone_porch/config")
        assert config["state_topic"] == f"{root}/porch/occupancy"
        door.show(track(1, None, TrackState.UNKNOWN))
        until(lambda: has(broker, f"{root}/porch/occupancy", "OFF"))
        door.config = door.config.model_copy(update={"zones": {"path": square}})
        until(lambda: not mentions(broker, "porch"))
        assert mentions(broker, "path")


def test_a_camera_is_switched_renamed_and_removed(tmp_path: Path, broker: Mosquitto) -> None:
    with listening(broker) as user, publishing(tmp_path / "own", broker, "door") as service:
        (door,) = service.cameras
        user.client.publish("facewire/cameras/door/enabled/set", "maybe", 1)
        user.client.publish("facewire/cameras/none/enabled/set", "OFF", 1)
        user.client.publish("facewire/cameras/door/enabled/set", "OFF", 1)
        until(lambda: not door.config.enabled)
        until(lambda: has(broker, "facewire/cameras/door/enabled/state", "OFF"))
        until(lambda: has(broker, "facewire/cameras/door/status", "disabled"))
        user.client.publish("facewire/cameras/door/enabled/set", "ON", 1)
        until(lambda: has(broker, "facewire/cameras/door/enabled/state", "ON"))
        door.config = door.config.model_copy(update={"name": "gate"})
        until(lambda: mentions(broker, "gate") and not mentions(broker, "door"))
        service.cameras.all.clear()
        until(lambda: not mentions(broker, "gate"))


@pytest.mark.parametrize("name", ["#/+", "अदा"])
def test_a_person_is_renamed_and_erased(tmp_path: Path, broker: Mosquitto, name: str) -> None:
    with publishing(tmp_path / "own", broker, "door", faces=True) as service:
        person = service.enroll("Ada", 0)
        other = service.enroll("Bob", 1)
        config = f"homeassistant/binary_sensor/facewire/{person.identity_id}_presence/config"
        service.enter(person, 1)
        until(lambda: "facewire/cameras/door/face" in retained(broker))
        until(lambda: config in retained(broker))
        unique_id = json.loads(retained(broker)[config])["unique_id"]
        service.gallery.people.rename(person.identity_id, name)
        until(lambda: json.loads(retained(broker)[config])["name"] == name)
        assert json.loads(retained(broker)[config])["unique_id"] == unique_id
        service.gallery.people.remove(person.identity_id)
        service.log.reconcile()
        until(lambda: not mentions(broker, person.identity_id, name))
        until(lambda: "facewire/cameras/door/face" not in retained(broker), "the face stays")
        assert mentions(broker, other.identity_id)


def test_a_person_is_erased_while_the_service_is_stopped(tmp_path: Path, broker: Mosquitto) -> None:
    with publishing(tmp_path / "own", broker, "door", "yard", faces=True) as service:
        ada, bob = service.enroll("Ada", 0), service.enroll("Bob", 1)
        service.enter(ada, 1)
        until(lambda: mentions(broker, ada.identity_id) and mentions(broker, bob.identity_id))
        until(lambda: "facewire/cameras/door/face" in retained(broker))
    assert has(broker, "facewire/status", "offline")
    with opened(tmp_path / "own") as (log, _, gallery):
        gallery.people.remove(ada.identity_id)
        log.reconcile()
    with publishing(tmp_path / "own", broker, "door", faces=True):
        until(lambda: not mentions(broker, ada.identity_id, "yard"))
        until(lambda: "facewire/cameras/door/face" not in retained(broker))
        assert mentions(broker, bob.identity_id)


def test_two_services_on_one_broker(tmp_path: Path, broker: Mosquitto) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(publishing(tmp_path / "one", broker, "door"))
        ada = first.enroll("Ada", 0)
        until(lambda: len(mentions(broker, ada.identity_id)) == 5)
        own = set(retained(broker))
        with publishing(tmp_path / "two", broker, "door", instance="two") as second:
            bob = second.enroll("Bob", 1)
            until(lambda: len(mentions(broker, bob.identity_id)) == 5)
            assert own <= set(retained(broker))
            assert "homeassistant/switch/facewire-two/door_enabled/config" in retained(broker)
            ids = [
                json.loads(payload)["unique_id"]
                for topic, payload in retained(broker).items()
                if topic.endswith("/config")
            ]
            assert len(ids) == len(set(ids))
            second.gallery.people.remove(bob.identity_id)
            until(lambda: not mentions(broker, bob.identity_id))
        assert own <= set(retained(broker))
        assert has(broker, "facewire/status", "online")
        assert has(broker, "facewire-two/status", "offline")


def test_of_a_large_gallery_those_seen_last_are_published(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with publishing(tmp_path / "own", broker, "door", max_people=2) as service:
        people = [service.enroll(f"Person {number}", number) for number in range(4)]

        def published() -> list[int]:
            return [
                number
                for number, person in enumerate(people)
                if mentions(broker, person.identity_id)
            ]

        for number in (3, 0):
            service.enter(people[number], number)
        until(lambda: published() == [0, 3])
        service.enter(people[2], 7)
        until(lambda: published() == [0, 2])


def test_visitors_are_published_while_they_are_kept(tmp_path: Path, broker: Mosquitto) -> None:
    with publishing(tmp_path / "own", broker, "door", visitors=True) as service:
        first = see(service.log, 0, 1)
        (door,) = service.cameras
        visitor = f"facewire/visitors/{first.visitor_id}"
        until(lambda: has(broker, f"{visitor}/presence", "OFF"))
        door.show(track(1, None, TrackState.UNKNOWN))
        until(lambda: has(broker, f"{visitor}/presence", "ON"))
        until(lambda: has(broker, f"{visitor}/camera", "door"))
        until(lambda: read(broker, f"{visitor}/attributes"))
        attributes = read(broker, f"{visitor}/attributes")
        assert (attributes["name"], attributes["visit_count"]) == ("Visitor 1", 1)
        other = see(service.log, 1, 2)
        until(lambda: mentions(broker, other.visitor_id))
        service.book.erase(other.visitor_id)
        until(lambda: not mentions(broker, other.visitor_id))
        service.book.switch(is_enabled=False)
        until(lambda: not mentions(broker, first.visitor_id))


def test_no_event_is_lost_while_the_broker_is_away(tmp_path: Path, broker: Mosquitto) -> None:
    with publishing(tmp_path / "own", broker, "door") as service:
        ada, bob = service.enroll("Ada", 0), service.enroll("Bob", 1)
        ids = [service.enter(ada, number).id for number in range(5)]
        until(lambda: service.link.status().detail and not service.link.waiting)
        broker.kill()
        ids += [service.enter(ada, number).id for number in range(5, 15)]
        erased = service.enter(bob, 99).id
        until(lambda: not service.link.client.status().is_connected)
        assert "the MQTT broker" in service.link.problem()
        service.gallery.people.remove(bob.identity_id)
        service.log.reconcile()
    broker.start()
    with listening(broker) as user, publishing(tmp_path / "own", broker, "door") as service:
        ids += [service.enter(ada, number).id for number in range(15, 20)]
        until(lambda: ids[-1] in ids_of(user.payloads("facewire/events")))
        came = ids_of(user.payloads("facewire/events"))
        assert sorted(set(came)) == ids[-len(set(came)) :]
        assert set(ids[5:]) <= set(came), "some were lost"
        assert came == sorted(came), "they are not in order"
        assert erased not in came
        assert ids_of(user.payloads("facewire/cameras/door/event")) == came
    assert not [topic for topic in retained(broker) if topic.endswith(("event", "events"))]


def test_home_assistant_is_told_everything_when_it_starts(
    tmp_path: Path, broker: Mosquitto
) -> None:
    with listening(broker) as user, publishing(tmp_path / "own", broker, "door") as service:
        topic = "homeassistant/switch/facewire/door_enabled/config"
        until(lambda: topic in retained(broker))
        until(lambda: not service.link.waiting)
        user.live.clear()
        user.client.publish("homeassistant/status", "online", 1)
        until(lambda: user.payloads(topic) and user.payloads("facewire/cameras/door/people"))


def ids_of(payloads: Sequence[bytes]) -> list[int]:
    return [json.loads(payload)["id"] for payload in payloads]
