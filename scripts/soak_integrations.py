"""Run the service with failing integrations: scripts/soak_integrations.py --minutes 30.

`facewire serve` watches real RTSP cameras with people who come and go, and has every integration: a
mosquitto broker that is killed, stopped and started; a webhook, and a rule that notifies by
webhook, Apprise, Web Push and MQTT, whose receivers refuse, hang, are slow, answer 500, and break
off after they took the event; a Frigate that does the same; clients of CompreFace and DeepStack,
some of which give up in the middle of a request. Calm and failing phases alternate; one camera is
killed and hung in both. Exits 1 if an event of the log was lost anywhere, a queue is not bounded,
memory, a descriptor or a thread leaked, or the service logged an unhandled exception.

With --compare N it measures instead what integrations cost a frame: `facewire bench stream` N times
without and N times with all of them busy, alternately. Clients of the HTTP API are not part of it:
what they ask for is work of their own.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from recognizer import default_cache, fetch_photos
from stream.bench.stream import machine
from stream.demo.scene import DemoScene
from stream.integrations.delivery import MAX_WAITING
from stream.integrations.push.devices import Devices
from stream.integrations.push.encryption import point_of, to_text

sys.path.insert(0, str(Path(__file__).parents[1]))
from scripts.counterparts import FAULTS, EventSink, FrigateMessages, HttpCounterpart, Posted, Tap
from scripts.many_cameras import FACEWIRE, LOOP_S, enrolled, record
from scripts.soak import GROWTH, SLACK, Sample, all_live, disturb, sample, visit
from tests.e2e.harness import await_address
from tests.fake_programs import FakeFrigate, Request
from tests.integration.test_rules import Phone
from tests.integration.test_webhooks import Receiver
from tests.mosquitto import Mosquitto, mosquitto, retained
from tests.rtsp_server import RtspServer, why_unavailable

CALM_S, FAILING_S = 60.0, 100.0
"""Eight tries of a webhook take two minutes: one of them is in a calm phase, none is given up."""

LONGEST_FAULT_S = 20.0

DRAIN_S = 180.0
"""For what waits at the end: longer than the longest delay between two tries, twice."""

EARLIEST_S = 300.0
"""What a service holds before is still of its warm-up."""

TOKEN = "soak-token-0123456789abcdef"

KINDS = ("enter", "unknown", "camera_up", "camera_down")
"""Of the rule."""

BOUNDS = {"webhooks": MAX_WAITING, "notifications": 4 * MAX_WAITING, "frigate": 200}
"""Of the queues of /metrics, by their name; those of states hold one entry of each topic."""


@dataclass
class Counterparts:
    """The other ends, running.

    Attributes:
        faults: how often each was made to fail, by its name.
    """

    broker: Mosquitto
    tap: Tap
    messages: FrigateMessages
    frigate: HttpCounterpart
    labels: list[tuple[str, str, float]]
    servers: dict[str, HttpCounterpart]
    sinks: dict[str, EventSink]
    phone: Phone
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def received(self) -> dict[str, Counter[int]]:
        """How often each event came, by receiver."""
        found = {name: sink.came for name, sink in self.sinks.items()}
        found["mqtt, facewire/events"] = self.tap.came("facewire/events")
        for topic in sorted(self.tap.events):
            if topic.startswith("facewire/cameras/") and topic.endswith("/event"):
                found[f"mqtt, {topic}"] = self.tap.came(topic)
        found["rule by mqtt"] = self.tap.came("soak/rule")
        return found


@contextlib.contextmanager
def counterparts(folder: Path, cameras: list[str]) -> Iterator[Counterparts]:
    """Run the other ends for cameras of ours."""
    phone = Phone(Receiver(), now_s=time.time())
    program = FakeFrigate()
    detect = {"width": 1280, "height": 720, "fps": 5}
    program.config = {"cameras": {f"front-{name}": {"detect": detect} for name in cameras}}

    def frigate(posted: Posted) -> tuple[int, bytes]:
        content = json.loads(posted.body) if posted.body else None
        path = posted.path.partition("?")[0]
        reply = program(Request(posted.method, path, {}, posted.headers, content))
        program.asked.clear()
        content = reply.content
        return reply.status, content if isinstance(content, bytes) else json.dumps(content).encode()

    sinks = {
        "webhook": EventSink(lambda posted: int(json.loads(posted.body)["event"]["id"])),
        "rule by webhook": EventSink(lambda posted: int(json.loads(posted.body)["event"]["id"])),
        "rule by apprise": EventSink(lambda posted: int(json.loads(posted.body)["message"])),
        "rule by push": EventSink(lambda posted: _pushed(phone, posted), status=201),
    }
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(mosquitto(folder / "broker"))
        servers = {name: stack.enter_context(HttpCounterpart(each)) for name, each in sinks.items()}
        phone.receiver.url = f"http://127.0.0.1:{servers['rule by push'].port}/hook?key=k1"
        yield Counterparts(
            broker,
            stack.enter_context(Tap(broker.port)),
            stack.enter_context(FrigateMessages(broker.port, list(program.config["cameras"]))),
            stack.enter_context(HttpCounterpart(frigate)),
            program.labels,
            servers,
            sinks,
            phone,
        )


def _pushed(phone: Phone, posted: Posted) -> int:
    headers = {name.title(): value for name, value in posted.headers.items()}
    headers["TTL"] = headers.pop("Ttl")
    return int(phone.read(headers, posted.body)["url"].partition("event=")[2])


def configuration(ends: Counterparts, cameras: list[str]) -> str:
    """Return facewire.toml with every integration."""
    names = ", ".join(f"front-{name} = {json.dumps(name)}" for name in cameras)
    ports = {name: server.port for name, server in ends.servers.items()}
    return f"""
[mqtt]
url = "mqtt://127.0.0.1:{ends.tap.port}"
faces = true

[frigate]
url = "http://127.0.0.1:{ends.frigate.port}"
cameras = {{ {names} }}

[compreface]
enabled = true

[deepstack]
enabled = true

[visitors]
enabled = true

[[webhooks]]
url = "http://127.0.0.1:{ports["webhook"]}/hook"
secret = "correct-horse-battery"

[notify]
services = {{ local = "json://127.0.0.1:{ports["rule by apprise"]}/" }}

[[rules]]
name = "Everything"
kinds = {json.dumps(KINDS)}
cooldown_s = 0
max_per_hour = 1000
then = [
  {{ type = "webhook", url = "http://127.0.0.1:{ports["rule by webhook"]}/rule" }},
  {{ type = "apprise", service = "local", body = "{{event_id}}" }},
  {{ type = "push" }},
  {{ type = "mqtt", topic = "soak/rule" }},
]
"""


@dataclass(frozen=True, slots=True)
class Scrape:
    """Figures of /metrics at one time."""

    at: float
    recognized: float
    cpu_s: float
    latency: dict[float, float]
    queues: dict[str, float]
    counts: dict[str, float]


async def scrape(client: httpx2.AsyncClient, camera: str) -> Scrape:
    """Read /metrics; frames and their latency are those of one camera."""
    text = (await client.get("/metrics")).text
    recognized = cpu_s = 0.0
    latency: dict[float, float] = {}
    queues: dict[str, float] = {}
    counts: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            is_ours = each.labels.get("camera") == camera
            if each.name == "facewire_camera_captured_frames_total" and is_ours:
                recognized += each.value
            elif each.name == "facewire_camera_dropped_frames_total" and is_ours:
                recognized -= each.value * (each.labels["cause"] == "recognition")
            elif each.name == "facewire_cpu_seconds_total":
                cpu_s = each.value
            elif each.name == "facewire_camera_latency_seconds_bucket" and is_ours:
                latency[float(each.labels["le"])] = each.value
            elif each.name == "facewire_queue_depth":
                queues[each.labels["queue"]] = each.value
            elif re.match(r"facewire_(webhook|notification|mqtt|frigate|rule|lost)_", each.name):
                counts[each.name] = counts.get(each.name, 0.0) + each.value
    return Scrape(time.monotonic(), recognized, cpu_s, latency, queues, counts)


def percentile_ms(before: Scrape, after: Scrape, fraction: float) -> float:
    """Return a percentile of the latency between two times, linear within a bucket."""
    counts = {edge: n - before.latency.get(edge, 0.0) for edge, n in after.latency.items()}
    wanted = fraction * max(counts.values(), default=0.0)
    low, below = 0.0, 0.0
    for edge, n in sorted(counts.items()):
        if n >= wanted and n > below:
            high = low if edge == float("inf") else edge
            return 1e3 * (low + (high - low) * (wanted - below) / (n - below))
        low, below = edge, n
    return 0.0


@dataclass
class Phases:
    """Figures of the calm or of the failing phases."""

    seconds: float = 0.0
    recognized: float = 0.0
    cpu_s: float = 0.0
    p50_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)

    def add(self, before: Scrape, after: Scrape) -> None:
        """Add a phase."""
        self.seconds += after.at - before.at
        self.recognized += after.recognized - before.recognized
        self.cpu_s += after.cpu_s - before.cpu_s
        if after.latency != before.latency:  # frames are encoded while somebody watches
            self.p50_ms.append(percentile_ms(before, after, 0.5))
            self.p95_ms.append(percentile_ms(before, after, 0.95))

    def figures(self) -> dict[str, float]:
        """Return the rates, and medians over the phases."""
        return {
            "seconds": round(self.seconds),
            "fps_recognized": round(self.recognized / max(self.seconds, 1e-9), 2),
            "latency_p50_ms": round(statistics.median(self.p50_ms or [0.0]), 1),
            "latency_p95_ms": round(statistics.median(self.p95_ms or [0.0]), 1),
            "cores": round(self.cpu_s / max(self.seconds, 1e-9), 2),
        }


class Clients:
    """Programs that ask the service for faces, as clients of CompreFace and DeepStack do.

    Attributes:
        answers: counted by API and status, "gave up" where the client left before the answer.
    """

    def __init__(self, url: str, photos: Path, *, pause_s: float = 1.5) -> None:
        self.answers: Counter[str] = Counter()
        self._url, self._pause_s = url, pause_s
        self._photos = [(photos / name).read_bytes() for name in ("obama.jpg", "astronaut.png")]
        self._example = (photos / "obama2.jpg").read_bytes()

    async def compreface(self) -> None:
        """Recognize, detect, compare, and add and remove an example, until canceled."""
        headers = {"x-api-key": TOKEN}
        async with httpx2.AsyncClient(base_url=self._url, headers=headers, timeout=60) as client:
            for number in range(sys.maxsize):
                photo = {"file": ("image.jpg", self._photos[number % 2])}
                name = "/api/v1/recognition/recognize?limit=0&face_plugins=undefined"
                await self._ask(client, "compreface", name, files=photo)
                await self._ask(client, "compreface", "/api/v1/detection/detect", files=photo)
                both = {"source_image": photo["file"], "target_image": photo["file"]}
                await self._ask(client, "compreface", "/api/v1/verification/verify", files=both)
                answer = await self._ask(
                    client,
                    "compreface",
                    "/api/v1/recognition/faces?subject=Barack%20Obama",
                    files={"file": ("image.jpg", self._example)},
                )
                if answer is not None and answer.status_code == 201:
                    path = f"/api/v1/recognition/faces/{answer.json()['image_id']}"
                    answer = await client.delete(path)
                    self.answers[f"compreface {answer.status_code}"] += 1

    async def deepstack(self) -> None:
        """Recognize and list, until canceled."""
        form = {"api_key": TOKEN}
        async with httpx2.AsyncClient(base_url=self._url, timeout=60) as client:
            for number in range(sys.maxsize):
                photo = {"image": ("image.jpg", self._photos[number % 2])}
                name = "/v1/vision/face/recognize"
                await self._ask(client, "deepstack", name, files=photo, data=form)
                await self._ask(client, "deepstack", "/v1/vision/face/list", data=form)

    async def _ask(
        self, client: httpx2.AsyncClient, api: str, path: str, **content: Any
    ) -> httpx2.Response | None:
        await asyncio.sleep(random.uniform(0, 2 * self._pause_s))
        patience_s = 0.02 if random.random() < 0.1 else 60.0
        try:
            answer = await asyncio.wait_for(client.post(path, **content), patience_s)
        except (TimeoutError, httpx2.TransportError) as error:
            self.answers[f"{api} {'gave up' if patience_s < 1 else type(error).__name__}"] += 1
            return None
        self.answers[f"{api} {answer.status_code}"] += 1
        return answer


async def fail_at_random(ends: Counterparts, ended: asyncio.Event) -> None:
    """Make every other end fail and come back, until the end of the phase."""

    async def pause(least_s: float, most_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), random.uniform(least_s, most_s))
        return not ended.is_set()

    async def server(name: str, each: HttpCounterpart) -> None:
        faults = random.sample(FAULTS, len(FAULTS))
        while await pause(1, 10):
            fault = faults.pop() if faults else random.choice(FAULTS)
            ends.faults[f"{name}: {fault}"] += 1
            await asyncio.to_thread(each.fail, fault)
            await pause(1, LONGEST_FAULT_S)
            await asyncio.to_thread(each.fail, "up")

    async def broker() -> None:
        is_kill = True
        while await pause(1, 10):
            ends.faults[f"broker: {'killed' if is_kill else 'stopped'}"] += 1
            if is_kill:
                await asyncio.to_thread(ends.broker.kill)
            else:
                ends.broker.freeze(is_frozen=True)
            await pause(1, LONGEST_FAULT_S)
            if is_kill:
                await asyncio.to_thread(ends.broker.start)
            else:
                ends.broker.freeze(is_frozen=False)
            is_kill = not is_kill
            if await pause(1, 3):
                ends.messages.restart_home_assistant()

    servers = {**ends.servers, "frigate": ends.frigate}
    await asyncio.gather(broker(), *(server(name, each) for name, each in servers.items()))


async def soak(
    pid: int,
    url: str,
    rtsp: list[RtspServer],
    ends: Counterparts,
    photos: Path,
    seconds: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Alternate calm and failing phases; return the figures, with the problems as "troubles"."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        if troubles := await all_live(client, 120):
            return {"troubles": troubles}
        await subscribe(client, ends.phone)
        # Without a phone, earlier ones were given up, as is documented.
        early, dead = await logged(client), await given_up(client)
        clients = Clients(url, photos)
        tasks = [asyncio.create_task(each) for each in (clients.compreface(), clients.deepstack())]
        # The pools of threads grow until each kind of request was answered once.
        await until(lambda: _answered(clients, 10), 120)
        first = sample(pid)
        # The first camera stays as it is: its frames are counted.
        others = [asyncio.create_task(disturb(server)) for server in rtsp[1:]]
        others += [asyncio.create_task(visit(client, len(rtsp)))]
        started, phases = time.monotonic(), {"calm": Phases(), "failing": Phases()}
        samples: list[tuple[float, Sample]] = []
        deepest: Counter[str] = Counter()
        round_s = min(CALM_S + FAILING_S, seconds / 2)
        while time.monotonic() - started < seconds:
            for phase in ("calm", "failing"):
                share = (CALM_S if phase == "calm" else FAILING_S) / (CALM_S + FAILING_S)
                ended = asyncio.Event()
                faults = asyncio.create_task(fail_at_random(ends, ended))
                if phase == "calm":
                    faults.cancel()
                before, until_s = await scrape(client, "c0"), time.monotonic() + share * round_s
                while time.monotonic() < until_s:
                    await asyncio.sleep(min(5.0, share * round_s / 4))
                    after = await scrape(client, "c0")
                    deepest |= Counter({name: int(n) for name, n in after.queues.items()})
                    samples.append((time.monotonic() - started, sample(pid)))
                ended.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await faults
                phases[phase].add(before, after)
                now = samples[-1][1]
                waits = " ".join(f"{name} {int(n)}" for name, n in after.queues.items() if n)
                say(
                    f"{samples[-1][0] / 60:5.1f} min {phase:8} {now.rss_mib:6.0f} MiB "
                    f"{now.descriptors:4} descriptors {now.threads:3} threads, p95 "
                    f"{(phases[phase].p95_ms or [0.0])[-1]:4.0f} ms, "
                    f"{sum(ends.faults.values())} faults; "
                    f"waiting: {waits or 'nothing'}"
                )
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for server in rtsp[1:]:
            server.restart()
        troubles = await all_live(client, 60)
        expected = await logged(client)
        for each in early:
            expected.pop(each, None)
        await until(lambda: not any(lost(expected, ends).values()), DRAIN_S)
        await asyncio.sleep(35)  # viewers that did not close are detected by then
        last, end = sample(pid), await scrape(client, "c0")
        rule = (await client.get("/api/rules")).json()["rules"][0]
        dead = await given_up(client) - dead
        integrations = (await client.get("/api/integrations")).json()["integrations"]
        problems = (await client.get("/healthz")).json()["problems"]
        kept = await asyncio.to_thread(retained, ends.broker)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    troubles += [f"/healthz at the end: {each}" for each in problems]
    troubles += [f"{each['name']}: {each['trouble']}" for each in integrations if each["trouble"]]
    for topic in ("facewire/status", *(f"facewire/cameras/c{n}/status" for n in range(len(rtsp)))):
        if kept.get(topic) != b"online":
            troubles.append(f"the broker keeps {kept.get(topic)!r} of {topic}")
    receivers = {}
    for name, missing in lost(expected, ends).items():
        came = ends.received[name]
        ids = list(came)
        receivers[name] = {
            "events": len(expected_of(expected, name)),
            "lost": len(missing),
            "doubles": sum(came.values()) - len(came),
            "out_of_order": sum(a > b for a, b in itertools.pairwise(ids)),
            "faults": sum(n for each, n in ends.faults.items() if each.startswith(f"{name}:")),
        }
        if name.startswith(("mqtt", "rule by mqtt")):
            receivers[name]["faults"] = (
                ends.faults["broker: killed"] + ends.faults["broker: stopped"]
            )
        if name.startswith(("webhook", "mqtt")) and receivers[name]["out_of_order"]:
            troubles.append(f"{name} got events out of order")
        if missing:
            troubles.append(f"{name} lost {len(missing)} events: {sorted(missing)[:5]}")
    for name in ("webhook_dead_letters", "mqtt_dropped_messages", "frigate_dropped", "lost_events"):
        if n := end.counts.get(f"facewire_{name}_total", 0.0):
            troubles.append(f"facewire_{name}_total is {n:.0f}")
    if dead:
        troubles.append(f"{dead} notifications were given up")
    for name, bound in BOUNDS.items():
        if deepest[name] > bound:
            troubles.append(f"the queue {name} held {deepest[name]}, more than {bound}")
    troubles += grown(samples, last, seconds)
    failed = {each for each in clients.answers if not each.endswith((" 200", " 201", " gave up"))}
    troubles += [f"{clients.answers[each]} answers {each}" for each in sorted(failed)]
    at_five = next((each for at, each in samples if at >= min(EARLIEST_S, seconds / 3)), first)
    return {
        "machine": machine(),
        "load": os.getloadavg()[0],
        "minutes": round(seconds / 60, 1),
        "cameras": len(rtsp),
        "phases": {name: each.figures() for name, each in phases.items()},
        "resources": {
            name: {"rss_mib": round(each.rss_mib), "descriptors": each.descriptors}
            | {"threads": each.threads}
            for name, each in (("start", first), ("minute 5", at_five), ("end", last))
        },
        "receivers": receivers,
        "rule": {key: rule[key] for key in ("fired", "in_cooldown", "over_limit")},
        "failed_tries": {
            "webhook": end.counts.get("facewire_webhook_failed_tries_total", 0.0),
            "notifications": end.counts.get("facewire_notification_failed_tries_total", 0.0),
            "frigate": end.counts.get("facewire_frigate_failures_total", 0.0),
        },
        "frigate": {
            "people": ends.messages.n_people,
            "messages": end.counts.get("facewire_frigate_messages_total", 0.0),
            "names": end.counts.get("facewire_frigate_names_total", 0.0),
            "labels": len(ends.labels),
            "given_up": end.counts.get("facewire_frigate_names_given_up_total", 0.0),
            "faults": sum(n for each, n in ends.faults.items() if each.startswith("frigate:")),
        },
        "mqtt": {"acknowledged": ends.tap.n_acknowledged, "retained": len(kept)},
        "deepest_queues": dict(deepest),
        "clients": dict(sorted(clients.answers.items())),
        "faults": dict(sorted(ends.faults.items())),
        "samples": [
            [round(at), round(each.rss_mib), each.descriptors, each.threads]
            for at, each in samples[::6]
        ],
        "troubles": troubles,
    }


def _answered(clients: Clients, n: int) -> bool:
    return all(
        sum(count for each, count in clients.answers.items() if each.startswith(api)) >= n
        for api in ("compreface", "deepstack")
    )


async def until(condition: Callable[[], bool], within_s: float) -> None:
    """Wait for a condition, but not forever."""
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.2)


async def subscribe(client: httpx2.AsyncClient, phone: Phone) -> None:
    """Subscribe a phone as its browser does."""
    phone.public_key = (await client.get("/api/push")).json()["public_key"]
    (await client.post("/api/push/devices", json=subscription(phone))).raise_for_status()


def subscription(phone: Phone) -> dict[str, str]:
    """Return what a phone's browser gives the page."""
    return {
        "name": "Phone",
        "endpoint": phone.receiver.url.replace("/hook?key=k1", "/p"),
        "p256dh": to_text(point_of(phone.key)),
        "auth": to_text(phone.auth),
    }


Log = dict[int, tuple[str, str]]
"""Kind and camera of events, by id."""


async def given_up(client: httpx2.AsyncClient) -> int:
    """Return the number of notifications that were given up."""
    rules = (await client.get("/api/rules")).json()["rules"]
    return sum(each["dead"] for rule in rules for each in rule["then"])


async def logged(client: httpx2.AsyncClient) -> Log:
    """Return every event of the log."""
    found: Log = {}
    cursor: int | None = None
    while True:
        query: dict[str, int] = {"limit": 1000} | ({} if cursor is None else {"cursor": cursor})
        page = (await client.get("/api/events", params=query)).json()
        found |= {event["id"]: (event["kind"], event["camera"]) for event in page["events"]}
        cursor = page["cursor"]
        if cursor is None:
            return found


def expected_of(expected: Log, name: str) -> set[int]:
    """Return the events that a receiver must get."""
    if name.startswith("rule"):
        return {each for each, (kind, _) in expected.items() if kind in KINDS}
    topic = name.split("/")
    return {each for each, (_, camera) in expected.items() if len(topic) < 4 or camera == topic[2]}


def lost(expected: Log, ends: Counterparts) -> dict[str, set[int]]:
    """Return the events that did not come, by receiver."""
    return {name: expected_of(expected, name) - set(came) for name, came in ends.received.items()}


def grown(samples: list[tuple[float, Sample]], last: Sample, seconds: float) -> list[str]:
    """Return a line for each resource that leaked; a short run cannot tell."""
    if seconds < 2 * EARLIEST_S:
        return []
    fifth, troubles = seconds / 5, []
    early = [each for at, each in samples if EARLIEST_S <= at < EARLIEST_S + fifth]
    late = [each for at, each in samples if at >= seconds - fifth]
    before = statistics.median(each.rss_mib for each in early)
    after = statistics.median(each.rss_mib for each in late)
    if after > before * GROWTH:
        troubles.append(f"memory grew from {before:.0f} to {after:.0f} MiB")
    for kind in ("descriptors", "threads"):
        usual = statistics.median(getattr(each, kind) for each in early)
        if getattr(last, kind) > usual + SLACK:
            troubles.append(f"{kind} grew from {usual:.0f} to {getattr(last, kind)}")
    return troubles


def run_soak(
    seconds: float, n_cameras: int, fps: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Start everything, disturb it, and return the figures."""
    photos = fetch_photos(default_cache(), None)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder, names = Path(scratch), [f"c{number}" for number in range(n_cameras)]
        rtsp = cameras(stack, folder, n_cameras, fps)
        ends = stack.enter_context(counterparts(folder, names))
        environment = enrolled(Path(__file__).parents[1], folder / "data")
        settings = folder / "facewire.toml"
        settings.write_text(configuration(ends, names))
        command = [*FACEWIRE, "serve", "--port=0", f"--config={settings}"]
        command += [f"--camera={name}={each.url}" for name, each in zip(names, rtsp, strict=True)]
        with (folder / "log").open("w+", encoding="utf-8") as log:
            service = subprocess.Popen(
                command, stderr=log, stdout=log, env={**environment, "FACEWIRE_TOKEN": TOKEN}
            )
            try:
                url = await_address(service, folder / "log")
                found = asyncio.run(soak(service.pid, url, rtsp, ends, photos, seconds, say))
            finally:
                service.terminate()
                code = service.wait(60)
            log.seek(0)
            text = log.read()
    if code != 0:
        found["troubles"].append(f"the service ended with {code}")
    if unhandled := list(re.finditer(r"Traceback|unexpected failure|was never retrieved", text)):
        found["troubles"].append(f"{len(unhandled)} unhandled exceptions in the log")
        for each in unhandled:
            sys.stderr.write(text[max(0, each.start() - 500) : each.start() + 4000] + "\n---\n")
    return found


def cameras(stack: contextlib.ExitStack, folder: Path, n: int, fps: int) -> list[RtspServer]:
    """Serve streams of the demo's people, each at a different time of it."""
    scene, servers = DemoScene(fetch_photos(default_cache(), None)), []
    for number in range(n):
        file = folder / f"camera{number}.mp4"
        record(scene, file, start_s=10 * number, fps=fps)
        servers.append(stack.enter_context(RtspServer(file=file)))
    return servers


def compare(pairs: int, seconds: float, n_cameras: int, fps: int) -> dict[str, Any]:
    """Bench without and with all integrations, alternately; return the figures and ratios."""
    here = Path(__file__).parents[1]
    figures: dict[str, list[dict[str, Any]]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        names = [f"bench{number}" for number in range(1, n_cameras + 1)]
        rtsp = cameras(stack, folder, n_cameras, fps)
        ends = stack.enter_context(counterparts(folder, names))
        environments = {}
        for side in figures:
            environments[side] = enrolled(here, folder / side)
            text = configuration(ends, names) if side == "with" else ""
            (folder / f"{side}.toml").write_text(text)
        devices = Devices(folder / "with" / "gallery", tokens={"admin": ""}, wall_clock=time.time)
        ends.phone.public_key = devices.public_key
        devices.add(**subscription(ends.phone), role="admin")
        for number in range(pairs):
            # each side first in turn: what else the machine does changes with time
            for side in sorted(figures, reverse=bool(number % 2)):
                command = [*FACEWIRE, "bench", "stream", *(each.url for each in rtsp), "--json"]
                command += [f"--seconds={seconds}", f"--config={folder / side}.toml"]
                done = subprocess.run(
                    command,
                    env=environments[side],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    check=True,
                )
                run = json.loads(done.stdout)
                figures[side].append(
                    {
                        "latency_p50_ms": run["latency_ms"]["p50"],
                        "latency_p95_ms": run["latency_ms"]["p95"],
                        "time_to_name_p50_ms": run["time_to_name_ms"]["p50"],
                        "time_to_name_p95_ms": run["time_to_name_ms"]["p95"],
                        "fps_recognized": statistics.fmean(
                            camera["fps_recognized"] for camera in run["cameras"]
                        ),
                        "cores": run["cores"],
                        "load": os.getloadavg()[0],
                    }
                )
                print(side, _line(figures[side][-1]), file=sys.stderr, flush=True)
        events = {name: len(came) for name, came in ends.received.items()}
    ratios = {}
    for key in figures["with"][0]:
        paired = [
            ours[key] / max(plain[key], 1e-9)
            for ours, plain in zip(figures["with"], figures["without"], strict=True)
        ]
        ratios[key] = {
            "median": round(statistics.median(paired), 3),
            "least": round(min(paired), 3),
            "greatest": round(max(paired), 3),
        }
    return {
        "machine": machine(),
        "cameras": n_cameras,
        "seconds": seconds,
        **figures,
        "ratios": ratios,
        "events_delivered": events,
        "labels_written": len(ends.labels),
        "troubles": [f"nothing came to {name}" for name, n in events.items() if not n],
    }


def _line(figures: dict[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.2f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in figures.items()
    )


def report(found: dict[str, Any]) -> None:
    """Print the figures as tables of Markdown."""
    for key in ("phases", "resources", "receivers", "ratios"):
        rows: dict[str, dict[str, Any]] = found.get(key, {})
        if rows:
            columns = list(next(iter(rows.values())))
            print(f"| {key} | {' | '.join(each.replace('_', ' ') for each in columns)} |")
            print("|---" * (len(columns) + 1) + "|")
            for name, row in rows.items():
                print(f"| {name} | {' | '.join(str(row[each]) for each in columns)} |")
            print()
    for key, value in found.items():
        if isinstance(value, dict) and key not in {"phases", "resources", "receivers", "ratios"}:
            print(f"{key.replace('_', ' ')}: {_line(value)}")
    print("\n".join(found["troubles"]) or "no event lost, nothing leaked, nothing unhandled")


def main() -> None:
    """Run the soak or the comparison and print the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--compare", type=int, metavar="N", help="pairs of benches, no soak")
    parser.add_argument("--seconds", type=float, default=LOOP_S, help="of each bench")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if reason := why_unavailable():
        sys.exit(reason)
    if options.compare:
        found = compare(options.compare, options.seconds, options.cameras, options.fps)
    else:
        found = run_soak(
            options.minutes * 60,
            options.cameras,
            options.fps,
            lambda line: print(line, file=sys.stderr, flush=True),
        )
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        report(found)
    sys.exit(bool(found["troubles"]))


if __name__ == "__main__":
    main()
