"""Names for Frigate's events: a real service, a real broker, and Frigate's API on loopback."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gallery import Gallery, Identity, Match
from recognizer import open_recognizer
from stream.config import Config
from stream.enrollment.enrollment import enroll_images, photo_item
from stream.frames import Frame, FrameResult, Track, TrackState
from stream.integrations.frigate.companion import MAX_TRIES, FrigateCompanion
from stream.integrations.mqtt.client import MqttClient
from stream.service import Service
from stream.supervisor import Supervisor
from tests.e2e.films import still_film
from tests.fake_programs import FakeFrigate, Reply, Request, served
from tests.mosquitto import Listener, Mosquitto, listening, mosquitto, until
from tests.shared_data import photos
from tests.viewers import until as until_async

pytestmark = pytest.mark.integration

WIDTH, HEIGHT = 1280, 720
PERSON = [0, 0, WIDTH, HEIGHT]
FRONT = {"cameras": {"front": {"detect": {"width": WIDTH, "height": HEIGHT, "fps": 5}}}}


class OurCamera:
    """A camera with results as the service has them."""

    name = "door"

    def __init__(self) -> None:
        self.latest: FrameResult | None = None
        self._seq = 0

    def show(self, name: str, similarity: float = 0.6, *, track: str = "1-1") -> None:
        """Show one face, with a name or none."""
        match = Match(Identity("id-" + name, name), similarity) if name else None
        state = TrackState.KNOWN if name else TrackState.UNDECIDED
        box = np.array([300, 50, 340, 100], np.float32)
        now = time.monotonic()
        self._seq += 1
        frame = Frame("door", self._seq, now, np.zeros((360, 640, 3), np.uint8))
        faces = (Track(track, box, 0.9, now, now, state, match),)
        self.latest = FrameResult(frame, faces, (), {})


def message(event_id: str = "1607123955.475377-mxklsc", kind: str = "new", **after: Any) -> str:
    whole = {
        "id": event_id,
        "camera": "front",
        "frame_time": time.time(),
        "label": "person",
        "false_positive": False,
        "box": PERSON,
        "stationary": True,
        **after,
    }
    return json.dumps({"type": kind, "before": whole, "after": whole})


@contextmanager
def companion(
    url: str, camera: OurCamera, broker: Mosquitto, first_delay_s: Any = 0.02, **settings: Any
) -> Iterator[FrigateCompanion]:
    """Run a companion, subscribed at the broker."""
    supervisor = Supervisor(clock=time.monotonic, first_delay_s=0.01)
    config = Config.model_validate(
        {
            "mqtt": {"url": broker.url},
            "frigate": {"url": url, "cameras": {"front": "door"}, **settings},
        }
    )
    running = FrigateCompanion(
        config.frigate,
        cameras=[camera],
        score=lambda similarity: similarity,
        supervisor=supervisor,
        clock=time.monotonic,
        first_delay_s=first_delay_s,
    )
    client = MqttClient(config.mqtt, supervisor=supervisor, first_delay_s=0.05)
    client.subscribe(running.topic, running.receive)
    running.start()
    client.start()
    try:
        assert client.wait_connected(60)
        yield running
    finally:
        client.stop()
        running.stop()
        client.join(60)
        running.join(60)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path_factory.mktemp("broker") / "files") as running:
        yield running


@pytest.fixture
def frigate_broker(broker: Mosquitto) -> Iterator[Listener]:
    with listening(broker) as running:
        yield running


def say(listener: Listener, text: str | bytes, topic: str = "frigate/events") -> None:
    listener.client.publish(topic, text, 1).wait_for_publish(60)


def frigate(**settings: Any) -> FakeFrigate:
    program = FakeFrigate(**settings)
    program.config = FRONT
    return program


@pytest.mark.parametrize("login", [None, ("admin", "correct-horse")])
def test_an_event_gets_its_name_once(broker, frigate_broker: Listener, login) -> None:
    program, camera = frigate(login=login), OurCamera()
    settings = {"user": login[0], "password": login[1]} if login else {}
    with served(program) as url, companion(url, camera, broker, **settings) as running:
        camera.show("")
        say(frigate_broker, message())
        until(lambda: running.status().received == 1)
        assert program.labels == []
        camera.show("Ada", 0.93)
        until(lambda: program.labels)
        for _ in range(3):
            say(frigate_broker, message(kind="update"))
            camera.show("Ada", 0.95)
        until(lambda: running.status().received == 4)
        camera.show("Grace Hopper", 0.7)  # its track decided anew
        until(lambda: len(program.labels) == 2)
    event_id = "1607123955.475377-mxklsc"
    assert program.labels == [(event_id, "Ada", 0.93), (event_id, "Grace Hopper", 0.7)]
    posts = [each for each in program.asked if each.path.endswith("/sub_label")]
    assert posts[-1].content["camera"] == "front"
    status = running.status()
    assert (status.written, status.given_up, status.trouble) == (2, 0, "")
    assert sum(each.path == "/api/login" for each in program.asked) == (1 if login else 0)


def test_what_frigate_refuses_is_tried_again_or_given_up(broker, frigate_broker) -> None:
    program, camera = frigate(), OurCamera()
    with served(program) as url, companion(url, camera, broker) as running:
        program.refuse = [404, 500, 429]
        camera.show("Ada")
        say(frigate_broker, message("1.1-first"))
        until(lambda: program.labels)
        assert running.status().failures == 3
        program.refuse = [400]
        say(frigate_broker, message("1.1-first", "end", frame_time=time.time() - 5))
        say(frigate_broker, message("1.2-second"))
        camera.show("Ada", track="1-2")
        until(lambda: running.status().given_up == 1)
        assert "answers 400" in running.status().trouble
        program.refuse = [404] * 100
        say(frigate_broker, message("1.2-second", "end", frame_time=time.time() - 5))
        say(frigate_broker, message("1.3-third"))
        camera.show("Ada", track="1-3")
        until(lambda: running.status().given_up == 2)
    assert [label[0] for label in program.labels] == ["1.1-first"]
    assert running.status().waiting == 0


def test_a_frigate_that_comes_late_gets_the_newest_name(broker, frigate_broker) -> None:
    program, camera = frigate(), OurCamera()
    is_up = False

    def late(request: Request) -> Reply:
        if not is_up:
            raise ConnectionError("not up yet")
        return program(request)

    with served(late) as url, companion(url, camera, broker) as running:
        camera.show("Ada")
        say(frigate_broker, message())
        until(lambda: running.status().failures)
        assert "broke off" in running.status().trouble
        camera.show("Grace Hopper", 0.8)
        is_up = True
        until(lambda: program.labels)
    assert program.labels[-1][1] == "Grace Hopper"
    assert running.status().trouble == ""


def test_a_refused_login_is_shown_and_not_repeated_in_a_hurry(
    broker, frigate_broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    program, camera = frigate(login=("admin", "correct-horse")), OurCamera()
    settings = {"user": "admin", "password": "wrong-horse"}
    with served(program) as url, companion(url, camera, broker, **settings) as running:
        camera.show("Ada")
        say(frigate_broker, message())
        until(lambda: "refuses the login" in running.status().trouble)
    assert sum(each.path == "/api/login" for each in program.asked) == 1
    assert "wrong-horse" not in caplog.text


def test_after_a_refused_login_no_other_name_is_tried(broker, frigate_broker) -> None:
    program, camera = frigate(), OurCamera()
    is_locked = False

    def locked(request: Request) -> Reply:
        if is_locked:
            program.asked.append(request)
            return Reply(401, {"message": "Login failed"})
        return program(request)

    def is_waiting(n: int) -> bool:
        return running.status().waiting == n

    settings = {"user": "admin", "password": "correct-horse"}
    with served(locked) as url, companion(url, camera, broker, **settings) as running:
        camera.show("Ada")
        say(frigate_broker, message("1.0-name"))
        until(lambda: program.labels)
        is_locked = True
        for number in range(1, 4):
            say(frigate_broker, message(f"1.{number - 1}-name", "end", frame_time=time.time() - 5))
            say(frigate_broker, message(f"1.{number}-name"))
            camera.show("Ada", track=f"1-{number + 1}")
            until(partial(is_waiting, number))
        until(lambda: running.status().failures)
        assert sum(each.path == "/api/login" for each in program.asked) == 1
        assert "refuses the login" in running.status().trouble


def test_names_wait_for_a_frigate_that_is_away_for_long(broker, frigate_broker) -> None:
    program, camera = frigate(), OurCamera()
    is_up = True

    def away(request: Request) -> Reply:
        if not is_up:
            raise ConnectionError("not up")
        return program(request)

    with served(away) as url, companion(url, camera, broker, first_delay_s=1e-4) as running:
        camera.show("Ada")
        say(frigate_broker, message("1.0-first"))
        until(lambda: program.labels)
        is_up = False
        say(frigate_broker, message("1.0-first", "end", frame_time=time.time() - 5))
        say(frigate_broker, message("1.1-second"))
        camera.show("Ada", track="1-2")
        until(lambda: running.status().failures > MAX_TRIES)
        assert running.status().given_up == 0
        is_up = True
        until(lambda: len(program.labels) == 2)


def test_damaged_messages_and_unknown_cameras_harm_nobody(broker, frigate_broker) -> None:
    program, camera = frigate(), OurCamera()
    with served(program) as url, companion(url, camera, broker) as running:
        camera.show("Ada")
        for odd in (b"", b"{", b"\xff\xfe", b"[" * 10_000, message(box=[1, 2]).encode()):
            say(frigate_broker, odd)
        say(frigate_broker, message("1.1-elsewhere", camera="yard"))
        say(frigate_broker, message("1.2-car", label="car"))
        say(frigate_broker, message("1.3-here"))
        until(lambda: program.labels)
        status = running.status()
    assert status.damaged == 5
    assert [label[0] for label in program.labels] == ["1.3-here"]


def test_a_name_longer_than_frigate_takes_is_cut(broker, frigate_broker) -> None:
    program, camera = frigate(), OurCamera()
    with served(program) as url, companion(url, camera, broker) as running:
        camera.show("ä" * 200)
        say(frigate_broker, message())
        until(lambda: program.labels)
        assert running.status().given_up == 0
    assert program.labels[0][1] == "ä" * 100


def test_the_service_names_frigates_event_of_a_person_who_comes_in(
    tmp_path: Path, monkeypatch, broker: Mosquitto, frigate_broker: Listener, record_property
) -> None:
    """A film of an empty room, then of a person; Frigate's event begins with the person."""
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path))
    monkeypatch.setenv("FACEWIRE_MQTT_PASSWORD", "")
    recognizer = open_recognizer()
    people = tmp_path / "gallery"
    with Gallery.open(
        people, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as gallery:
        items = [photo_item(photos() / f"obama{n}.jpg", "Barack Obama") for n in ("", 2, 3)]
        assert len(enroll_images(recognizer, gallery, items).enrolled) == 3
    empty, film = still_film(tmp_path / "empty.mp4"), still_film(tmp_path / "p.mp4", "obama.jpg")
    program = frigate()

    async def scenario(url: str) -> tuple[Any, float]:
        config = Config.model_validate(
            {
                "gallery": {"directory": people},
                "cameras": [{"name": "door", "url": str(empty)}],
                "mqtt": {"url": broker.url},
                "frigate": {"url": url, "cameras": {"front": "door"}},
            }
        )
        async with Service.open(config) as service:
            await until_async(lambda: service.cameras.get("door").latest is not None)
            assert service.frigate is not None
            assert service.mqtt is not None
            await asyncio.to_thread(service.mqtt.wait_connected, 60)
            other = service.cameras.get("door").config.model_copy(update={"url": str(film)})
            await service.cameras.change("door", other)
            await until_async(lambda: _tracks(service))
            # Frigate has seen the person in the same frame, and says so again while they stay.
            first_seen = _tracks(service)[0].first_seen
            at = first_seen
            while not program.labels:
                frame_time = time.time() - (time.monotonic() - at)
                text = message(frame_time=frame_time, stationary=False)
                frigate_broker.client.publish("frigate/events", text, 1)
                with suppress(TimeoutError):
                    await asyncio.wait_for(until_async(lambda: program.labels), 5)
                at = max((track.last_seen for track in _tracks(service)), default=at)
            companion = service.frigate
            await until_async(lambda: companion.status().written == 1)  # its answer has come
            lines = [each.detail for each in service.integrations() if each.name == "Frigate"]
            assert lines[0].endswith("messages about people, 1 names written")
            assert service.problems() == []
            return program.labels, program.written_at[0] - first_seen

    with served(program) as url:
        [(event_id, name, score)], seconds = asyncio.run(scenario(url))
    assert (event_id, name) == ("1607123955.475377-mxklsc", "Barack Obama")
    assert 0.5 < score <= 1
    record_property("seconds_from_first_frame_to_sub_label", seconds)


def _tracks(service: Service) -> tuple[Track, ...]:
    result = service.cameras.get("door").latest
    return result.tracks if result else ()
