"""Backup and restore: while a service runs, under kill -9, on a full disk, of damaged files."""

import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gallery import Access, Gallery, Identity, Match, NewPhoto, replacing
from gallery.check import check
from stream.backup.restoring import restore
from stream.backup.saving import save
from stream.cameras.store import CameraStore
from stream.config import CameraConfig, RuleConfig
from stream.errors import BackupError, ConfigError
from stream.events.log import EventLog
from stream.events.schema import connect_reader
from stream.frames import Event, EventKind
from stream.integrations.push.devices import Devices
from stream.integrations.rules.store import RuleStore
from stream.service_lock import only_service
from tests.e2e.harness import PATIENCE_S, require, service

pytestmark = pytest.mark.integration

FACEWIRE = Path(sys.executable).with_name("facewire")
MODEL, SIZE = "sface-0ba9fbfa", 128
SECRET = "hunter2secret"


def quiet(what: str, done: int, total: int) -> None:
    """Show no progress."""


def fill(directory: Path, seed: int, *, n_people: int = 4) -> Path:
    """Make a data directory of every kind: people with crops, events with crops, a camera."""
    rng = np.random.default_rng(seed)
    with (
        Gallery.open(directory, model_id=MODEL, embedding_size=SIZE) as people,
        EventLog.open(directory) as log,
    ):
        for number in range(n_people):
            crop = rng.integers(0, 256, (112, 112, 3), np.uint8)
            row = rng.standard_normal(SIZE).astype(np.float32)
            photo = NewPhoto(row, crop, f"{seed:032x}{number:032x}", 0.5)
            identity, *_ = people.photos.add(f"person {seed} {number}", [photo])
            match = Match(identity, 0.7)
            log.append(
                Event(EventKind.ENTER, "door", 0.0, f"run-{number}", match, 0.0, crop), time.time()
            )
    CameraStore.open(directory, ()).put(
        CameraConfig(name="door", url=f"rtsp://admin:{SECRET}@192.0.2.7/{seed}")
    )
    return directory


def content(directory: Path) -> dict[str, Any]:
    """Return all that a data directory holds, as its programs read it; None for what is not."""
    held: dict[str, Any] = {"people": None, "events": None}
    if (directory / "gallery.sqlite3").exists() or (directory / "replacement.json").exists():
        with Gallery.open_any(directory, access=Access.READ) as people:
            held["people"] = {
                summary.identity: [
                    hashlib.sha256(people.photos.crop(photo.photo_id).tobytes()).hexdigest()
                    for photo in people.photos.of(summary.identity.identity_id)
                ]
                for summary in people.people.summaries()
            }
    if (directory / "events.db").exists():
        with EventLog.open_reader(directory) as log:
            held["events"] = [(event, log.crop_jpeg(event.id)) for event in log.list(limit=1000)]
    held["cameras"] = CameraStore.open(directory, ()).cameras()
    return held


def put_back(directory: Path, path: Path, *, force: bool = False) -> tuple[str, ...]:
    return restore(directory, path, model_id=MODEL, force=force, progress=quiet).kept


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return fill(tmp_path / "data", 1)


@pytest.fixture
def saved(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "saved.zip"
    save(data, path, replace=False, progress=quiet)
    return path


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(FACEWIRE), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_restored_backup_is_what_was_saved(data: Path, saved: Path, tmp_path: Path) -> None:
    assert saved.stat().st_mode & 0o777 == 0o600
    other = tmp_path / "new" / "data"
    assert put_back(other, saved) == ()
    assert content(other) == content(data)
    assert check(other).problems == ()
    assert content(other)["cameras"][0].url.endswith("/1")
    for file in other.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "new", "saved.zip"]


def test_rules_and_devices_are_in_it(data: Path, tmp_path: Path) -> None:
    rule = RuleConfig.model_validate({"name": "Anybody", "then": [{"type": "push"}]})
    RuleStore(data, ()).put("0a1b2c3d4e5f", rule)
    key = Devices(data, tokens={"admin": None}, wall_clock=lambda: 0.0).public_key
    manifest = save(data, tmp_path / "saved.zip", replace=False, progress=quiet)
    assert manifest.counts["rules"] == 1
    other = fill(tmp_path / "other", 2)
    put_back(other, tmp_path / "saved.zip", force=True)
    assert list(RuleStore(other, ()).rules().values()) == [rule]
    assert Devices(other, tokens={"admin": None}, wall_clock=lambda: 0.0).public_key == key


def test_the_manifest_describes_the_parts(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert (manifest["format"], manifest["version"]) == ("facewire-backup", 1)
        assert manifest["model_id"] == MODEL
        assert manifest["counts"].items() >= {"people": 4, "photos": 4, "events": 4}.items()
        assert [part["name"] for part in manifest["parts"]] == [
            "gallery.sqlite3",
            "events.db",
            "cameras.json",
        ]
        for part in manifest["parts"]:
            whole = archive.read(part["name"])
            assert len(whole) == part["bytes"]
            assert hashlib.sha256(whole).hexdigest() == part["sha256"]


def test_what_is_there_is_replaced_only_by_force_and_kept(saved: Path, tmp_path: Path) -> None:
    other = fill(tmp_path / "other", 2)
    before = content(other)
    with pytest.raises(BackupError, match=r"there is data in .*use --force"):
        put_back(other, saved)
    assert content(other) == before
    kept = put_back(other, saved, force=True)
    assert content(other) != before
    assert {name.partition(".before-restore-")[0] for name in kept} == {
        "gallery.sqlite3",
        "events.db",
        "cameras.json",
    }
    again = tmp_path / "again"
    again.mkdir()
    for file in other.iterdir():
        name, kept_word, rest = file.name.partition(".before-restore-")
        if kept_word:  # a log beside a database has its ending
            shutil.copy(file, again / (name + rest.partition("Z")[2]))
    assert content(again) == before


def test_a_part_that_the_backup_lacks_is_moved_away_too(tmp_path: Path) -> None:
    source = fill(tmp_path / "source", 3)
    (source / "cameras.json").unlink()
    save(source, tmp_path / "saved.zip", replace=False, progress=quiet)
    other = fill(tmp_path / "other", 4)
    put_back(other, tmp_path / "saved.zip", force=True)
    assert content(other) == {**content(source), "cameras": []}


def test_a_running_service_is_not_restored_over(saved: Path, data: Path) -> None:
    before = content(data)
    with only_service(data), pytest.raises(ConfigError, match=r"process \d+\): stop it before"):
        put_back(data, saved, force=True)
    assert content(data) == before


def test_a_backup_is_not_replaced_unless_asked(data: Path, saved: Path) -> None:
    first = saved.read_bytes()
    with pytest.raises(BackupError, match="already exists"):
        save(data, saved, replace=False, progress=quiet)
    assert saved.read_bytes() == first
    fill(data, 9)
    save(data, saved, replace=True, progress=quiet)
    assert saved.read_bytes() != first
    with pytest.raises(BackupError, match="is a data file itself"):
        save(data, data / "gallery.sqlite3", replace=True, progress=quiet)


def test_a_damaged_gallery_is_not_backed_up(data: Path, tmp_path: Path) -> None:
    path = data / "gallery.sqlite3"
    whole = bytearray(path.read_bytes())
    for page in range(2, len(whole) // 4096):
        whole[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(whole)
    with pytest.raises(BackupError, match="is damaged, no backup is written"):
        save(data, tmp_path / "saved.zip", replace=False, progress=quiet)
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_damaged_and_truncated_backups_change_nothing(
    data: Path, saved: Path, tmp_path: Path
) -> None:
    whole = saved.read_bytes()
    damaged, other = tmp_path / "damaged.zip", tmp_path / "other"
    rng = random.Random(0)
    starts = [whole.index(b"manifest.json"), whole.rindex(b"PK\x01\x02") - 300]
    places = [*range(64), *(start + i for start in starts for i in range(0, 300, 3))]
    places += [*range(len(whole) - 260, len(whole)), *rng.sample(range(len(whole)), 150)]
    n_refused = 0
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        damaged.write_bytes(flipped)
        with suppress(BackupError):  # raised unless the byte has no meaning, such as of a time
            put_back(other, damaged)
        if other.exists():
            assert summary_of(other) == summary_of(data)
            shutil.rmtree(other)
        else:
            n_refused += 1
    assert n_refused > len(places) // 2
    for length in (*range(0, 100, 9), *rng.sample(range(len(whole)), 40), len(whole) - 1):
        damaged.write_bytes(whole[:length])
        with pytest.raises(BackupError):
            put_back(other, damaged)
        assert not other.exists()


def rewritten(saved: Path, path: Path, **changes: object) -> Path:
    """Write a backup with another manifest."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            whole = source.read(name)
            if name == "manifest.json":
                whole = json.dumps({**json.loads(whole), **changes}).encode()
            target.writestr(name, whole)
    return path


def test_newer_formats_and_other_models_are_refused(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    newer = rewritten(saved, tmp_path / "newer.zip", version=2, parts="of another kind")
    with pytest.raises(BackupError, match="of version 2, this program knows 1: update facewire"):
        put_back(other, newer)
    parts = [{"name": "events.db", "bytes": 1, "sha256": "", "schema": 99}]
    schema = rewritten(saved, tmp_path / "schema.zip", parts=parts)
    with pytest.raises(BackupError, match=r"events\.db is of version 99, .*: update facewire"):
        put_back(other, schema)
    model = rewritten(saved, tmp_path / "model.zip", model_id="arcface-12345678")
    with pytest.raises(BackupError, match=f"of arcface-12345678, not of {MODEL}: name that model"):
        put_back(other, model)
    assert not other.exists()


def test_the_commands_say_what_they_did(data: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "b.zip", tmp_path / "other"
    done = run("backup", str(path), "--gallery", str(data), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["people"] == 4
    done = run("restore", str(path), "--gallery", str(other))
    assert done.returncode == 0, done.stderr
    assert "4 people, 4 photos, 4 events" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    done = run("restore", str(path), "--gallery", str(other))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("facewire: there is data in ")
    done = run("restore", str(path), "--gallery", str(other), "--force", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["kept"]) == 3


# Runs a step in one child after another, each killed one line later than the one before, and
# prints what each has left. The modules are loaded once.
KILLED = """
import importlib, os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import tests.integration.test_backup
{steps}
directory, saved, other = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
modules = {{importlib.import_module(name).__file__ for name in sys.argv[5:]}}
step, n_lines = int(sys.argv[4]), 0

def traced(frame, event, argument):
    global left
    if frame.f_code.co_filename not in modules:
        return None
    if event == "line":
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return traced

left = 1
while True:
    n_lines += step
    before(directory, saved, other)
    child = os.fork()
    if child == 0:
        left = n_lines
        sys.settrace(traced)
        act(directory, saved, other)
        sys.settrace(None)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(after(directory, saved, other), flush=True)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        break
"""


def killed(steps: str, step: int, *arguments: Path, modules: tuple[str, ...]) -> list[str]:
    """Return what is left after a kill at every step-th line of some modules."""
    script = KILLED.format(root=str(Path(__file__).parents[2]), steps=steps)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments), str(step), *modules],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


RESTORE_KILLED = """
def before(directory, saved, other):
    import shutil
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(other, directory)
def act(directory, saved, other):
    from tests.integration.test_backup import put_back
    put_back(directory, saved, force=True)
def after(directory, saved, other):
    from tests.integration.test_backup import summary_of
    return summary_of(directory)
"""

BACKUP_KILLED = """
def before(directory, saved, other):
    saved.unlink(missing_ok=True)
def act(directory, saved, other):
    from tests.integration.test_backup import save, quiet
    save(directory, saved, replace=False, progress=quiet)
def after(directory, saved, other):
    import shutil
    from tests.integration.test_backup import put_back, summary_of
    if not saved.exists():
        return "none"
    shutil.rmtree(other, ignore_errors=True)
    put_back(other, saved)
    return summary_of(other)
"""


def summary_of(directory: Path) -> str:
    """Return a word for the whole content of a directory, read like `content` without FAISS."""
    replacing.finish(directory)
    digest = hashlib.sha256()
    with closing(sqlite3.connect(directory / "gallery.sqlite3")) as people:
        assert people.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = people.execute("SELECT * FROM photos JOIN identities USING (person)").fetchall()
        digest.update(repr(rows).encode())
    with closing(connect_reader(directory)) as events:
        assert events.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        digest.update(repr(events.execute("SELECT id, name, crop FROM events").fetchall()).encode())
    digest.update((directory / "cameras.json").read_bytes())
    return digest.hexdigest()


def test_a_restore_killed_at_any_line_leaves_the_old_or_the_new(
    data: Path, saved: Path, tmp_path: Path
) -> None:
    old = fill(tmp_path / "old", 2)
    modules = ("gallery.replacing", "stream.backup.restoring")
    left = killed(RESTORE_KILLED, 1, tmp_path / "work", saved, old, modules=modules)
    first, last = summary_of(old), summary_of(data)
    n_old = left.index(last)
    assert left == [first] * n_old + [last] * (len(left) - n_old)
    assert n_old > 30
    assert len(left) - n_old > 10  # the moves, each of which was interrupted


OPENERS: dict[str, Callable[[Path], object]] = {
    "gallery": lambda directory: Gallery.open_any(directory).close(),
    "reader": lambda directory: Gallery.open_any(directory, access=Access.READ).close(),
    "events": lambda directory: EventLog.open(directory).close(),
    "past events": lambda directory: EventLog.open_reader(directory).close(),
    "cameras": lambda directory: CameraStore.open(directory, ()),
    "check": check,
    "backup": lambda directory: save(
        directory, directory.parent / "c.zip", replace=False, progress=quiet
    ),
}


@pytest.mark.parametrize("opener", OPENERS)
def test_whoever_opens_the_directory_next_completes_an_interrupted_restore(
    opener: str, data: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = fill(tmp_path / "other", 2)
    with monkeypatch.context() as patch:
        patch.setattr(replacing, "_complete", lambda directory, **document: None)
        put_back(directory, saved, force=True)
    assert (directory / replacing.MARKER).exists()
    OPENERS[opener](directory)
    assert not (directory / replacing.MARKER).exists()
    assert summary_of(directory) == summary_of(data)


def test_a_backup_killed_at_any_moment_is_whole_or_not_there(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "backups" / "b.zip"
    modules = ("stream.backup.saving", "stream.backup.archive")
    left = killed(BACKUP_KILLED, 2, data, path, tmp_path / "other", modules=modules)
    whole = summary_of(data)
    n_without = left.index(whole)
    assert left == ["none"] * n_without + [whole] * (len(left) - n_without)
    assert n_without > 30
    assert [file.name for file in path.parent.iterdir()] == ["b.zip"]  # the last one was complete


def test_a_full_disk_leaves_no_half_backup_and_no_half_restore(
    data: Path, saved: Path, tmp_path: Path
) -> None:
    script = tmp_path / "full.sh"
    script.write_text(
        f"""set -e
mount -t tmpfs -o size=$1 none {tmp_path}/disk
for step in backup restore; do
    if [ $step = backup ]; then what="backup {tmp_path}/disk/b.zip --gallery {data}"
    else what="restore {saved} --gallery {tmp_path}/disk/data"; fi
    status=0
    {FACEWIRE} $what || status=$?
    echo status $status
    ls -AR {tmp_path}/disk | grep -v service.lock | sed 's/^/left /'
done
"""
    )
    (tmp_path / "disk").mkdir()
    unshare = ["unshare", "--map-root-user", "--mount"]
    works = subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
    require("" if works else "no mount namespaces here")
    size = saved.stat().st_size
    for n_bytes in (size // 4, size // 2, size):
        done = subprocess.run(
            [*unshare, "sh", str(script), str(n_bytes)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert [line for line in lines if line.startswith("status")] == ["status 1", "status 1"]
        assert not any("b.zip" in line or "db" in line or "sqlite" in line for line in lines), lines
        problems = [line for line in done.stderr.splitlines() if "no space left" in line]
        assert len(problems) == 2, done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture
def enrolling(data: Path) -> Iterator[list[Identity]]:
    """Enroll and log events in this process all the while; yields who is enrolled by now."""
    enrolled: list[Identity] = []
    is_over = threading.Event()

    def go_on() -> None:
        rng = np.random.default_rng(7)
        with (
            Gallery.open(data, model_id=MODEL, embedding_size=SIZE) as people,
            EventLog.open(data) as log,
        ):
            while not is_over.is_set():
                number = len(enrolled)
                row = rng.standard_normal(SIZE).astype(np.float32)
                crop = rng.integers(0, 256, (112, 112, 3), np.uint8)
                photo = NewPhoto(row, crop, f"{number + 10**6:064x}", 0.5)
                identity, *_ = people.photos.add(f"new {number}", [photo])
                event = Event(
                    EventKind.ENTER, "door", 0.0, f"r-{number}", Match(identity, 0.7), 0.0, crop
                )
                log.append(event, time.time())
                enrolled.append(identity)

    thread = threading.Thread(target=go_on)
    thread.start()
    yield enrolled
    is_over.set()
    thread.join()


def test_snapshots_beside_a_writer_are_of_one_moment(
    data: Path, enrolling: list[Identity], tmp_path: Path
) -> None:
    for number in range(5):
        while len(enrolling) < 10 * (number + 1):
            time.sleep(0.001)
        before = list(enrolling)
        path, other = tmp_path / f"{number}.zip", tmp_path / f"other {number}"
        save(data, path, replace=False, progress=quiet)
        put_back(other, path)
        assert check(other).problems == ()
        held = content(other)
        assert {identity.identity_id for identity in before} <= {
            identity.identity_id for identity in held["people"]
        }
        named = {event.identity_id for event, _ in held["events"]}
        assert named <= {identity.identity_id for identity in held["people"]}


def named(url: str, camera: str) -> set[str]:
    """Return who was seen by a camera of a service."""
    with urllib.request.urlopen(f"{url}api/events?limit=1000") as answer:
        events = json.load(answer)["events"]
    return {event["name"] for event in events if event["camera"] == camera and event["name"]}


def await_named(url: str, camera: str, people: set[str]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not people <= named(url, camera):
        assert time.monotonic() < until, named(url, camera)
        time.sleep(0.2)


def test_a_service_on_a_restored_backup_names_the_same_people(tmp_path: Path) -> None:
    first, second, path = tmp_path / "first", tmp_path / "second", tmp_path / "b.zip"
    with service("backup-first", first) as running:
        until = time.monotonic() + PATIENCE_S
        while len(people := named(running.url, "demo")) < 2:
            assert time.monotonic() < until
            time.sleep(0.2)
        done = run("backup", str(path), FACEWIRE_DATA=str(first))  # that of the running service
        assert done.returncode == 0, done.stderr
        over = run("restore", str(path), "--force", FACEWIRE_DATA=str(first))
        assert over.returncode == 1
        assert over.stderr.splitlines()[-1].endswith("stop it before you restore a backup")
    done = run("restore", str(path), FACEWIRE_DATA=str(second))
    assert done.returncode == 0, done.stderr
    with service("backup-second", second, "--camera", "hall=demo:") as running:
        assert named(running.url, "demo") >= people  # the past
        await_named(running.url, "hall", people)
