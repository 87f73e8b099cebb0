"""Webhooks against a real HTTP server that fails, hangs, and comes back."""

import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gallery import Identity, Match
from stream.config import Config, WebhookConfig
from stream.events.log import EventLog, LoggedEvent
from stream.events.schema import FILE_NAME
from stream.events.webhook_queue import Outbox, forget_others, hook_keys
from stream.frames import Event, EventKind
from stream.integrations import webhooks
from stream.integrations.delivery import MAX_TRIES, MAX_WAITING
from stream.integrations.signing import legacy_signature, signature
from stream.integrations.webhooks import DEADLINE_S, Webhook
from stream.opening import open_webhooks
from stream.schemas.events import event_json
from stream.supervisor import Supervisor
from tests.ports import HeldPort
from tests.unit.stream.visitors.test_book import opened as visitors
from tests.unit.stream.visitors.test_book import see

pytestmark = pytest.mark.integration

WALL_S = 1_700_000_000.5
FACEWIRE = Path(sys.executable).with_name("facewire")


@dataclass
class Receiver:
    """What came, and with which status the next requests are answered; 200 after that."""

    statuses: list[int] = field(default_factory=list)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @property
    def ids(self) -> list[int]:
        return [json.loads(body)["event"]["id"] for _, body in self.came]


@contextmanager
def receiving(*statuses: int, port: int = 0, certificate: Path | None = None) -> Iterator[Receiver]:
    receiver = Receiver(list(statuses))
    receiver.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.paths.append(self.path)
            receiver.came.append((dict(self.headers), body))
            receiver.may_answer.wait(300)
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            self.send_response(status)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "https" if certificate else "http"
    receiver.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/hook?key=k1"
    try:
        yield receiver
    finally:
        receiver.may_answer.set()
        server.shutdown()
        server.server_close()


@contextmanager
def hooked(
    url: str,
    directory: Path | None = None,
    *,
    deadline_s: float = DEADLINE_S,
    wall_clock: Callable[[], float] = lambda: WALL_S,
    **settings: object,
) -> Iterator[Webhook]:
    config = WebhookConfig.model_validate({"url": url, **settings})
    with ExitStack() as stack:
        directory = directory or Path(stack.enter_context(TemporaryDirectory()))
        stack.enter_context(EventLog.open(directory))
        with closing(sqlite3.connect(directory / FILE_NAME)) as log, log:
            # Events that tests make up are not in it, and were not erased from it either.
            log.execute("DELETE FROM sqlite_sequence WHERE NOT EXISTS (SELECT * FROM events)")
        webhook = Webhook(
            config,
            number=2,
            outbox=Outbox(directory, hook_keys([url])[0]),
            supervisor=Supervisor(clock=time.monotonic, first_delay_s=0.01),
            wall_clock=wall_clock,
            first_delay_s=0.01,
            deadline_s=deadline_s,
        )
        try:
            yield webhook
        finally:
            webhook.stop()
            webhook.join(10)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def event(event_id: int, kind: EventKind = EventKind.ENTER) -> LoggedEvent:
    return LoggedEvent(
        id=event_id,
        kind=kind,
        camera="door",
        at="2026-11-24T10:00:00.000Z",
        track_id="run-3",
        name="Zoë",
        identity_id="z1",
        similarity=0.71,
        has_crop=True,
        previous_name=None,
        detail="",
    )


def test_an_event_is_posted_signed_and_as_the_api_gives_it() -> None:
    with receiving() as receiver, hooked(receiver.url, secret="s3cret") as webhook:
        webhook.offer(event(7))
        until(lambda: webhook.status().delivered == 1)
    ((headers, body),) = receiver.came
    assert json.loads(body)["event"]["name"] == "Zoë"
    assert headers["Facewire-Event"] == "enter"
    assert headers["webhook-id"] == "evt_7_20261124T100000000Z"
    assert headers["webhook-timestamp"] == "1700000000"
    signed = signature(b"s3cret", headers["webhook-id"], "1700000000", body)
    assert headers["webhook-signature"] == signed
    # Deprecated, for one version.
    assert headers["Facewire-Delivery"] == "7"
    assert headers["Facewire-Timestamp"] == "1700000000"
    assert headers["Facewire-Signature"] == legacy_signature("s3cret", "1700000000", body)


def test_a_stranger_who_returns_is_told_from_one_who_is_new(tmp_path: Path) -> None:
    with (
        receiving() as receiver,
        hooked(receiver.url, tmp_path) as webhook,
        visitors(tmp_path) as (log, _, _),
    ):
        for person, track in ((0, 1), (1, 2), (0, 3)):
            webhook.offer(see(log, person, track))
        until(lambda: webhook.status().delivered == 3)
    told = [json.loads(body)["event"] for _, body in receiver.came]
    assert [each["visit_count"] for each in told] == [1, 1, 2]
    assert [each["visitor"] for each in told] == ["Visitor 1", "Visitor 2", "Visitor 1"]
    assert told[0]["visitor_id"] == told[2]["visitor_id"] != told[1]["visitor_id"]


def test_what_fails_first_is_tried_again_in_order(caplog: pytest.LogCaptureFixture) -> None:
    with receiving(500, 503, 429) as receiver, hooked(receiver.url) as webhook:
        webhook.offer(event(1))
        webhook.offer(event(2))
        until(lambda: webhook.status().delivered == 2)
        status = webhook.status()
    assert receiver.ids == [1, 1, 1, 1, 2]
    deliveries = [headers["webhook-id"] for headers, _ in receiver.came]
    assert len(set(deliveries[:4])) == 1
    assert deliveries[4] != deliveries[0]
    assert (status.failures, status.dead, status.waiting, status.trouble) == (3, 0, 0, "")
    assert not {"Facewire-Signature", "webhook-signature"} & set(receiver.came[0][0])
    assert "key=k1" not in caplog.text


def test_a_receiver_that_comes_up_later_gets_what_it_missed() -> None:
    with HeldPort() as held, hooked(f"http://127.0.0.1:{held.port}/") as webhook:
        webhook.offer(event(1))
        until(lambda: webhook.status().failures)
        assert "refused" in webhook.status().trouble
        with receiving(port=held.port) as receiver:
            until(lambda: webhook.status().delivered == 1)
    assert receiver.ids == [1]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 302])
def test_a_refusal_is_a_dead_letter_at_once(status: int) -> None:
    with receiving(status) as receiver, hooked(receiver.url) as webhook:
        webhook.offer(event(1))
        webhook.offer(event(2))
        until(lambda: webhook.status().delivered == 1)
        assert webhook.status().dead == 1
    assert receiver.ids == [1, 2]


def test_tries_are_bounded() -> None:
    with receiving(*[500] * MAX_TRIES) as receiver, hooked(receiver.url) as webhook:
        webhook.offer(event(1))
        until(lambda: webhook.status().dead == 1)
        assert "status 500" in webhook.status().trouble
    assert receiver.ids == [1] * MAX_TRIES


@contextmanager
def answering(*parts: bytes, pause_s: float = 0.0) -> Iterator[str]:
    """A receiver that answers with these bytes, whatever comes, and then closes."""
    ended = threading.Event()

    def answer(taken: socket.socket) -> None:
        with taken, suppress(OSError):
            taken.recv(65536)
            for part in parts:
                taken.sendall(part)
                if ended.wait(pause_s):
                    return

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=listener.accept()[:1], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)


HANDSHAKE = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"
"""Begins a TLS record, and a ServerHello, of 16 KiB."""


@pytest.mark.parametrize(
    ("scheme", "head"),
    [
        ("http", b"HTTP/1.1 200 OK\r\n"),
        ("http", b"H"),
        ("http", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("https", HANDSHAKE),
    ],
)
def test_a_receiver_that_drips_is_let_go_at_the_deadline(scheme: str, head: bytes) -> None:
    # Each byte comes long before the deadline, all of them long after it.
    with (
        answering(head, *[b"X"] * 10_000, pause_s=0.01) as url,
        hooked(url.replace("http", scheme), deadline_s=0.3) as webhook,
    ):
        webhook.offer(event(1))
        until(lambda: webhook.status().dead == 1)
        assert webhook.status().trouble == "does not answer in time"


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (b"EVIL\x1b[31m <script>\r\n\r\n", "does not answer in HTTP"),
        (b"HTTP/1.1 EVIL EVIL\r\n\r\n", "does not answer in HTTP"),
        (b"HTTP/1.1 999 EVIL\r\n\r\n", "answers with status 999"),
        (b"EVIL" * 100_000, "does not answer in HTTP"),
        (b"HTTP/1.1 500 EVIL\r\nEVIL: " + b"EVIL" * 100_000, "does not answer in HTTP"),
        (b"HTTP/1.1 500 no\r\n" + b"EVIL: 1\r\n" * 20_000, "does not answer in HTTP"),
        (b"HTTP/1.1 500 no\r\nEVIL: 1\r\n", "cannot be reached: it broke off the connection"),
        (b"", "cannot be reached: it broke off the connection"),
        (b"\xff\xfe\x00EVIL\r\n\r\n", "does not answer in HTTP"),
    ],
)
def test_what_a_receiver_answers_is_never_shown(
    answer: bytes, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(answer) as url, hooked(url) as webhook:
        webhook.offer(event(1))
        until(lambda: webhook.status().dead == 1)
        assert webhook.status().trouble in (trouble, "cannot be reached: connection reset by peer")
    assert "EVIL" not in caplog.text


def test_an_answer_of_any_length_is_a_delivery() -> None:
    head = b"HTTP/1.1 204 fine\r\ncontent-length: 1000000000000\r\n\r\n"
    with answering(head, b"x" * 1_000_000) as url, hooked(url) as webhook:
        webhook.offer(event(1))
        until(lambda: webhook.status().delivered == 1)


def test_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "certificate.pem"
    made = ["-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made]
    subprocess.run([*command, "-keyout", path, "-out", path], check=True, capture_output=True)
    with receiving(certificate=path) as receiver:
        with hooked(receiver.url) as webhook:
            webhook.offer(event(1))
            until(lambda: webhook.status().failures)
            trouble = "has no valid certificate: self-signed certificate"
            assert webhook.status().trouble == trouble
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with hooked(receiver.url) as webhook:
            webhook.offer(event(2))
            until(lambda: webhook.status().delivered == 1)
    assert receiver.ids == [2]


def test_a_receiver_without_tls_is_named_so() -> None:
    with receiving() as receiver, hooked(receiver.url.replace("http", "https")) as webhook:
        webhook.offer(event(1))
        until(lambda: webhook.status().failures)
        assert webhook.status().trouble == "cannot be reached: no TLS there"
    assert receiver.came == []


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        with hooked(receiver.url) as webhook:
            webhook.offer(event(1))
            until(lambda: webhook.status().delivered == 1)
    assert (receiver.ids, proxy.came) == ([1], [])


def test_international_paths_are_sent_percent_encoded() -> None:
    with receiving() as receiver:
        url = receiver.url.replace("/hook?key=k1", "/größe/a b?wer=Zoë&x=%C3%A4")
        with hooked(url) as webhook:
            webhook.offer(event(1))
            until(lambda: webhook.status().delivered == 1)
    assert receiver.paths == ["/gr%C3%B6%C3%9Fe/a%20b?wer=Zo%C3%AB&x=%C3%A4"]


def test_an_event_that_nobody_can_send_does_not_hold_up_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = event_json

    def fail(event: LoggedEvent) -> object:
        if event.id == 1:
            raise KeyError
        return usual(event)

    monkeypatch.setattr(webhooks, "event_json", fail)
    with receiving() as receiver, hooked(receiver.url) as webhook:
        webhook.offer(event(1))
        webhook.offer(event(2))
        until(lambda: webhook.status().delivered == 1)
        assert webhook.status().dead == 1
    assert receiver.ids == [2]


def test_names_without_utf8_are_sent_as_far_as_they_have_it() -> None:
    with receiving() as receiver, hooked(receiver.url) as webhook:
        webhook.offer(replace(event(1), name="Zo\ud800"))
        until(lambda: webhook.status().delivered == 1)
    assert json.loads(receiver.came[0][1])["event"]["name"] == "Zo?"


def test_only_asked_kinds_are_sent() -> None:
    with (
        receiving() as receiver,
        hooked(receiver.url, events=["exit", "camera_down"]) as webhook,
    ):
        for number, kind in enumerate(EventKind):
            webhook.offer(event(number, kind))
        until(lambda: webhook.status().delivered == 2)
    assert [headers["Facewire-Event"] for headers, _ in receiver.came] == ["exit", "camera_down"]


def test_a_receiver_that_hangs_blocks_nobody_and_the_queue_is_bounded() -> None:
    with receiving() as receiver, hooked(receiver.url) as webhook:
        receiver.may_answer.clear()
        webhook.offer(event(0))
        until(lambda: receiver.came)
        for number in range(1, MAX_WAITING + 10):
            webhook.offer(event(number))
        status = webhook.status()
        assert (status.waiting, status.dead) == (MAX_WAITING, 10)
        receiver.may_answer.set()


def test_user_and_password_of_the_url_are_sent_and_never_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with receiving(500) as receiver:
        url = receiver.url.replace("http://", "http://bob:hunter%402@")
        with hooked(url) as webhook:
            webhook.offer(event(1))
            until(lambda: webhook.status().delivered == 1)
            assert webhook.status().label.startswith("2 at http://127.0.0.1:")
    assert receiver.came[0][0]["Authorization"] == "Basic Ym9iOmh1bnRlckAy"
    assert "hunter" not in caplog.text


def happened(directory: Path, n: int) -> list[LoggedEvent]:
    with EventLog.open(directory) as log:
        return [
            log.append(Event(EventKind.CAMERA_UP, "door", 1.0, None, None, 1.0, None), WALL_S)
            for _ in range(n)
        ]


def test_what_waits_at_a_stop_goes_out_at_the_next_start(tmp_path: Path) -> None:
    before = happened(tmp_path, 2)  # the webhook is newer
    with receiving(400, *[500] * 100) as receiver:
        with hooked(receiver.url, tmp_path) as webhook:
            for event_ in happened(tmp_path, 3):
                webhook.offer(event_)
            until(lambda: webhook.status().failures > 1)
            assert (webhook.status().dead, webhook.status().waiting) == (1, 2)
        happened(tmp_path, 1)  # kept, and killed before it was offered
        receiver.statuses.clear()
        n_came = len(receiver.came)
        with hooked(receiver.url, tmp_path) as webhook:
            until(lambda: webhook.status().delivered == 3)
            assert (webhook.status().dead, webhook.status().waiting) == (1, 0)
    first = before[-1].id + 2
    assert receiver.ids[n_came:] == [first, first + 1, first + 2]
    numbers = [headers["Facewire-Delivery"] for headers, _ in receiver.came[n_came:]]
    assert numbers == [str(number) for number in receiver.ids[n_came:]]
    with receiving() as other, hooked(other.url, tmp_path) as webhook:
        assert (webhook.status().waiting, webhook.status().dead) == (0, 0)


def test_whoever_is_erased_or_renamed_while_their_events_wait_is_so_in_what_is_delivered(
    tmp_path: Path,
) -> None:
    ann, bob = Identity("a", "Ann"), Identity("b", "Bob")
    with receiving(503) as receiver, hooked(receiver.url, tmp_path) as webhook:
        receiver.may_answer.clear()
        with EventLog.open(tmp_path) as log:
            for identity in (bob, ann, bob):
                match = Match(identity, 0.7)
                seen = Event(EventKind.ENTER, "door", 1.0, "run-1", match, 1.0, None)
                webhook.offer(log.append(seen, WALL_S))
            until(lambda: receiver.came)  # the first try of the first event is on its way
            log.erase_identity("a")
            log.reassign([each.id for each in log.list()], Identity("b", "Robert"))
        receiver.may_answer.set()
        until(lambda: webhook.status().delivered == 2)
        assert (webhook.status().waiting, webhook.status().dead) == (0, 1)
    names = [json.loads(body)["event"]["name"] for _, body in receiver.came]
    assert names[-2:] == ["Robert", "Robert"]
    assert "Ann" not in names


def test_webhooks_that_are_removed_altogether_begin_anew_when_they_are_added_again(
    tmp_path: Path,
) -> None:
    url = "http://192.0.2.1/hook"
    with_hook = Config.model_validate(
        {"gallery": {"directory": tmp_path}, "webhooks": [{"url": url}]}
    )
    without = with_hook.model_copy(update={"webhooks": ()})
    EventLog.open(tmp_path).close()
    for config, n_waiting in ((with_hook, 0), (without, 0), (with_hook, 0)):
        supervisor = Supervisor(clock=time.monotonic)
        webhooks = open_webhooks(config, supervisor)
        assert [webhook.status().waiting for webhook in webhooks] == [n_waiting] * len(webhooks)
        for webhook in webhooks:
            webhook.stop()
            webhook.join(10)
        happened(tmp_path, 3)  # no receiver may get them


def test_what_is_owed_is_bounded_and_of_the_asked_kinds(tmp_path: Path) -> None:
    EventLog.open(tmp_path).close()
    outbox = Outbox(tmp_path, "hook")
    events = happened(tmp_path, 5)
    kinds = frozenset({EventKind.CAMERA_UP})
    assert outbox.pending(kinds, limit=3) == (events[2:], 2)
    assert outbox.pending(frozenset({EventKind.EXIT}), limit=3) == ([], 0)
    outbox.mark_done(events[3].id, dead=7)
    outbox.mark_done(events[1].id, dead=8)
    assert outbox.pending(frozenset(), limit=3) == (events[4:], 8)
    forget_others(tmp_path, ["other", "hook"])
    assert outbox.pending(frozenset(), limit=3) == (events[4:], 8)
    outbox.close()
    forget_others(tmp_path, ["other"])
    with closing(Outbox(tmp_path, "hook")) as again:
        assert again.pending(frozenset(), limit=3) == ([], 0)


def test_a_webhooks_key_is_no_secret_and_stands_by_its_url() -> None:
    one, two = "https://chat/hook/T0PSECRET", "https://other/"
    keys = hook_keys([one, two, one])
    assert len(set(keys)) == 3
    assert not any("SECRET" in key for key in keys)
    assert hook_keys([two, one])[::-1] == keys[:2]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_service_delivers_after_its_next_start(
    tmp_path: Path, number: signal.Signals
) -> None:
    @contextmanager
    def serving() -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [FACEWIRE, "serve", "--port=0", "--config", str(config)],
            env={**os.environ, "FACEWIRE_DATA": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                assert "facewire is on" in process.stdout.readline()
                yield process
            finally:
                process.kill()

    with receiving() as receiver:
        config = tmp_path / "facewire.toml"
        config.write_text(
            '[[cameras]]\nname = "one"\nurl = "demo:"\n[[cameras]]\nname = "two"\nurl = "demo:"\n'
            f'[[webhooks]]\nurl = "{receiver.url}"\n'
        )
        receiver.may_answer.clear()
        kept = "SELECT id FROM events ORDER BY id"
        with serving() as process:
            events = sqlite3.connect(tmp_path / "gallery" / "events.db")
            until(lambda: len(events.execute(kept).fetchall()) >= 4)
            process.send_signal(number)
            process.wait(300)
        ids = [row[0] for row in events.execute(kept)]
        events.close()
        receiver.may_answer.set()
        receiver.came.clear()
        with serving() as process:
            until(lambda: len(receiver.came) > len(ids))
            process.send_signal(signal.SIGTERM)
            process.wait(300)
    assert receiver.ids[: len(ids)] == ids
    assert receiver.ids == sorted(set(receiver.ids))
