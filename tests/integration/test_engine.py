"""The whole service without HTTP: the demo camera, real nets, real gallery, real encoder."""

import asyncio
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gallery import Gallery, GalleryBusyError
from gallery.reembedding import reembed
from recognizer import ModelFileError, read_image, write_card
from recognizer.models.resolve import resolve_model
from recognizer.onnx_graph import FLOAT, OnnxGraph
from stream.cameras.camera import CameraState
from stream.config import CameraConfig, Config, load_config
from stream.errors import ConfigError, UnknownCameraError, UnknownTrackError
from stream.events.log import LoggedEvent
from stream.frames import EventKind, TrackState
from stream.service import Service
from tests.shared_data import photos
from tests.viewers import PATIENCE_S, until

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path))


@asynccontextmanager
async def opened(config: Config | None = None) -> AsyncIterator[Service]:
    async with Service.open(config or load_config()) as service:
        yield service


async def names_of(service: Service, n: int) -> set[str | None]:
    names: set[str | None] = set()
    with closing(service.journal.subscribe()) as events:
        async with asyncio.timeout(2 * PATIENCE_S):
            async for event in events:
                if event.kind in {EventKind.ENTER, EventKind.UNKNOWN}:
                    names.add(event.name)
                if len(names) == n:
                    return names
    raise AssertionError


def stranger(service: Service) -> str | None:
    result = service.cameras.get("demo").latest
    tracks = result.tracks if result else ()
    return next((t.track_id for t in tracks if t.state is TrackState.UNKNOWN), None)


def test_the_demo_names_three_people_and_a_stranger_once_told() -> None:
    async def scenario() -> tuple[set[str | None], LoggedEvent]:
        async with opened() as service:
            assert service.is_demo
            names = await names_of(service, 4)
            await until(lambda: stranger(service))
            track_id = stranger(service)
            assert track_id is not None
            with closing(service.journal.subscribe()) as events:
                identity = await service.naming.name_track("demo", track_id, "Eileen Collins")
                async with asyncio.timeout(PATIENCE_S):
                    async for event in events:
                        if event.identity_id == identity.identity_id:
                            return names, event
        raise AssertionError

    names, event = asyncio.run(scenario())
    assert names == {"Barack Obama", "Joe Biden", "Grace Hopper", None}
    assert event.name == "Eileen Collins"
    assert event.has_crop


def test_nobody_watches_so_nothing_is_encoded_until_somebody_does() -> None:
    async def scenario() -> tuple[int, bool]:
        async with opened() as service:
            await until(lambda: service.cameras.get("demo").latest)
            idle = service.cameras.statuses()[0].encoded
            subscription = service.cameras.get("demo").video.hub.subscribe()
            async with asyncio.timeout(PATIENCE_S):
                packet = await subscription.recv()
            await until(lambda: service.cameras.statuses()[0].encoded > 5)
            subscription.close()
            return idle, packet.is_keyframe

    idle, is_keyframe = asyncio.run(scenario())
    assert idle == 0
    assert is_keyframe


def test_a_stop_leaves_no_thread() -> None:
    before = set(threading.enumerate())

    async def scenario() -> None:
        async with opened() as service:
            await until(lambda: service.cameras.get("demo").latest)

    asyncio.run(scenario())
    left = [t.name for t in threading.enumerate() if t not in before and t.is_alive()]
    assert [name for name in left if not name.startswith("asyncio_")] == []


def test_a_camera_that_cannot_be_opened_hurts_nobody(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video")
    demo = CameraConfig(name="demo", url="demo:")
    broken = CameraConfig(name="broken", url=str(tmp_path / "text.mp4"))
    absent = CameraConfig(name="absent", url="rtsp://user:hunter2@127.0.0.1:9/live")
    config = load_config().model_copy(update={"cameras": (demo, broken, absent)})

    async def scenario() -> tuple[dict[str, CameraState], list[str]]:
        async with opened(config) as service:
            await until(
                lambda: all(
                    s.state is not CameraState.CONNECTING for s in service.cameras.statuses()
                )
            )
            await until(lambda: service.cameras.statuses()[0].captured > 25)
            states = {status.name: status.state for status in service.cameras.statuses()}
            return states, service.problems()

    states, problems = asyncio.run(scenario())
    assert states == {
        "demo": CameraState.LIVE,
        "broken": CameraState.FAILING,
        "absent": CameraState.FAILING,
    }
    assert len(problems) == 2
    assert "hunter2" not in " ".join(problems)
    assert "the camera at 127.0.0.1" in " ".join(problems)


def test_another_process_changes_people_and_the_model_under_a_running_service() -> None:
    async def scenario() -> tuple[set[str | None], list[str]]:
        async with opened() as service:
            await names_of(service, 2)
            directory = Path(service.gallery.store.place)
            with Gallery.open_any(directory) as other:
                known = other.people.summaries()
                for summary in known:
                    name = summary.identity.name
                    other.people.rename(summary.identity.identity_id, f"{name} renamed")
            events = await service.journal.run(service.event_log.list)
            names: set[str | None] = {event.name for event in events if event.name}
            await asyncio.to_thread(
                reembed,
                directory,
                lambda crops: np.eye(3, dtype=np.float32)[np.arange(len(crops)) % 3],
                model_id="other-model",
                embedding_size=3,
            )
            await until(lambda: service.problems())
            return names, service.problems()

    names, problems = asyncio.run(scenario())
    assert names
    assert all(name.endswith(" renamed") for name in names if name)
    assert len(problems) == 1
    assert "now holds embeddings of other-model, not of sface" in problems[0]
    assert problems[0].endswith("start again with that model")


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_cameras_go_on_while_another_process_holds_the_gallery() -> None:
    async def scenario() -> tuple[int, bool, int]:
        async with opened() as service:
            await names_of(service, 1)
            path = Path(service.gallery.store.place, "gallery.sqlite3")
            (ada, *_) = await service.gallery_worker.read(service.gallery.people.summaries)
            holder = await asyncio.create_subprocess_exec(
                sys.executable, "-c", HOLD, str(path), stdin=PIPE, stdout=PIPE
            )
            assert holder.stdout is not None
            await holder.stdout.readline()
            before = service.inference.ticks
            write = asyncio.create_task(
                service.gallery_worker.write(
                    service.gallery.people.rename, ada.identity.identity_id, "Ada"
                )
            )
            await until(lambda: service.inference.ticks >= before + 20 or write.done())
            is_pending, ticks = not write.done(), service.inference.ticks - before
            assert await service.gallery_worker.read(
                service.gallery.photos.of, ada.identity.identity_id
            )
            with pytest.raises(GalleryBusyError, match="is busy"):
                await write
            await until(lambda: any("is busy" in line for line in service.problems()))
            await holder.communicate(b"")
            await until(lambda: not service.problems())
            renamed = await service.gallery_worker.write(
                service.gallery.people.rename, ada.identity.identity_id, "Ada"
            )
            return min(ticks, 20), is_pending, len(renamed.name)

    assert asyncio.run(scenario()) == (20, True, 3)


def test_cameras_come_and_go_while_it_runs() -> None:
    async def scenario() -> None:
        async with opened() as service:
            await service.cameras.add(CameraConfig(name="second", url="demo:"))
            with pytest.raises(ConfigError, match="'second' is already there"):
                await service.cameras.add(CameraConfig(name="second", url="demo:"))
            with pytest.raises(ConfigError, match="no known kind"):
                await service.cameras.add(CameraConfig(name="third", url="gopher://x"))
            await until(lambda: service.cameras.get("second").latest)
            await service.cameras.remove("second")
            assert [status.name for status in service.cameras.statuses()] == ["demo"]
            with pytest.raises(UnknownCameraError, match="'second'"):
                service.cameras.get("second")
            with pytest.raises(UnknownTrackError, match="has left"):
                await service.naming.name_track("demo", "no such track", "Nobody")

    asyncio.run(scenario())


def test_a_failure_in_the_inference_thread_reaches_the_one_who_asked() -> None:
    async def scenario() -> None:
        async with opened() as service:
            with pytest.raises(ZeroDivisionError):
                await service.inference.run(lambda: 1 // 0)
            assert service.is_recognizing
            assert await service.inference.run(lambda: 42) == 42

    asyncio.run(scenario())


def write_gender_age(path: Path, outputs: int) -> None:
    """A network of `outputs` values that do not depend on the crop: a woman of 37 years."""
    values = np.zeros(outputs, np.float32)
    values[0] = 3
    values[3 : 2 + 2 * 37 : 2] = 1
    graph = OnnxGraph("ga")
    x = graph.input("crop", FLOAT, ["N", 3, 112, 112])
    mean = graph.add("ReduceMean", [x], "mean", axes=[1, 2, 3], keepdims=1)
    flat = graph.add("Flatten", [mean], "flat")
    none = graph.add("Mul", [flat, graph.constant("zero", 0.0, np.float32)], "none")
    y = graph.add("Add", [none, graph.constant("values", values[None])], "y")
    graph.output(y, FLOAT, ["N", outputs])
    model = graph.model()
    plain: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    card = replace(resolve_model("sface").card, **plain, embedding_size=outputs, similarities=None)
    write_card(model, card)
    path.write_bytes(model.SerializeToString())


def test_a_gender_and_age_model_of_ones_own_is_used_and_a_wrong_one_ends_the_start(
    tmp_path: Path,
) -> None:
    async def read(spec: Path) -> tuple[str | None, float | None]:
        config = load_config()
        settings = config.recognizer.model_copy(update={"gender_age_model": str(spec)})
        async with opened(config.model_copy(update={"recognizer": settings})) as service:
            image = read_image(photos() / "obama.jpg")
            ((face,),) = await service.photo_worker.run(lambda own: own.recognize([image]))
            return face.gender, face.age

    write_gender_age(tmp_path / "ga.onnx", 202)
    assert asyncio.run(read(tmp_path / "ga.onnx")) == ("female", 37.0)
    write_gender_age(tmp_path / "other.onnx", 128)
    with pytest.raises(ModelFileError, match="is no gender and age model: it has 128 outputs"):
        asyncio.run(read(tmp_path / "other.onnx"))
