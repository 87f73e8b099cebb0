"""The fake service that the API is tested with is like the real one."""

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import stream.api
from stream.cameras.camera import Camera
from stream.cameras.push_source import PushCamera
from stream.cameras.registry import Cameras
from stream.config import CameraConfig
from stream.enrollment.gallery_worker import GalleryWorker
from stream.events.recorder import Journal
from stream.events.search_worker import SearchWorker
from stream.naming import FaceNaming
from stream.recognition.photo_worker import PhotoWorker
from stream.recognition.worker import Inference
from stream.service import Service
from stream.webrtc.peers import Peers
from tests.fake_service import (
    FakeCamera,
    FakeCameras,
    FakeGalleryWorker,
    FakeInference,
    FakeJournal,
    FakeNaming,
    FakePeers,
    FakePhotoWorker,
    FakePushCamera,
    FakeSearch,
    FakeService,
)

FAKES: dict[type, tuple[type, set[str]]] = {
    FakeService: (Service, {"world", "complaints", "linked"}),
    FakeCameras: (Cameras, {"by_name", "put", "show_faces"}),
    FakeCamera: (Camera, {"shown"}),
    FakePushCamera: (PushCamera, set()),
    FakePeers: (Peers, {"open", "closed"}),
    FakeInference: (Inference, set()),
    FakeGalleryWorker: (GalleryWorker, {"n_changes"}),
    FakePhotoWorker: (PhotoWorker, set()),
    FakeJournal: (Journal, {"events"}),
    FakeNaming: (FaceNaming, set()),
    FakeSearch: (SearchWorker, {"search"}),
}
"""What each fake stands for, and what of it is for tests alone."""

ROOMS = {
    "cameras": FakeCameras,
    "peers": FakePeers,
    "inference": FakeInference,
    "gallery_worker": FakeGalleryWorker,
    "photo_worker": FakePhotoWorker,
    "journal": FakeJournal,
    "naming": FakeNaming,
    "search": FakeSearch,
}
"""The fake of each part of the service that has one; all others are the real classes."""


def attributes_set_by(kind: type) -> dict[str, ast.expr]:
    """Return the public attributes that a constructor sets, and what to."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind)))
    found: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple):
                values = value.elts if isinstance(value, ast.Tuple) else [value] * len(target.elts)
                pairs = list(zip(target.elts, values, strict=True))
            for each, part in pairs:
                if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "self":
                    found.setdefault(each.attr, part)
    return {name: value for name, value in found.items() if not name.startswith("_")}


def public(kind: type) -> set[str]:
    """Return every public name of a class and of what its constructor sets."""
    bases = [each for each in kind.__mro__ if each is not object]
    names = {name for each in bases for name in vars(each) if not name.startswith("_")}
    return names.union(*(attributes_set_by(each) for each in bases))


def method(kind: type, name: str) -> Callable[..., object] | None:
    found = inspect.getattr_static(kind, name, None)
    return found if inspect.isfunction(found) else None


def parameters(function: Callable[..., object]) -> list[tuple[str, object, bool]]:
    """Return name, kind and whether there is a default, of each parameter."""
    return [
        (each.name, each.kind, each.default is not inspect.Parameter.empty)
        for each in inspect.signature(function).parameters.values()
    ]


def drift(fake: type, real: type, controls: set[str]) -> Iterator[str]:
    """Yield each difference of a fake from the class that it stands for."""
    for name in sorted(public(fake) - controls):
        if name not in public(real):
            yield f"{fake.__name__}.{name} is not in {real.__name__}"
            continue
        mine, its = method(fake, name), method(real, name)
        if (mine is None) != (its is None):
            yield f"{fake.__name__}.{name} is a method in one of the two alone"
        elif mine is not None and its is not None:
            if inspect.iscoroutinefunction(mine) != inspect.iscoroutinefunction(its):
                yield f"{fake.__name__}.{name} is a coroutine in one of the two alone"
            if parameters(mine) != parameters(its):
                yield f"{fake.__name__}.{name}{inspect.signature(mine)}: {inspect.signature(its)}"


@pytest.mark.parametrize("fake", FAKES, ids=lambda fake: fake.__name__)
def test_a_fake_has_nothing_that_the_real_one_lacks(fake: type) -> None:
    real, controls = FAKES[fake]
    assert list(drift(fake, real, controls)) == []
    assert controls <= public(fake), "a control is gone"


class Renamed(FakeCameras):
    async def drop(self, name: str) -> None:
        """Be called otherwise than `Cameras.remove`."""


class Fewer(FakeCameras):
    async def change(self, name: str) -> None:  # type: ignore[override]
        """Lack a parameter."""


class Waits(FakeCameras):
    def add(self, config: CameraConfig) -> None:  # type: ignore[override]
        """Be no coroutine."""


class Property(FakeCameras):
    @property
    def statuses(self) -> None:  # type: ignore[override]
        """Be no method."""


@pytest.mark.parametrize(
    ("fake", "what"),
    [
        (Renamed, "drop is not in Cameras"),
        (Fewer, "change"),
        (Waits, "add is a coroutine in one"),
        (Property, "statuses is a method in one"),
    ],
)
def test_a_fake_that_drifts_is_found(fake: type, what: str) -> None:
    (found,) = drift(fake, Cameras, FAKES[FakeCameras][1])
    assert what in found


def test_the_parts_of_the_fake_are_fakes_or_the_real_ones() -> None:
    fake, real = attributes_set_by(FakeService), attributes_set_by(Service)
    arguments = inspect.signature(Service.__init__).parameters
    for name in (
        fake.keys()
        - FAKES[FakeService][1]
        - {"is_demo", "is_recognizing", "webhooks", "mqtt_link", "rules", "frigate", "front"}
    ):
        value = real[name]
        if isinstance(value, ast.Name):
            made = arguments[value.id].annotation.__name__
        else:
            assert isinstance(value, ast.Call), f"what {name} is cannot be seen"
            made = ast.unparse(value.func)
        mine = fake[name]
        if isinstance(mine, ast.Name):
            own = inspect.signature(FakeService.__init__).parameters[mine.id].annotation.__name__
        else:
            assert isinstance(mine, ast.Call)
            own = ast.unparse(mine.func)
        expected = FAKES[ROOMS[name]][0].__name__ if name in ROOMS else own
        assert name == "recognizer" or expected == made, f"{name} is a {made} in the service"
        assert name not in ROOMS or own == ROOMS[name].__name__


def used_by_the_api() -> set[tuple[str, str]]:
    """Return what the API uses of the service: part and attribute, "" and the part."""
    aliases = {FAKES[fake][0].__name__: part for part, fake in ROOMS.items()} | {
        "CamerasDep": "cameras",
        "PeersDep": "peers",
        "GalleryWorkerDep": "gallery_worker",
        "PhotoWorkerDep": "photo_worker",
        "JournalDep": "journal",
        "NamingDep": "naming",
        "SearchDep": "search",
    }
    used: set[tuple[str, str]] = set()
    for path in Path(stream.api.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text())
        for scope in ast.walk(tree):
            if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            names = {
                argument.arg: aliases[ast.unparse(argument.annotation)]
                for argument in ast.walk(scope)
                if isinstance(argument, ast.arg)
                and argument.annotation is not None
                and ast.unparse(argument.annotation) in aliases
            }
            for node in ast.walk(scope):  # self.worker = worker
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                    for target in node.targets:
                        if node.value.id in names and isinstance(target, ast.Attribute):
                            names[ast.unparse(target)] = names[node.value.id]
            for node in ast.walk(scope):
                if not isinstance(node, ast.Attribute):
                    continue
                of = ast.unparse(node.value)
                if of in names:
                    used.add((names[of], node.attr))
                elif of.removeprefix("self._") == "service":
                    used.add(("", node.attr))
                elif of.rpartition(".")[0].removeprefix("self._") == "service":
                    used.add((of.rpartition(".")[2], node.attr))
    return used


def test_the_fake_has_all_that_the_api_uses() -> None:
    used = used_by_the_api()
    assert {part for part, _ in used} >= {"", *ROOMS} - {"inference"}, "too little is seen"
    assert ("cameras", "push") in used
    assert ("gallery_worker", "notify") in used
    missing: list[tuple[str, Any]] = [
        (part, attribute)
        for part, attribute in sorted(used)
        if (part == "" and attribute not in public(FakeService))
        or (part in ROOMS and attribute not in public(ROOMS[part]))
    ]
    assert missing == []
