"""The whole trainer on a small set in one process: train, stop, go on, export, and load again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

torch = pytest.importorskip("torch")

from rich.console import Console

from recognizer import read_card
from recognizer.models.resolve import resolve_model
from tests.shared_data import photos
from tests.trainer_runs import (
    SMALL,
    assert_equal,
    command,
    equal,
    run,
    single_threaded,
    small_set,
    weights,
)
from trainer.data.faceset import FaceSet, encode
from trainer.data.recordio import Record, RecordWriter
from trainer.errors import CheckpointError, DataError, RecordError, TrainingError
from trainer.export.export import export_checkpoint
from trainer.training.checkpoint import claimed, read_checkpoint, save_checkpoint
from trainer.training.device import calculates_in_bf16
from trainer.training.recipe import read_recipe
from trainer.training.run import Run, run_recipe

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def one_thread():
    with single_threaded():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("set"))


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("head.loss=softmax", "backbone.output=E", "run.ema=0.9", "data.colour=2"),
        ("head.sharded=true", "head.rate=0.7", "optimizer.accumulate=2", "run.precision=bf16"),
        ("head.loss=triplet", "backbone.name=m025"),
    ],
    ids=["margin", "dropout-ema-jitter", "sampled-bf16", "triplet"],
)
def test_ten_steps_are_five_and_five_after_kill_9(data, tmp_path, settings):
    settings = ("run.steps=10", *settings)
    run(data, tmp_path / "whole", *settings)
    command = [sys.executable, "-c", KILLED, str(data), str(tmp_path / "parts")]
    killed = subprocess.run([*command, *SMALL, *settings], timeout=600, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert read_checkpoint(tmp_path / "parts" / "last.pt")["step"] == 5
    run(data, tmp_path / "parts", *settings, resume=True)
    assert_equal(weights(tmp_path / "whole/last.pt"), weights(tmp_path / "parts/last.pt"))
    log = (tmp_path / "parts/log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["step", "5", "10"]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from rich.console import Console
import trainer.training.loop as loop
from trainer.training.recipe import read_recipe
from trainer.training.run import Run, run_recipe

average, steps = loop.Trainee.average, []
def dying(self):
    average(self)
    steps.append(1)
    if len(steps) == 7:  # two steps after the checkpoint
        os.kill(os.getpid(), signal.SIGKILL)
loop.Trainee.average = dying
data, out, *settings = sys.argv[1:]
run = Run(read_recipe("tiny", settings), Path(data), Path(out), device="cpu", threads=1)
run_recipe(run, console=Console(quiet=True))
"""


def test_it_learns_and_its_export_is_what_recognizer_loads(data, tmp_path):
    settings = ("run.steps=30", "run.verbose=15", 'run.targets=["eight"]', "head.scale=16")
    summary = run(data, tmp_path / "run", *settings)
    assert [row["step"] for row in summary["results"]] == [0, 30]
    assert summary["results"][1]["pairs"] == 8
    for name in ("best.pt", "last.pt", "log.csv", "loss.png", "accuracy.png", "roc.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    (events,) = (tmp_path / "run").glob("events.out.tfevents.*")
    assert events.read_bytes().count(b"eight/accuracy_flip") == 3  # before, half way, after
    assert events.read_bytes().count(b"train/loss") == 6
    log = [line.split(",") for line in (tmp_path / "run/log.csv").read_text().splitlines()]
    assert float(log[-1][2]) < 0.6 * float(log[1][2])  # the loss

    best = Path(summary["checkpoint"])
    facts = export_checkpoint(
        best, str(tmp_path / "t.onnx"), data / "eight.bin", name="t", licence="test"
    )
    assert facts["difference"] < 1e-4
    resolved = resolve_model(str(tmp_path / "t.onnx"))
    card = read_card(resolved.model, name="t")
    assert card.embedding_size == 16
    assert card.threshold == facts["threshold"]
    assert card.trained_on.startswith("eight ")
    assert card.similarities is None  # of so few pairs nothing follows: cautious numbers then
    assert card.limits.pair > 0.45

    export_checkpoint(best, f"{tmp_path / 'mx'},3", None, name="", licence="")
    again = resolve_model(f"{tmp_path / 'mx'},3")
    assert again.card.embedding_size == 16


def test_what_cannot_go_on_says_what_to_change(data, tmp_path):
    with pytest.raises(DataError, match=r"cannot find the target .*lfw\.bin: put it there"):
        run(data, tmp_path / "a", 'run.targets=["lfw"]')
    with pytest.raises(DataError, match=r"do not fill a batch of 600 \(lower run\.batch\)"):
        run(data, tmp_path / "b", "run.batch=600")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"cannot make .*/file: file exists \(choose another"):
        run(data, tmp_path / "file", "run.steps=1")
    run(data, tmp_path / "c", "run.steps=1", "optimizer.lr=0.05")
    with pytest.raises(CheckpointError, match="holds a run: continue it by --resume"):
        run(data, tmp_path / "c", "run.steps=2")
    with pytest.raises(CheckpointError, match=r"optimizer\.momentum was 0\.9, now it is 0\.5"):
        run(data, tmp_path / "c", "run.steps=2", "optimizer.momentum=0.5", resume=True)
    with pytest.raises(CheckpointError, match="cannot resume: there is no"):
        run(data, tmp_path / "d", resume=True)


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16"), (False, "f32")])
def test_the_machine_chooses_the_precision_once(
    data, tmp_path, monkeypatch, caplog, has_bf16, precision
):
    monkeypatch.setattr("trainer.training.device.calculates_in_bf16", lambda place: has_bf16)
    why = f"run.precision is auto, and it has {'' if has_bf16 else 'no '}instructions for bf16"
    plan = "batch 6, lr 0.1 (cosine after 10 steps of warm-up)"
    with caplog.at_level("INFO", "trainer.training.run"):
        run(data, tmp_path, "run.steps=1", "run.precision=auto")
        monkeypatch.setattr(
            "trainer.training.device.calculates_in_bf16", lambda place: not has_bf16
        )
        run(data, tmp_path, "run.steps=2", "run.precision=auto", resume=True)
    assert caplog.messages == [
        f"training in {precision} on cpu: {why}",
        f"{plan}, 1 steps: 0.3 times the 20 images of the set",
        f"training in {precision} on cpu: as before",
        f"{plan}, 2 steps: 0.6 times the 20 images of the set",
    ]
    state = read_checkpoint(tmp_path / "last.pt")
    assert (state["step"], json.loads(state["recipe"])["run"]["precision"]) == (2, precision)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux knows of the processor")
def test_bf16_is_chosen_by_the_processor():
    flags = Path("/proc/cpuinfo").read_text().split()
    expected = bool({"avx512_bf16", "amx_bf16"} & set(flags))
    assert calculates_in_bf16(torch.device("cpu")) == expected


def test_a_resumed_run_remembers_its_highest_accuracy(data, tmp_path, caplog):
    target = 'run.targets=["eight"]'
    run(data, tmp_path, "run.steps=1", target)
    state = read_checkpoint(tmp_path / "last.pt")
    state["best"] = 1.0
    torch.save(state, tmp_path / "last.pt")
    with caplog.at_level("INFO", "trainer.training.run_log"):
        run(data, tmp_path, "run.steps=2", target, resume=True)
    assert caplog.messages[-1] == "[2]Accuracy-Highest: 1.00000"


@pytest.mark.parametrize("sharded", ["false", "true"])
def test_a_kill_between_two_files_of_a_step_repeats_the_step(data, tmp_path, monkeypatch, sharded):
    """best.pt is written before last.pt: else a resumed run would never write it."""
    settings = ("run.steps=2", "run.verbose=1", "run.ckpt=always", f"head.sharded={sharded}")
    run(data, tmp_path / "whole", *settings)
    written = []

    def killed(path, state):
        save_checkpoint(path, state)
        written.append(path.name)
        if len(written) == 4:  # the first file of step 2
            raise KeyboardInterrupt

    monkeypatch.setattr("trainer.training.loop.save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "parts", *settings)
    monkeypatch.undo()
    assert written[:3] == ["best.pt", "step-0000001.pt", "last.pt"]
    run(data, tmp_path / "parts", *settings, resume=True)
    for name in ("best.pt", "last.pt", "step-0000001.pt", "step-0000002.pt"):
        assert equal(*(read_checkpoint(tmp_path / out / name) for out in ("whole", "parts"))), name


def test_averaged_weights_are_one_network_everywhere(data, tmp_path):
    """Verified while training, by `verify`, exported and taken as a start: the average."""
    target = ('run.targets=["eight"]', "run.steps=4", "run.verbose=2", "run.ema=0.5")
    summary = run(data, tmp_path / "run", *target)
    last = tmp_path / "run/last.pt"
    state = read_checkpoint(last)
    assert not torch.equal(state["ema"]["fc1.running_mean"], state["backbone"]["fc1.running_mean"])
    arguments = ("--pairs", data / "eight.bin", "--folds", 8, "--device", "cpu", "--json")
    export_checkpoint(last, str(tmp_path / "t.onnx"), None, name="t", licence="")
    xnorms = [row["xnorm"] for row in summary["results"] if row["step"] == 4]
    for model in (last, tmp_path / "t.onnx"):
        (row,) = json.loads(command("verify", "--model", model, *arguments).stdout)
        xnorms.append(row["xnorm"])
    # a run that starts from it verifies it before its first step
    start = ('run.targets=["eight"]', "run.steps=2", f"run.pretrained={last}")
    fresh = run(data, tmp_path / "fresh", *start)
    xnorms += [row["xnorm"] for row in fresh["results"] if row["step"] == 0]
    assert len(xnorms) == 4
    assert xnorms == pytest.approx([xnorms[0]] * 4, rel=1e-4)
    raw = {**state, "ema": {}}
    save_checkpoint(tmp_path / "raw.pt", {key: v for key, v in raw.items() if key != "format"})
    (row,) = json.loads(command("verify", "--model", tmp_path / "raw.pt", *arguments).stdout)
    assert row["xnorm"] != pytest.approx(xnorms[0], rel=1e-4)  # the test can tell them apart


def test_a_gender_and_age_network_is_trained_exported_and_used(data, tmp_path):
    faces = FaceSet(data)
    images = [encode(faces.read(int(key))[0]) for key in faces.keys[:12]]
    (tmp_path / "set").mkdir()
    (tmp_path / "set/property").write_text("2,112,112\n")
    with RecordWriter(tmp_path / "set/train.rec") as writer:
        for key, image in enumerate(images, 1):
            writer.write(key, Record((key % 2, 20 + key), key, image))
        writer.write(13, Record((1, 13), 0, b""))
        writer.write(0, Record((13, 14), 0, b""))
    recipe = read_recipe(
        "genderage", ["run.batch=6", "run.steps=2", "run.targets=[]", "data.workers=0"]
    )
    run_recipe(
        Run(recipe, tmp_path / "set", tmp_path / "run", device="cpu", threads=1),
        console=Console(quiet=True),
    )
    best, out = tmp_path / "run/best.pt", tmp_path / "ga.onnx"
    facts = json.loads(command("export", best, out, "--json").stdout)
    assert facts["outputs"] == 202
    assert facts["difference"] < 1e-4
    assert read_card(onnx.load(out), name="ga").embedding_size == 202
    done = command("export", best, out, "--pairs", data / "eight.bin", expect=1)
    assert "--pairs are for embeddings" in done.stderr
    photo, program = str(photos() / "biden.jpg"), str(Path(sys.executable).parent / "facewire")
    shown = subprocess.run(
        [program, "compare", photo, photo, "--ga-model", str(out), "--threads", "1", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FACEWIRE_DATA": str(tmp_path / "data")},
    )
    face = json.loads(shown.stdout)["a"]
    assert face["gender"] in ("male", "female")
    assert face["age"] == int(face["age"])  # whole years: of this network


def test_rate_schedule_and_batch_may_change_at_a_resume(data, tmp_path, caplog):
    settings = ("optimizer.warmup=0", "run.verbose=1")
    run(data, tmp_path, *settings, "run.steps=2", "optimizer.schedule=steps")
    changed = ("optimizer.schedule=poly", "optimizer.lr=0.4", "run.batch=4", "run.steps=4")
    with caplog.at_level("INFO", "trainer.training.resume"):
        run(data, tmp_path, *settings, *changed, resume=True)
    assert caplog.messages == [
        "optimizer.lr was 0.1, after step 2 it is 0.4",
        "optimizer.schedule was 'steps', after step 2 it is 'poly'",
        "run.batch was 6, after step 2 it is 4",
        "the learning rate of step 3 is 0.2; it was to be 0.1 by the recipe before",
        "a step was 6 images of 1 processes, after step 2 it is 4 of 1 (run.batch=6 keeps it)",
    ]
    log = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert log[-1][:2] == ["4", "0.1"]  # poly from 0.4: 0.2 at step 3, 0.1 at step 4


def test_a_checkpoint_of_mxnet_is_taken_as_verify_names_it(data, tmp_path):
    run(data, tmp_path / "a", "run.steps=1")
    export_checkpoint(tmp_path / "a/best.pt", f"{tmp_path / 'mx'},3", None, name="", licence="")
    for number, spec in enumerate((f"{tmp_path / 'mx'},3", str(tmp_path / "mx-0003.params"))):
        run(data, tmp_path / str(number), "run.steps=1", f"run.pretrained='{spec}'")
    states = [read_checkpoint(tmp_path / n / "last.pt")["backbone"] for n in "01"]
    assert equal(*states)
    with pytest.raises(CheckpointError, match=r"cannot read .*mx-0004\.params: no such file"):
        run(data, tmp_path / "2", "run.steps=1", f"run.pretrained='{tmp_path / 'mx'},4'")


def test_a_resumed_run_shows_the_whole_run(data, tmp_path):
    settings = ('run.targets=["eight"]', "run.verbose=1", "run.frequent=1")
    run(data, tmp_path / "whole", "run.steps=4", *settings)
    run(data, tmp_path / "parts", "run.steps=2", *settings)
    # what a run that was killed after its last checkpoint leaves
    with (tmp_path / "parts/log.csv").open("a") as stream:
        stream.write("3,0.1,9,0.5,1,0\n14")
    with (tmp_path / "parts/verified.jsonl").open("a") as stream:
        stream.write('{"step": 3, "target": "eight"}\n{"st')
    parts = run(data, tmp_path / "parts", "run.steps=4", *settings, resume=True)
    whole = run(data, tmp_path / "whole", "run.steps=4", *settings, resume=True)
    assert [row["step"] for row in parts["results"]] == [0, 4]
    assert parts["results"] == whole["results"]
    lines = (tmp_path / "parts/verified.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3, 4]
    log = (tmp_path / "parts/log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["step", "1", "2", "3", "4"]
    for name in ("accuracy.png", "loss.png"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_explodes_before_a_checkpoint_leaves_none(data, tmp_path):
    settings = ("run.steps=5", "run.verbose=1", "run.frequent=1", "optimizer.warmup=0")
    settings += ("optimizer.lr=3e38", "optimizer.clip=0", "optimizer.weight_decay=1")
    with pytest.raises(TrainingError, match=r"is (nan|inf) at step 1 .*no checkpoint was written"):
        run(data, tmp_path, *settings)
    assert not (tmp_path / "last.pt").exists()


def test_a_loss_that_explodes_leaves_the_last_checkpoint(data, tmp_path):
    settings = ("run.steps=5", "head.loss=softmax", "optimizer.warmup=0")
    run(data, tmp_path, *settings)
    state = read_checkpoint(tmp_path / "last.pt")
    state["head"]["weight"].fill_(torch.inf)
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(
        TrainingError, match=r"the loss is nan .*lower optimizer\.lr.*last\.pt is intact"
    ):
        run(data, tmp_path, *settings[1:], "run.steps=10", resume=True)
    assert read_checkpoint(tmp_path / "last.pt")["step"] == 5


def test_a_full_disk_is_named(data, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    run(data, tmp_path, "run.steps=1", "run.ckpt=always")
    from trainer.training.checkpoint import save_checkpoint

    scratch = tmp_path / f".last.pt.{os.getpid()}"
    scratch.symlink_to("/dev/full")
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(TrainingError, match=r"no space left on device \(free .*last\.pt is intact"):
        save_checkpoint(tmp_path / "last.pt", {"x": torch.zeros(100_000)})
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_log_on_a_full_disk_is_named(data, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    (tmp_path / "log.csv").symlink_to("/dev/full")
    with pytest.raises(
        TrainingError, match=r"cannot write .*log\.csv: no space left .*no checkpoint"
    ):
        run(data, tmp_path, "run.steps=1")


def test_a_corrupt_record_is_named_and_the_checkpoint_intact(data, tmp_path, caplog):
    shutil.copytree(data, tmp_path / "set")
    run(tmp_path / "set", tmp_path / "run", "run.steps=1")
    before = (tmp_path / "run/last.pt").read_bytes()
    rec = tmp_path / "set/train.rec"
    content = bytearray(rec.read_bytes())
    at = FaceSet(tmp_path / "set").reader.offsets[7] + 8 + 24
    content[at : at + 64] = bytes(64)
    rec.write_bytes(content)
    message = r"record 7: the image cannot be decoded \(.*inspect .*last\.pt is intact"
    settings = ("run.steps=9", "run.verbose=50")
    with pytest.raises(RecordError, match=message):
        run(tmp_path / "set", tmp_path / "run", *settings, "data.max_damaged=0", resume=True)
    assert (tmp_path / "run/last.pt").read_bytes() == before
    run(tmp_path / "set", tmp_path / "run", *settings, resume=True)
    assert "record 7: the image cannot be decoded" in caplog.text
    assert read_checkpoint(tmp_path / "run/last.pt")["step"] == 9
    looked = json.loads(command("inspect", tmp_path / "set", "--all", "--json").stdout)
    assert (looked["looked_at"], len(looked["damaged"]), looked["labels"]) == (20, 1, "")


@pytest.mark.parametrize("sharded", ["false", "true"])
def test_labels_that_no_classifier_can_learn_are_refused_before_the_first_step(
    data, tmp_path, sharded
):
    """The set's own has labels 0 to 3; its `property` claims three people."""
    shutil.copytree(data, tmp_path / "set")
    (tmp_path / "set/property").write_text("3,112,112\n")
    common = ("run.steps=1", f"head.sharded={sharded}")
    with pytest.raises(DataError, match=r"labels go up to 3, but `property` says 3 classes"):
        run(tmp_path / "set", tmp_path / "run", *common)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())
    run(tmp_path / "set", tmp_path / "run", *common, "data.relabel=true")
    assert len(read_checkpoint(tmp_path / "run/last.pt")["head"]["weight"]) == 4
    said = command("inspect", tmp_path / "set").stdout
    assert "labels: labels go up to 3" in said


STARVED = """
import resource
from pathlib import Path
import trainer.training.loop as loop
from trainer.cli import main
train = loop._forward_backward
def starved(*arguments):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 200 * 2**20,) * 2)
    return train(*arguments)
loop._forward_backward = starved
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_too_little_memory_is_named(data, tmp_path):
    settings = [f"--set={s}" for s in (*SMALL, "backbone.name=r18", "run.batch=20")]
    arguments = ["fit", "tiny", "--data", data, "--out", tmp_path, "--threads", "1", *settings]
    done = subprocess.run(
        [sys.executable, "-c", STARVED, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert "out of memory with batches of 20: halve run.batch" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkpoint_says_what_made_it(data, tmp_path):
    run(data, tmp_path, "run.steps=1")
    made_with = read_checkpoint(tmp_path / "last.pt")["made_with"]
    assert made_with["torch"].startswith(torch.__version__.split("+")[0])
    assert made_with["commit"] == "" or len(made_with["commit"]) == 40


def test_two_runs_do_not_share_a_directory(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.best.pt.4711").write_bytes(b"left by a run that was killed")
    (tmp_path / "run/notes.pt.txt").write_bytes(b"kept")
    with claimed(tmp_path / "run"), pytest.raises(TrainingError, match="another run writes to"):
        run(data, tmp_path / "run", "run.steps=1")
    run(data, tmp_path / "run", "run.steps=1")
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert ".best.pt.4711" not in names
    assert {"notes.pt.txt", "last.pt"} <= names


def test_a_second_run_on_a_directory_is_refused_and_the_first_goes_on(data, tmp_path):
    out = tmp_path / "run"
    settings = [f"--set={s}" for s in (*SMALL, "run.verbose=500", "run.frequent=1")]
    common = ("fit", "tiny", "--data", data, "--out", out, "--device=cpu", "--threads=1", *settings)
    start = [sys.executable, "-c", "from trainer.cli import main; main()", *map(str, common)]
    first = subprocess.Popen(
        [*start, "--set=run.steps=500"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        while not (out / "log.csv").exists() or (out / "log.csv").read_text().count("\n") < 2:
            assert first.poll() is None
            time.sleep(0.05)
        done = command(*common, "--set=run.steps=1", expect=1)
        assert first.poll() is None
        assert done.stderr == (
            f"facewire-train: another run writes to {out}: wait for its end, or choose another "
            "--out\n"
        )
        n_rows = (out / "log.csv").read_text().count("\n")
        while (out / "log.csv").read_text().count("\n") < n_rows + 2:
            assert first.poll() is None
            time.sleep(0.05)
    finally:
        first.kill()
        first.wait()
    steps = [line.split(",")[0] for line in (out / "log.csv").read_text().splitlines()[1:]]
    assert steps[: len(steps) - 1] == [str(n) for n in range(1, len(steps))]


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:0", ""])
def test_an_unknown_device_is_refused(data, tmp_path, device):
    arguments = ("fit", "tiny", "--data", data, "--out", tmp_path / "run", f"--device={device}")
    done = command(*arguments, expect=1)
    assert done.stderr == (f"facewire-train: unknown device {device!r} (choose auto, cpu, cuda)\n")
    assert not (tmp_path / "run").exists()


def test_bf16_where_it_is_slow_is_said(data, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("trainer.training.device.calculates_in_bf16", lambda place: False)
    run(data, tmp_path, "run.steps=1", "run.precision=bf16")
    assert "cpu has no instructions for bf16" in caplog.text
