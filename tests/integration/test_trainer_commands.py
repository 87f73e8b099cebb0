"""Verification, retrieval and packing by the command line."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")


from tests.shared_data import shared_data
from tests.trainer_runs import command, run, single_threaded, small_set
from trainer.data.faceset import encode

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def one_thread():
    with single_threaded():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("set"))


def test_several_targets_share_one_roc(data, tmp_path):
    run(data, tmp_path, "run.steps=1")
    shutil.copy(data / "eight.bin", tmp_path / "other.bin")
    both = ("--pairs", data / "eight.bin", "--pairs", tmp_path / "other.bin", "--folds", 2)
    pictures = ("--roc", tmp_path / "roc.png", "--worst", tmp_path / "worst")
    done = command("verify", "--model", tmp_path / "last.pt", *both, *pictures, "--json")
    assert [row["target"] for row in json.loads(done.stdout)] == ["eight", "other"]
    assert (tmp_path / "roc.png").stat().st_size > 0
    assert {p.name for p in (tmp_path / "worst").iterdir()} == {
        f"{name}_{kind}.png" for name in ("eight", "other") for kind in ("accepted", "rejected")
    }


def test_the_published_y1_reproduces_mxnet_on_fold_1_of_lfw(tmp_path):
    folder = shared_data("lfw_fold1_aligned112")
    model = f"{shared_data('models/y1-0000.params').with_name('y1')},0"
    done = command(
        *("verify", "--model", model, "--pairs", shared_data("lfw_fold1_pairs.txt")),
        *("--images", folder, "--roc", tmp_path / "roc.png", "--worst", tmp_path / "w", "--json"),
    )
    (row,) = json.loads(done.stdout)
    # MXNet 1.9.1 on the same crops: 11.162542, and no embedding differs from ours by over 4e-6
    assert row["xnorm"] == pytest.approx(11.162542, abs=2e-3)
    assert row["accuracy_flip"] == pytest.approx({"mean": 0.986667, "std": 0.017951}, abs=1e-5)
    assert row["pairs"] == 600
    assert row["undetected"] == 0
    assert [point["far"] for point in row["tar_at_far"]] == [0.1]
    assert row["tar_at_far"][0]["impostors"] == 300
    assert len(list((tmp_path / "w").iterdir())) == 2


def test_templates_of_photos_are_verified(tmp_path):
    """Two templates of each of ten people, of two photos and one; two photos are one media."""
    photos = shared_data("lfw10_original")
    people = sorted(photos.iterdir())
    rows, owner = [], {}
    for number, person in enumerate(people):
        one, two, three = sorted(person.glob("*.jpg"))[:3]
        rows += [f"{person.name}/{photo.name} {2 * number} 1" for photo in (one, two)]
        rows.append(f"{person.name}/{three.name} {2 * number + 1} 2")
        owner |= {2 * number: number, 2 * number + 1: number}
    ids = sorted(owner)
    pairs = [f"{a} {b} {int(owner[a] == owner[b])}" for a in ids for b in ids if a < b]
    (tmp_path / "tid.txt").write_text("\n".join(rows))
    (tmp_path / "ten.txt").write_text("\n".join(pairs))
    arguments = (
        *("verify", "--templates", tmp_path / "tid.txt", "--pairs", tmp_path / "ten.txt"),
        *("--images", photos, "--threads", 1),
    )
    done = command(*arguments, "--roc", tmp_path / "roc.png", "--json")
    (row,) = json.loads(done.stdout)
    (point,) = row.pop("tar_at_far")
    assert row.pop("model").startswith("sface")
    assert row == {
        **{"target": "ten", "templates": 20, "media": 20, "images": 30, "pairs": 190},
        **{"same": 10, "undetected": 0, "undetected_templates": 0},
    }
    assert (point["far"], point["impostors"]) == (0.1, 180)
    assert point["tar"] == 1.0
    assert 0.1 < point["threshold"] < 0.6
    assert (tmp_path / "roc.png").stat().st_size > 0

    # a photo without a face is left out, and counted
    (tmp_path / "img").mkdir()
    blank = encode(np.zeros((200, 200, 3), np.uint8), quality=0)
    (tmp_path / "img/blank.png").write_bytes(blank)
    shutil.copy(next(people[0].glob("*.jpg")), tmp_path / "img/face.jpg")
    rows = ["blank.png 1 1", "face.jpg 1 2", "face.jpg 2 3", "blank.png 3 1"]
    (tmp_path / "tid.txt").write_text("\n".join(rows))
    (tmp_path / "ten.txt").write_text("1 2 1\n1 3 0\n")
    lines = command(*arguments, "--images", tmp_path / "img").stdout.splitlines()
    assert lines == [
        "[ten]Templates: 3 of 4 media, 2 images",
        "[ten]Pairs: 2, 1 of one person",
        "[ten]Undetected: 1 of 2 images; templates without a face: 1",
        "[ten]TAR@FAR: takes 100 pairs of two people and one of one person at least",
    ]


def test_people_are_retrieved_from_a_folder(tmp_path):
    photos = shared_data("lfw10_original")
    for person in sorted(photos.iterdir())[:5]:
        for folder, some in (("gallery", slice(0, 2)), ("probes", slice(2, 4))):
            (tmp_path / folder / person.name).mkdir(parents=True)
            for photo in sorted(person.glob("*.jpg"))[some]:
                shutil.copy(photo, tmp_path / folder / person.name)
    others = tmp_path / "others"
    others.mkdir()
    for person in sorted(photos.iterdir())[5:]:
        shutil.copy(sorted(person.glob("*.jpg"))[0], others)
    (others / "blank.png").write_bytes(encode(np.zeros((200, 200, 3), np.uint8), quality=0))
    arguments = ("retrieve", tmp_path / "gallery", tmp_path / "probes", "--threads", 1)
    (row,) = json.loads(command(*arguments, "--distractors", others, "--json").stdout)
    assert row.pop("model").startswith("sface")
    assert row == {
        **{"target": "probes", "probes": 10, "people": 5, "gallery": 10, "distractors": 6},
        **{"undetected": 0, "undetected_gallery": 1},
        "ranks": [{"rank": rank, "rate": 1.0} for rank in (1, 5, 20)],
    }
    # two people under each other's names are not found first, but they are found
    first, second = sorted((tmp_path / "gallery").iterdir())[:2]
    first.rename(tmp_path / "kept")
    second.rename(first)
    (tmp_path / "kept").rename(second)
    lines = command(*arguments, "--rank", 1, "--rank", 10).stdout.splitlines()
    assert lines == [
        "[probes]Probes: 10; gallery: 10 images of 5 people, 0 distractors",
        "[probes]Rank-1: 0.60000",
        "[probes]Rank-10: 1.00000",
    ]


def test_wrong_templates_fail_in_one_line(tmp_path):
    tid, pairs = tmp_path / "tid.txt", tmp_path / "pairs.txt"
    (tmp_path / "1.jpg").write_bytes(b"no picture")
    tid.write_text("1.jpg 1 1\n1.jpg 2 1\n")
    arguments = ("verify", "--templates", tid, "--pairs", pairs)
    here = ("--images", tmp_path)
    for text, more, expected in [
        ("1 2 1", (), "needs --images"),
        ("1 2 1", ("--images", tmp_path / "none"), "cannot find the folder"),
        ("1 2 1", (*here, "--worst", tmp_path / "w"), "--worst shows pairs of images"),
        ("1 2 1", (*here, "--far", "0.01"), "pairs cannot tell TAR at FAR 0.01"),
        ("1 2 1", here, "tid.txt, line 1: "),
        ("1 2 2", here, "pairs.txt, line 1: the label is 2"),
        ("1 2 1\n1 3 0", here, "pairs.txt, line 2: template 3 is not in"),
    ]:
        pairs.write_text(text)
        error = command(*arguments, *more, expect=1).stderr.strip().splitlines()
        assert len(error) == 1, error
        assert expected in error[0]


def test_commands_fail_in_one_line(tmp_path, data):
    for arguments, expected in [
        (("fit", "none", "--data", data), "cannot read recipe none"),
        (("fit", "tiny", "--data", data, "--set", "run.stops=1"), "recipe key run.stops"),
        (("inspect", tmp_path), "cannot find"),
        (("pack", tmp_path / "x", tmp_path / "y"), "cannot find the folder"),
        (
            ("verify", "--model", "no,1", "--pairs", data / "eight.bin", "--folds", 2),
            "no such file",
        ),
        (("verify", "--model", "y", "--pairs", tmp_path / "p.txt"), "needs --images"),
        (("export", tmp_path / "no.pt", "x.onnx"), "cannot read"),
    ]:
        error = command(*arguments, expect=1).stderr.strip().splitlines()
        assert len(error) == 1, error
        assert expected in error[0]


def test_photos_are_packed_alike_by_one_process_and_by_two(tmp_path):
    for number, photo in enumerate(sorted(shared_data("lfw10_original").rglob("*.jpg"))[:34]):
        person = tmp_path / "in" / f"p{number % 2}"
        person.mkdir(parents=True, exist_ok=True)
        (person / photo.name).write_bytes(photo.read_bytes())
    (person / "blank.png").write_bytes(encode(np.zeros((200, 200, 3), np.uint8), quality=0))
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        done = json.loads(
            command("pack", tmp_path / "in", out, "--workers", workers, "--json").stdout
        )
        assert (done["identities"], done["images"]) == (2, 34)
        assert [(Path(r["photo"]).name, r["reason"]) for r in done["rejected"]] == [
            ("blank.png", "no face")
        ]
    assert (tmp_path / "out1/train.rec").read_bytes() == (tmp_path / "out2/train.rec").read_bytes()


def test_pack_goes_on_after_kill_9(tmp_path):
    for number, photo in enumerate(sorted(shared_data("lfw10_original").rglob("*.jpg"))[:6]):
        person = tmp_path / "in" / f"p{number % 2}"
        person.mkdir(parents=True, exist_ok=True)
        (person / photo.name).write_bytes(photo.read_bytes())
    script = """
import os, signal, sys
import trainer.data.pack as pack
write, done = pack._write_done, []
def dying(*arguments):
    write(*arguments)
    done.append(1)
    if len(done) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
pack._write_done = dying
from trainer.cli import main
main()
"""
    arguments = ["pack", str(tmp_path / "in"), str(tmp_path / "out")]
    killed = subprocess.run([sys.executable, "-c", script, *arguments], timeout=600, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "out/.pack").rglob("*.crop"))) == 4
    done = json.loads(command(*arguments, "--json").stdout)
    assert (done["identities"], done["images"]) == (2, 6)
    assert not (tmp_path / "out/.pack").exists()


def test_photo_pairs_are_verified_and_packed(tmp_path):
    photos = shared_data("lfw_mini_250")
    lines = shared_data("lfw_mini_pairs.txt").read_text().splitlines()
    some = [line for line in lines if len(line.split()) in (3, 4)]
    short = tmp_path / "short.txt"
    short.write_text("\n".join([*some[:6], *some[-6:]]) + "\n")
    packed = json.loads(
        command("pack", photos, tmp_path / "short.bin", "--pairs", short, "--json").stdout
    )
    assert packed["pairs"] == 12
    both = ("--pairs", short, "--pairs", tmp_path / "short.bin", "--images", photos)
    of_photos, of_bin = json.loads(command("verify", *both, "--folds", 2, "--json").stdout)
    assert of_photos["undetected"] == of_bin["undetected"] == 0
    # the crops in the .bin are the very same, without loss
    assert of_photos["xnorm"] == pytest.approx(of_bin["xnorm"], rel=1e-5)
    assert of_photos["accuracy_flip"]["mean"] == of_bin["accuracy_flip"]["mean"]


def test_pack_takes_crops_and_goes_on(tmp_path):
    people = shared_data("train_mini_112")
    for person in sorted(people.iterdir())[:2]:
        (tmp_path / "in" / person.name).mkdir(parents=True)
        for photo in sorted(person.iterdir())[:3]:
            (tmp_path / "in" / person.name / photo.name).write_bytes(photo.read_bytes())
    (tmp_path / "in" / person.name / "broken.jpg").write_bytes(b"no picture")
    done = json.loads(command("pack", tmp_path / "in", tmp_path / "out", "--json").stdout)
    assert (done["identities"], done["images"]) == (2, 6)
    assert "broken.jpg" in done["rejected"][0]["photo"]
    found = json.loads(
        command("inspect", tmp_path / "out", "--sheet", tmp_path / "s.png", "--json").stdout
    )
    assert found["histogram"] == {"3": 2}
    assert (tmp_path / "s.png").stat().st_size > 10_000
