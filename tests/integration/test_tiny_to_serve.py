"""From a folder of people to names with a network of one's own: the script, on a few photos."""

import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("torch")

import onnx

from recognizer import read_card
from recognizer.cache import default_cache
from tests.shared_data import shared_data

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[2] / "scripts" / "tiny_to_serve.py"
SHORT = ("run.batch=6", "run.steps=3", "run.verbose=3", "backbone.size=16")


def copy_some(source: Path, to: Path, *, people: int, photos: int) -> Path:
    for person in sorted(source.iterdir())[:people]:
        (to / person.name).mkdir(parents=True)
        for photo in islice(sorted(person.iterdir()), photos):
            shutil.copy(photo, to / person.name)
    return to


def test_a_short_run_gets_to_names(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    for entry in default_cache().iterdir():  # the model that is added stays out of the user's
        if entry.name != "user":
            (cache / entry.name).symlink_to(entry)
    lines = shared_data("lfw_fold1_pairs.txt").read_text().splitlines()
    (tmp_path / "few.txt").write_text("\n".join(["1\t10", *lines[1:11], *lines[301:311]]) + "\n")
    folders = (
        copy_some(shared_data("train_mini_112"), tmp_path / "train", people=3, photos=4),
        tmp_path / "few.txt",
        shared_data("lfw_fold1_aligned112"),
        copy_some(shared_data("lfw10_original"), tmp_path / "people", people=2, photos=2),
    )
    settings = [word for setting in SHORT for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, SCRIPT, *folders, tmp_path / "out", *settings],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "FACEWIRE_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "packed 12 images of 3 people"
    assert said[1].startswith("accuracy before training: ")
    assert said[2].startswith("accuracy after training: ")
    assert said[3].startswith("exported: off by ")
    assert said[4].startswith("enrolled ")
    assert said[5].startswith("identified ")
    assert said[5].endswith(", 0 with a wrong name")
    card = read_card(onnx.load(tmp_path / "out" / "tiny.onnx"), name="tiny")
    assert card.similarities is not None
    assert (card.similarities.impostors, card.similarities.genuine) == (10, 10)
    assert (card.threshold, card.far) == (min(card.limits.pair, 1.0), 1e-3)
    assert said[-1].startswith("facewire serve --model tiny --gallery ")
