"""A gallery under the worst that a machine does to it: kill -9, two processes, an erasure."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from gallery import Gallery, GalleryFormatError, NewPhoto
from gallery.check import check
from tests.shared_data import read_bgr, shared_data

pytestmark = pytest.mark.integration

MODEL, SIZE = "sface-0ba9fbfa", 128

# Enrolls so many photos, with crops, and prints each number once it is acknowledged.
WRITER = f"""
import sys
import numpy as np
from pathlib import Path
from gallery import Gallery, NewPhoto
start = int(sys.argv[2])
rng = np.random.default_rng(start)
with Gallery.open(Path(sys.argv[1]), model_id={MODEL!r}, embedding_size={SIZE}) as gallery:
    print("open", flush=True)
    for number in range(start, start + int(sys.argv[3])):
        crop = rng.integers(0, 256, (112, 112, 3), np.uint8)
        row = rng.standard_normal({SIZE}).astype(np.float32)
        photo = NewPhoto(row, crop, f"{{number:064x}}", 0.5)
        gallery.photos.add(f"person {{number % 50}}", [photo])
        print(number, flush=True)
"""


def writer(directory, start: int, n_photos: int = 100_000) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(start), str(n_photos)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_was_acknowledged_survives_kill_9_ten_times_over(tmp_path):
    acknowledged: set[int] = set()
    rng = random.Random(0)
    for round_number in range(10):
        start = round_number * 100_000
        with writer(tmp_path, start) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            lines = [process.stdout.readline() for _ in range(rng.randint(1, 40))]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.read().splitlines(keepends=True)
        acknowledged |= {int(line) for line in lines if line.endswith("\n")}
        assert check(tmp_path).problems == ()
        with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery:
            held = {
                int(photo.source_sha256, 16)
                for summary in gallery.people.summaries()
                for photo in gallery.photos.of(summary.identity.identity_id)
            }
            assert acknowledged <= held
            assert len(held) <= len(acknowledged) + round_number + 1
            assert len(gallery) == len(held)
    assert len(acknowledged) > 20


def held_by(directory: Path) -> set[str]:
    """Return the photos that are in a gallery, none where there is none yet."""
    try:
        with Gallery.open_any(directory) as gallery:
            return {
                photo.source_sha256
                for summary in gallery.people.summaries()
                for photo in gallery.photos.of(summary.identity.identity_id)
            }
    except GalleryFormatError:
        return set()


def folder_of_1000(directory: Path) -> Path:
    """Make 1,000 photos below 100 names: lfw10's hundred, in ten qualities of JPEG."""
    for path in sorted(shared_data("lfw10_original").rglob("*.jpg")):
        image = read_bgr(path)
        for quality in range(81, 91):
            person = directory / f"{path.parent.name} {quality}"
            person.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(person / path.name), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return directory


def n_photos(directory: Path) -> int:
    """Return how many photos are acknowledged, quickly; 0 where there is no gallery yet."""
    with closing(sqlite3.connect(directory / "gallery.sqlite3")) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM photos").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def test_an_enrolment_of_1000_photos_killed_ten_times_is_taken_up_again(tmp_path):
    folder = folder_of_1000(tmp_path / "people")
    directory = tmp_path / "gallery"
    command = [str(Path(sys.executable).with_name("facewire")), "enroll"]
    command += ["--folder", str(folder)]
    command += ["--force", "--gallery", str(directory), "--json"]  # each person has ten names
    rng = random.Random(1)
    Gallery.open(directory, model_id=MODEL, embedding_size=SIZE).close()
    held: set[str] = set()
    n_kills = 0
    while n_kills < 10 and len(held) < 1000:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
            n_wanted = len(held) + rng.randint(1, 20)
            while one.poll() is None and n_photos(directory) < n_wanted:
                time.sleep(0.005)
            one.kill()
        now = held_by(directory)
        assert held <= now
        assert check(directory).problems == ()
        assert len(now) > len(held)  # it had begun
        held = now
        n_kills += 1
    assert n_kills >= 5  # ten, unless this machine enrolls faster than it is polled
    last = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    reasons = {each["reason"] for each in last["rejected"]}
    assert reasons <= {"duplicate"}
    final = held_by(directory)
    assert len(final) == len(held) + len(last["enrolled"])
    assert len(final) == 1000
    again = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    assert again["enrolled"] == []
    assert held_by(directory) == final


def test_a_disk_that_is_full_loses_nothing_that_was_acknowledged(tmp_path):
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + WRITER, str(tmp_path), "0", "100000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    error = done.stderr.strip().splitlines()[-1]
    assert error.startswith("gallery.errors.GalleryError: cannot use the gallery")
    assert "full" in error
    acknowledged = {f"{int(line):064x}" for line in done.stdout.split() if line.isdigit()}
    assert len(acknowledged) > 20
    assert check(tmp_path).problems == ()
    held = held_by(tmp_path)
    assert acknowledged <= held
    assert len(held) <= len(acknowledged) + 1


def test_two_processes_work_on_one_gallery(tmp_path):
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery:
        mine = [
            gallery.photos.add(
                f"mine {i}",
                [NewPhoto(np.eye(1, SIZE, i, dtype=np.float32)[0], None, f"{10**9 + i:064x}", 0.5)],
            )[0]
            for i in range(3)
        ]
        with writer(tmp_path, 0) as first, writer(tmp_path, 500_000) as second:
            assert first.stdout is not None
            assert second.stdout is not None
            seen = [first.stdout.readline(), second.stdout.readline()]
            for number in range(40):  # and this process writes too
                gallery.photos.add(
                    "busy",
                    [
                        NewPhoto(
                            np.random.default_rng(number).standard_normal(SIZE).astype(np.float32),
                            None,
                            f"{2 * 10**9 + number:064x}",
                            0.5,
                        )
                    ],
                )
                gallery.refresh()
                assert (
                    gallery.search(np.eye(1, SIZE, 1, dtype=np.float32), threshold=0.9)[0].identity
                    == mine[1]
                )
            gallery.people.remove(mine[2].identity_id)
            seen += [first.stdout.readline(), second.stdout.readline()]  # both go on
            first.kill()
            second.kill()
            seen += [*first.stdout, *second.stdout]
        assert all(seen[:4])
        gallery.refresh()
        assert len(gallery) >= len([line for line in seen if line.strip().isdigit()]) + 40 + 2
        assert len(gallery) == sum(s.n_photos for s in gallery.people.summaries())
    assert check(tmp_path).problems == ()


def test_a_process_that_ends_takes_nothing_from_one_that_goes_on(tmp_path):
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as service:
        for number in range(3):
            with writer(tmp_path, 1000 * number, n_photos=2) as other:
                assert other.stdout is not None
                other.stdout.read()  # to its end, at which it closes the file
            assert other.returncode == 0
            assert (tmp_path / "gallery.sqlite3-wal").exists()  # the service's still
            service.photos.add(
                f"mine {number}",
                [
                    NewPhoto(
                        np.eye(1, SIZE, number, dtype=np.float32)[0],
                        None,
                        f"{10**9 + number:064x}",
                        0.5,
                    )
                ],
            )
            assert len(service) == 3 * (number + 1)
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as later:
        assert len(later) == 9
    assert check(tmp_path).problems == ()


def test_another_processs_enrolment_is_seen(tmp_path):
    with (
        Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery,
        writer(tmp_path, 0) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline(), process.stdout.readline()
        while not gallery.refresh():
            time.sleep(0.01)
        process.kill()
        assert gallery.people.find("person 0")
        assert len(gallery) >= 1


def test_an_erased_person_is_in_no_file_while_others_have_it_open(tmp_path):
    row = np.random.default_rng(5).standard_normal(SIZE).astype(np.float32)
    row /= np.linalg.norm(row)
    traces = [b"Ada Lovelace", b"ab" * 32, row.tobytes()]
    with (
        Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as service,
        Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as tool,
    ):
        ada = tool.photos.add("Ada Lovelace", [NewPhoto(row, None, "ab" * 32, 0.5)])[0]
        service.refresh()
        assert service.search(row[None], threshold=0.9)[0].identity == ada
        before = b"".join(p.read_bytes() for p in tmp_path.iterdir())
        assert all(t in before for t in traces)
        tool.people.remove(ada.identity_id)
        after = b"".join(p.read_bytes() for p in tmp_path.iterdir())
        assert [t for t in traces if t in after] == []
        service.refresh()
        assert service.search(row[None], threshold=0.9) == [None]
        assert len(service) == 0
