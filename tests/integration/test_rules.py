"""Rules with real receivers: HTTP, Apprise, a Web Push service; failures, restarts, secrets."""

import base64
import json
import logging
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import cv2
import numpy as np
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gallery import Identity, Match
from stream.config import MqttConfig, NotifyConfig, RuleConfig
from stream.config.rules import AppriseAction, PushAction
from stream.errors import (
    ConfigError,
    EventLogError,
    RuleStoreError,
    TooManyDevicesError,
    UnknownRuleError,
)
from stream.events.log import EventLog, LoggedEvent
from stream.events.schema import FILE_NAME
from stream.frames import Event, EventKind
from stream.integrations.mqtt.client import MqttClient
from stream.integrations.push.devices import MAX_OF_VIEWERS, Device, Devices
from stream.integrations.push.encryption import from_text, new_key, point_of, to_text
from stream.integrations.rules.engine import Action, Rules
from stream.integrations.rules.senders import MAX_TRIES_OF_REST, AppriseSender, Sender
from stream.supervisor import Supervisor
from tests.integration.test_webhooks import Receiver, receiving, until
from tests.mosquitto import listening, mosquitto
from tests.ports import HeldPort

pytestmark = pytest.mark.integration

NOW_S = 1_795_000_000.0
CROP = np.random.default_rng(1).integers(0, 255, (112, 112, 3), np.uint8)


class Clock:
    """Seconds since 1970 that a test sets."""

    def __init__(self) -> None:
        self.now = NOW_S

    def __call__(self) -> float:
        return self.now


class Site:
    """An event log with rules that follow it."""

    def __init__(self, log: EventLog, rules: Rules, clock: Clock) -> None:
        self.log, self.rules, self.clock = log, rules, clock

    def see(
        self,
        name: str | None = "Ada",
        *,
        camera: str = "door",
        kind: EventKind | None = None,
        zones: tuple[str, ...] = (),
    ) -> LoggedEvent:
        """Log an event and offer it, as the journal does."""
        event = self.write(name, camera=camera, kind=kind, zones=zones)
        self.rules.offer(event)
        return event

    def write(
        self,
        name: str | None = "Ada",
        *,
        camera: str = "door",
        kind: EventKind | None = None,
        zones: tuple[str, ...] = (),
    ) -> LoggedEvent:
        kind = kind or (EventKind.UNKNOWN if name is None else EventKind.ENTER)
        is_camera = kind in (EventKind.CAMERA_DOWN, EventKind.CAMERA_UP)
        match = None if name is None or is_camera else Match(Identity(name.lower(), name), 0.7)
        track, crop = (None, None) if is_camera else ("run-1", CROP)
        event = Event(kind, camera, 1.0, track, match, 1.0, crop, zones=zones)
        return self.log.append(event, self.clock.now)

    @property
    def delivered(self) -> list[int]:
        return [each.delivered for rule in self.rules.statuses() for each in rule.deliveries]

    @property
    def fired(self) -> list[int]:
        return [rule.state.fired for rule in self.rules.statuses()]


@contextmanager
def site(
    directory: Path,
    *rules: dict[str, object],
    notify: dict[str, object] | None = None,
    tokens: dict[str, str | None] | None = None,
    clock: Clock | None = None,
    broker: MqttClient | None = None,
) -> Iterator[Site]:
    clock = clock or Clock()
    with EventLog.open(directory) as log:
        opened = Rules(
            directory,
            [RuleConfig.model_validate(rule) for rule in rules],
            NotifyConfig.model_validate(notify or {}),
            zone=ZoneInfo("Europe/Berlin"),
            devices=Devices(directory, tokens=tokens or {"admin": None}, wall_clock=clock),
            broker=broker,
            supervisor=Supervisor(clock=time.monotonic, first_delay_s=0.01),
            wall_clock=clock,
            first_delay_s=0.01,
        )
        try:
            yield Site(log, opened, clock)
        finally:
            opened.stop()
            opened.join(lambda: 10.0)


def posting(url: str, **settings: object) -> dict[str, object]:
    return {"type": "webhook", "url": url, **settings}


def aimed(service: str) -> dict[str, object]:
    return {"type": "apprise", "service": service}


def rule(*then: dict[str, object], name: str = "Anybody", **settings: object) -> dict[str, object]:
    return {"name": name, "cooldown_s": 0, "then": list(then), **settings}


def test_a_webhook_is_filled_from_the_event(tmp_path: Path) -> None:
    with receiving() as receiver:
        action = posting(
            receiver.url + "&who={name}",
            headers={"Title": "{name} at {camera}", "Authorization": "Bearer tk_secret"},
            body='{"message": "{text}", "n": {event_id}, "picture": "{crop_url}"}',
        )
        with site(tmp_path, rule(action), notify={"page_url": "https://faces.example"}) as here:
            event = here.see('Zoë "the" & co')
            until(lambda: receiver.came)
            until(lambda: here.delivered == [1])
    ((headers, body),) = receiver.came
    assert receiver.paths == ["/hook?key=k1&who=Zo%C3%AB%20%22the%22%20%26%20co"]
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer tk_secret"
    encoded = headers["Title"].removeprefix("=?UTF-8?B?").removesuffix("?=")
    assert base64.b64decode(encoded).decode() == 'Zoë "the" & co at door'
    assert json.loads(body) == {
        "message": 'Zoë "the" & co is at door',
        "n": event.id,
        "picture": f"https://faces.example/api/events/{event.id}/crop.jpg",
    }


def test_without_a_template_the_event_is_sent_as_json_and_a_picture_as_it_is(
    tmp_path: Path,
) -> None:
    with receiving() as events, receiving() as pictures, receiving() as texts:
        actions = (
            posting(events.url),
            posting(pictures.url, format="crop"),
            posting(texts.url, format="text", body="{name}\n{time}"),
        )
        with site(tmp_path, rule(*actions)) as here:
            event = here.see()
            until(lambda: here.delivered == [1, 1, 1])
    document = json.loads(events.came[0][1])
    assert document["event"]["name"] == "Ada"
    assert document["rule"] == "Anybody"
    assert document["crop_url"] == f"api/events/{event.id}/crop.jpg"
    assert pictures.came[0][0]["Content-Type"] == "image/jpeg"
    picture = cv2.imdecode(np.frombuffer(pictures.came[0][1], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (112, 112, 3)
    local = texts.came[0][1].decode().splitlines()
    assert local == ["Ada", "12:06"]


def test_whoever_enters_a_zone_is_notified_once_a_stay(tmp_path: Path) -> None:
    clock = Clock()
    with receiving() as receiver:
        action = posting(receiver.url, body="{text}|{zone}", format="text")
        porch = rule(action, name="Porch", who=["Ada"], zones=["porch"], cooldown_s=60)
        with site(tmp_path, porch, clock=clock) as here:

            def walk(*steps: tuple[str, ...]) -> None:
                here.see(zones=steps[0])
                for zones in steps[1:]:
                    clock.now += 20
                    here.see(kind=EventKind.ZONE, zones=zones)

            street, then_porch = ("street",), ("street", "porch")
            walk(street, then_porch, (*then_porch, "path"))
            assert here.fired == [1]
            clock.now += 10
            walk(("porch",))
            assert (here.fired, here.rules.statuses()[0].in_cooldown) == ([1], 1)
            clock.now += 61
            walk(("porch",), ("porch", "street"))
            here.see("Bob", kind=EventKind.ZONE, zones=then_porch)
            assert here.fired == [2]
            until(lambda: here.delivered == [2])
            (result,) = here.rules.test(here.rules.statuses()[0].rule_id)
            assert result.trouble == ""
    assert [body.decode() for _, body in receiver.came] == [
        "Ada entered porch at door|porch",
        "Ada is at door (porch)|porch",
        "Ada is at door (porch)|porch",
    ]


def test_rules_choose_and_limits_hold_also_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with receiving() as receiver:
        rules = (
            rule(posting(receiver.url), name="Not William", who=["!William"], cooldown_s=60),
            rule(posting(receiver.url), name="Strangers", who=["unknown"], max_per_hour=2),
            rule(posting(receiver.url), name="Yard", cameras=["yard"], kinds=["camera_down"]),
        )
        with site(tmp_path, *rules, clock=clock) as here:
            here.see("William")
            here.see("Ada")
            here.see("Ada")
            for _ in range(3):
                here.see(None)
                clock.now += 61
            here.see(kind=EventKind.CAMERA_DOWN, camera="door")
            here.see(kind=EventKind.CAMERA_DOWN, camera="yard")
            assert here.fired == [4, 2, 1]
            before = here.rules.statuses()
            assert [each.in_cooldown for each in before] == [1, 0, 0]
            assert [each.over_limit for each in before] == [0, 1, 0]
            here.see("Ada")
            until(lambda: sum(here.delivered) == 8)
        with site(tmp_path, *rules, clock=clock) as here:
            here.see("Ada")
            here.see(None)
            assert here.fired == [6, 2, 1], "Ada is in her cooldown, strangers are over the limit"
            clock.now += 3600
            here.see("Ada")
            here.see(None)
            assert here.fired == [8, 3, 1]


def test_what_is_pending_at_a_stop_goes_out_after_the_next_start(tmp_path: Path) -> None:
    with HeldPort() as held:
        rules = rule(posting(f"http://127.0.0.1:{held.port}/"))
        with site(tmp_path, rules) as here:
            ids = [here.see(name).id for name in ("Ada", "Bob")]
            until(lambda: here.rules.statuses()[0].deliveries[0].failures)
            assert "refused" in here.rules.problems(zones=())[0]
            (line,) = here.rules.problems(zones=(), is_admin=False)
            assert line == "rule 'Anybody': webhook fails"
            # Logged when the process was killed, before rules were asked.
            ids.append(here.write("Cleo").id)
        with receiving(500, port=held.port) as receiver, site(tmp_path, rules) as here:
            until(lambda: here.delivered == [3])
            assert here.fired == [3]
            assert here.rules.problems(zones=()) == []
            here.log.erase_identity("ada")
        with receiving(port=held.port) as later, site(tmp_path, rules) as here:
            here.see("Dan")
            until(lambda: here.delivered == [1])
    sent = [json.loads(body)["event"] for _, body in receiver.came]
    assert [each["id"] for each in sent] == [ids[0], *ids]
    assert [json.loads(body)["event"]["name"] for _, body in later.came] == ["Dan"]


KILLED = """
import sys
from pathlib import Path
from tests.integration.test_rules import posting, rule, site

with site(Path(sys.argv[1]), rule(posting(sys.argv[2]))) as here:
    for name in ("Ada", "Bob"):
        print(here.see(name).id, flush=True)
    sys.stdin.read()
"""


def test_what_is_pending_when_the_process_is_killed_goes_out_too(tmp_path: Path) -> None:
    with HeldPort() as held:
        url = f"http://127.0.0.1:{held.port}/"
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, tmp_path, url],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        ids = [int(process.stdout.readline()) for _ in range(2)]
        process.kill()
        process.communicate()
        with receiving(port=held.port) as receiver, site(tmp_path, rule(posting(url))) as here:
            until(lambda: here.delivered == [2])
            assert here.fired == [2]
    assert [json.loads(body)["event"]["id"] for _, body in receiver.came] == ids


def test_a_dead_receiver_holds_up_no_other_and_is_given_up_when_it_refuses(tmp_path: Path) -> None:
    with receiving(404, 200) as refusing, HeldPort() as held, receiving() as receiver:
        dead = f"http://127.0.0.1:{held.port}/"
        actions = (posting(refusing.url), posting(dead), posting(receiver.url))
        with site(tmp_path, rule(*actions)) as here:
            here.see()
            here.see("Bob")
            until(lambda: here.delivered == [1, 0, 2])
            refused, waiting, accepted = here.rules.statuses()[0].deliveries
            assert (refused.dead, waiting.waiting, accepted.failures) == (1, 2, 0)
            with receiving(port=held.port) as alive:
                until(lambda: here.delivered == [1, 2, 2])
    assert [json.loads(body)["event"]["name"] for _, body in alive.came] == ["Ada", "Bob"]


def test_rules_are_made_changed_paused_and_removed(tmp_path: Path) -> None:
    clock = Clock()
    with receiving() as receiver, receiving() as other:
        configured = rule(posting(receiver.url), name="Configured")
        with site(tmp_path, configured, clock=clock) as here:
            made = here.rules.add(RuleConfig.model_validate(rule(posting(other.url), name="Made")))
            with pytest.raises(ConfigError, match="a rule named 'Made' already"):
                here.rules.add(RuleConfig.model_validate(rule(posting(other.url), name="Made")))
            with pytest.raises(ConfigError, match=r"the service 'x': add it to \[notify"):
                here.rules.add(
                    RuleConfig.model_validate(rule({"type": "apprise", "service": "x"}, name="a"))
                )
            with pytest.raises(ConfigError, match="the group 'family'"):
                here.rules.add(
                    RuleConfig.model_validate(rule({"type": "push"}, name="a", who=["!@family"]))
                )
            here.see()
            here.rules.pause(made, 3600)
            here.see()
            assert here.fired == [2, 1]
        (path,) = tmp_path.glob("rules.json")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with site(tmp_path, configured, clock=clock) as here:
            here.see()
            assert here.rules.status(made).is_paused
            clock.now += 3601
            assert not here.rules.status(made).is_paused
            here.see()
            here.rules.pause(made, float("inf"))
            clock.now += 1e9
            here.see()
            here.rules.pause(made, None)
            here.see()
            assert here.fired == [6, 3]
            first = here.rules.statuses()[0].rule_id
            here.rules.change(
                first,
                RuleConfig.model_validate(rule(posting(receiver.url), name="Changed", who=[])),
            )
            here.rules.remove(made)
            until(lambda: here.rules.waiting() == 0)
            with pytest.raises(UnknownRuleError):
                here.rules.remove(made)
        with site(tmp_path, configured, clock=clock) as here:
            (kept,) = here.rules.statuses()
            assert (kept.config.name, kept.is_configured, kept.state.fired) == ("Changed", True, 6)
            here.rules.remove(kept.rule_id)
        edited = rule(posting(receiver.url), name="Configured", hours="08:00-09:00")
        with site(tmp_path, edited, clock=clock) as here:
            assert [each.config.hours for each in here.rules.statuses()] == ["08:00-09:00"], (
                "the configuration was edited last"
            )
    path.write_text("[{]")
    with pytest.raises(RuleStoreError, match="damaged"), site(tmp_path):
        pass


def test_rules_of_an_edited_configuration_are_taken_in(tmp_path: Path) -> None:
    def take_in(here: Site, *rules: dict[str, object]) -> list[str]:
        here.rules.reconfigure([RuleConfig.model_validate(each) for each in rules])
        return [each.config.name for each in here.rules.statuses()]

    with receiving() as receiver, HeldPort() as held:
        away = posting(f"http://127.0.0.1:{held.port}/")
        kept = rule(posting(receiver.url), away, name="Kept")
        gone = rule(posting(receiver.url), name="Gone", who=["!Bob"])
        new = rule(posting(receiver.url), name="New", who=["Bob"])
        with site(tmp_path, kept, gone) as here:
            here.see("Ada")
            until(lambda: here.delivered == [1, 0, 1])
            here.rules.add(RuleConfig.model_validate(rule(away, name="Made", who=["Cleo"])))
            assert take_in(here, kept, new) == ["Kept", "New", "Made"]
            here.see("Bob")
            until(lambda: here.delivered == [2, 0, 1, 0])
            with receiving(port=held.port) as back:
                until(lambda: here.delivered == [2, 2, 1, 0])
            assert [json.loads(body)["event"]["name"] for _, body in back.came] == ["Ada", "Bob"]
            with pytest.raises(ConfigError, match=r"the group 'x'.*restart"):
                take_in(here, rule(away, name="Odd", who=["@x"]))
            assert [each.config.name for each in here.rules.statuses()] == ["Kept", "New", "Made"]
            edited = {**kept, "who": ["Dan"]}
            assert take_in(here, edited) == ["Kept", "Made"]
            here.see("Ada")
            here.see("Dan")
            until(lambda: here.delivered[0] == 3)
            assert here.fired == [3, 0]
        with site(tmp_path, edited) as here:
            assert here.fired == [3, 0]
            assert take_in(here) == ["Made"]


@contextmanager
def busy(directory: Path) -> Iterator[None]:
    """Another program writes the event log meanwhile."""
    with closing(sqlite3.connect(directory / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_rules_are_taken_in_whole_or_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.events.webhook_queue.OPEN_TIMEOUT_S", 0.1)
    with receiving() as receiver:
        kept = rule(posting(receiver.url), name="Kept")
        gone = rule(posting(receiver.url), name="Gone")
        new = rule(posting(receiver.url), {"type": "push"}, name="New")

        def state() -> tuple[list[str], list[int], int, set[str]]:
            threads = {each.name for each in threading.enumerate() if "notify-" in each.name}
            with closing(sqlite3.connect(tmp_path / FILE_NAME)) as log:
                ((n_hooks,),) = log.execute("SELECT count(*) FROM webhooks")
            names = [each.config.name for each in here.rules.statuses()]
            return names, here.fired, n_hooks, threads

        with site(tmp_path, kept, gone) as here:
            here.see()
            until(lambda: here.delivered == [1, 1])
            before = state()
            wanted = [RuleConfig.model_validate(each) for each in (kept, new)]
            made = RuleConfig.model_validate(rule({"type": "push"}, name="Made"))
            first, second = (each.rule_id for each in here.rules.statuses())
            with busy(tmp_path):
                for attempt in (
                    lambda: here.rules.reconfigure(wanted[:1]),
                    lambda: here.rules.reconfigure(wanted),
                    lambda: here.rules.add(made),
                    lambda: here.rules.change(first, wanted[1]),
                    lambda: here.rules.remove(second),
                ):
                    with pytest.raises(EventLogError):
                        attempt()
                    assert state() == before
            assert not (tmp_path / "rules.json").exists()
            # Busy from the second of two deliveries on.
            sender, held = here.rules._sender, ExitStack()

            def late(action: Action) -> Sender:
                if isinstance(action, PushAction):
                    held.enter_context(busy(tmp_path))
                return sender(action)

            with monkeypatch.context() as patched, held:
                patched.setattr(here.rules, "_sender", late)
                with pytest.raises(EventLogError):
                    here.rules.reconfigure(wanted)
            names, fired, _, threads = state()
            assert (names, fired, threads) == (before[0], before[1], before[3])
            here.see()
            until(lambda: here.delivered == [2, 2])
            here.rules.reconfigure(wanted)
            assert [each.config.name for each in here.rules.statuses()] == ["Kept", "New"]
            here.see()
            until(lambda: here.delivered[:2] == [3, 1])


def test_the_state_is_read_while_a_change_waits_for_the_database(tmp_path: Path) -> None:
    held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with here.rules._lock:
            held.set()
            may_end.wait(60)

    with site(tmp_path, rule({"type": "push"})) as here:
        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(60)
        (status,) = here.rules.statuses()
        assert here.rules.status(status.rule_id).config.name == "Anybody"
        with pytest.raises(UnknownRuleError):
            here.rules.status("other")
        assert (here.rules.problems(zones=()), here.rules.waiting()) == ([], 0)
        assert holder.is_alive(), "none of them waited"
        may_end.set()
        holder.join()


def test_a_test_sends_the_newest_event_or_an_example_and_says_what_is_wrong(
    tmp_path: Path,
) -> None:
    with receiving(401) as refusing, receiving() as receiver, HeldPort() as held:
        actions: tuple[dict[str, object], ...] = (
            posting(refusing.url),
            posting(receiver.url),
            posting(f"http://127.0.0.1:{held.port}/"),
            {"type": "push"},
            {"type": "mqtt", "topic": "faces/{camera}"},
        )
        with site(tmp_path, rule(*actions, who=["!William"])) as here:
            (status,) = here.rules.statuses()
            here.rules.pause(status.rule_id, 3600)
            tested = here.rules.test(status.rule_id)
            here.write("Ada")
            here.write("William")
            here.rules.test(status.rule_id)
            assert here.fired == [0]
    troubles = [each.trouble for each in tested]
    assert "refuses the sign-in (status 401): check the token" in troubles[0]
    assert troubles[1] == ""
    assert "refused" in troubles[2]
    assert "no device is subscribed" in troubles[3]
    assert "[mqtt]" in troubles[4]
    assert not any("key=k1" in each.label + each.trouble for each in tested)
    names = [json.loads(body)["event"]["name"] for _, body in receiver.came]
    assert names == ["Ada Lovelace", "Ada"]


APPRISE = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def test_a_message_is_published_when_the_broker_is_there(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with mosquitto(tmp_path / "broker") as broker:
        client = MqttClient(
            MqttConfig.model_validate({"url": broker.url}),
            supervisor=Supervisor(clock=time.monotonic, first_delay_s=0.01),
            first_delay_s=0.05,
        )
        client.start()
        action: dict[str, object] = {
            "type": "mqtt",
            "topic": "home/{camera}/{name}",
            "payload": '{"say": "{text}"}',
        }
        with (
            listening(broker) as listener,
            site(tmp_path / "data", rule(action), broker=client) as here,
        ):
            here.see('#/+ "x"')
            until(lambda: here.delivered == [1])
            until(lambda: listener.payloads('home/door/___ "x"'))
            (payload,) = listener.payloads('home/door/___ "x"')
            assert json.loads(payload) == {"say": '#/+ "x" is at door'}
            broker.kill()
            here.see("Ada")
            until(lambda: here.rules.problems(zones=()))
            assert "the broker" in here.rules.problems(zones=())[0]
            broker.start()
            until(lambda: here.delivered == [2])
        client.stop()
        client.join(30)


@APPRISE
def test_apprise_gets_the_message_with_the_face_attached(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("apprise")
    with receiving(500) as receiver, caplog.at_level(logging.DEBUG):
        address = receiver.url.removeprefix("http://").partition("/")[0]
        services = {"phone": f"json://user:hunter2@{address}/secret-path"}
        action = aimed("phone")
        with site(tmp_path, rule(action), notify={"services": services}) as here:
            here.see("Zoë")
            until(lambda: here.delivered == [1])
            status = here.rules.statuses()[0].deliveries[0]
            assert (status.failures, status.label) == (1, "Anybody: Apprise service phone")
    (_, body) = receiver.came[-1]
    document = json.loads(body)
    assert (document["title"], document["message"]) == ("Zoë at door", "Zoë is at door")
    (attached,) = document["attachments"]
    assert attached["mimetype"] == "image/jpeg"
    face = cv2.imdecode(np.frombuffer(base64.b64decode(attached["base64"]), np.uint8), 1)
    assert face.shape == (112, 112, 3)
    assert receiver.paths[-1].startswith("/secret-path")
    assert "status 500" in caplog.text
    assert "hunter2" not in caplog.text
    assert "secret-path" not in caplog.text


@APPRISE
def test_apprise_that_is_unknown_or_slow_is_said_in_plain_words(tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    services = {"odd": "nonsense://hunter2"}
    action = aimed("odd")
    with site(tmp_path, rule(action), notify={"services": services}) as here:
        (tested,) = here.rules.test(here.rules.statuses()[0].rule_id)
        message = here.rules._message(here.write(), "r", None)
    assert tested.trouble == "has an address that Apprise does not know: check it"
    with receiving() as receiver:
        receiver.may_answer.clear()
        address = receiver.url.removeprefix("http://").partition("/")[0]
        slow = AppriseSender(
            AppriseAction(type="apprise", service="slow"),
            f"json://{address}/",
            supervisor=Supervisor(clock=time.monotonic),
            deadline_s=0.2,
        )
        assert slow.send(message) == ("does not answer in time", False)
        assert slow.send(message) == ("is still busy with an earlier message", False)
        receiver.may_answer.set()
        slow.close()


class Phone:
    """A browser's side of Web Push: subscribes, checks the token, decrypts."""

    def __init__(self, receiver: Receiver, *, now_s: float = NOW_S) -> None:
        self.receiver, self.now_s = receiver, now_s
        self.key, self.auth = new_key(), bytes(range(16))

    def subscribe(self, devices: Devices, *, role: str = "admin", path: str = "p") -> Device:
        endpoint = self.receiver.url.replace("/hook?key=k1", f"/{path}")
        self.public_key = devices.public_key
        return devices.add(
            name="Phone",
            endpoint=endpoint,
            p256dh=to_text(point_of(self.key)),
            auth=to_text(self.auth),
            role=role,
        )

    def read(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """Return a message as its service worker gets it; RFC 8292, RFC 8188 and RFC 8291."""
        assert headers["Content-Encoding"] == "aes128gcm"
        assert int(headers["TTL"]) > 0
        scheme, _, fields = headers["Authorization"].partition(" ")
        token, key = (each.partition("=")[2] for each in fields.split(","))
        assert (scheme, key) == ("vapid", self.public_key)
        signed, _, signature = token.rpartition(".")
        claims = json.loads(from_text(signed.partition(".")[2]))
        assert self.receiver.url.startswith(claims["aud"])
        assert self.now_s < claims["exp"] <= self.now_s + 86400
        r, s = (int.from_bytes(from_text(signature)[half], "big") for half in HALVES)
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_text(key))
        public.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256()))
        salt, (_, length) = body[:16], struct.unpack(">IB", body[16:21])
        sender, sealed = body[21 : 21 + length], body[21 + length :]
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender)
        shared = self.key.exchange(ec.ECDH(), point)
        about = b"WebPush: info\0" + point_of(self.key) + sender
        secret = HKDF(hashes.SHA256(), 32, self.auth, about).derive(shared)
        cek = HKDF(hashes.SHA256(), 16, salt, b"Content-Encoding: aes128gcm\0").derive(secret)
        nonce = HKDF(hashes.SHA256(), 12, salt, b"Content-Encoding: nonce\0").derive(secret)
        opened = AESGCM(cek).decrypt(nonce, sealed, None)
        assert opened.endswith(b"\x02")
        return json.loads(opened[:-1])


HALVES = (slice(0, 32), slice(32, 64))


def test_a_phone_gets_an_encrypted_message_with_the_face(tmp_path: Path) -> None:
    with receiving(201) as receiver, site(tmp_path, rule({"type": "push"})) as here:
        phone = Phone(receiver)
        phone.subscribe(here.rules.devices)
        event = here.see("Zoë")
        until(lambda: here.delivered == [1])
        message = phone.read(*receiver.came[0])
        other = Phone(receiver)
        other.public_key = to_text(point_of(new_key()))
        with pytest.raises((AssertionError, InvalidSignature)):
            other.read(*receiver.came[0])
    assert (message["title"], message["body"]) == ("Zoë at door", "Zoë is at door")
    assert message["url"] == f"#/events?event={event.id}"
    kind, _, icon = message["icon"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert cv2.imdecode(np.frombuffer(base64.b64decode(icon), np.uint8), 1).shape == (72, 72, 3)
    (path,) = tmp_path.glob("push.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_has_ended_is_removed(tmp_path: Path, status: int) -> None:
    with (
        receiving(status) as gone,
        receiving(201, 201) as receiver,
        site(tmp_path, rule({"type": "push"})) as here,
    ):
        Phone(gone).subscribe(here.rules.devices)
        Phone(receiver).subscribe(here.rules.devices)
        here.see()
        here.see("Bob")
        until(lambda: here.delivered == [2])
        assert len(here.rules.devices.all()) == 1
    assert (len(gone.came), len(receiver.came)) == (1, 2)


def test_a_device_that_has_the_message_does_not_get_it_again(tmp_path: Path) -> None:
    with (
        receiving(503, 429) as busy,
        receiving() as receiver,
        site(tmp_path, rule({"type": "push"})) as here,
    ):
        Phone(receiver).subscribe(here.rules.devices)
        Phone(busy).subscribe(here.rules.devices)
        here.see()
        until(lambda: here.delivered == [1])
    assert (len(busy.came), len(receiver.came)) == (3, 1)


def test_a_device_that_fails_delays_no_other(tmp_path: Path) -> None:
    with (
        receiving(*[503] * 99) as bad,
        receiving() as receiver,
        site(tmp_path, rule({"type": "push"})) as here,
    ):
        Phone(bad).subscribe(here.rules.devices)
        Phone(receiver).subscribe(here.rules.devices)
        for name in ("Ada", "Bob", "Cleo", "Dan"):
            here.see(name)
        until(lambda: here.rules.waiting() == 0)
        assert "status 503" in here.rules.problems(zones=())[0]
        assert len(receiver.came) == 4
        assert len(bad.came) == 1 + MAX_TRIES_OF_REST + 3, "of later events it has one try"
        bad.statuses.clear()
        here.see("Eve")
        until(lambda: here.delivered == [1])
        assert len(bad.came) == 1 + MAX_TRIES_OF_REST + 4
        assert here.rules.problems(zones=()) == []


def test_while_no_device_is_reached_an_event_is_kept(tmp_path: Path) -> None:
    with (
        receiving(*[503] * 7) as one,
        receiving(*[503] * 7) as other,
        site(tmp_path, rule({"type": "push"})) as here,
    ):
        Phone(one).subscribe(here.rules.devices)
        Phone(other).subscribe(here.rules.devices)
        here.see()
        here.see("Bob")
        until(lambda: here.delivered == [2])
    assert (len(one.came), len(other.came)) == (9, 9)


def test_half_of_the_devices_stay_for_administrators(tmp_path: Path) -> None:
    with receiving() as receiver, site(tmp_path) as here:
        phone, devices = Phone(receiver), here.rules.devices
        for number in range(MAX_OF_VIEWERS):
            phone.subscribe(devices, role="viewer", path=f"v{number}")
        phone.subscribe(devices, role="viewer", path="v0")
        with pytest.raises(TooManyDevicesError, match="of viewers"):
            phone.subscribe(devices, role="viewer", path="more")
        phone.subscribe(devices, role="admin", path="a")
        assert len(devices.all()) == MAX_OF_VIEWERS + 1


def test_a_subscription_ends_with_the_token_of_who_made_it(tmp_path: Path) -> None:
    tokens: dict[str, str | None] = {"admin": "a" * 16, "viewer": "v" * 16}
    with receiving() as receiver:
        with site(tmp_path, tokens=tokens) as here:
            Phone(receiver).subscribe(here.rules.devices, path="admin")
            Phone(receiver).subscribe(here.rules.devices, role="viewer", path="viewer")
        with site(tmp_path, tokens={**tokens, "viewer": "w" * 16}) as here:
            assert [each.role for each in here.rules.devices.all()] == ["admin"]
        with site(tmp_path, tokens={"admin": None}) as here:
            assert here.rules.devices.all() == []
