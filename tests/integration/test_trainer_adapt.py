"""`facewire-train adapt` on real photos: a network that gained is served, one that lost is not."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from recognizer import read_card, read_image
from recognizer.embed.embedder import Embedder
from recognizer.engines.devices import open_engine
from recognizer.models.onnx_files import read_onnx
from recognizer.models.resolve import resolve_model
from tests.shared_data import shared_data
from trainer.adapt.adapting import open_base
from trainer.backbones.onnx_network import OnnxNetwork
from trainer.export.export import open_backbone

pytestmark = pytest.mark.integration

BIN = Path(sys.executable).parent


def run(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [str(BIN / command), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def adapt(to: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run(
        "facewire-train",
        *("adapt", to, "--photos", shared_data("train_mini_112")),
        *("--base", f"{shared_data('models')}/y1,0", "--threads", 1, "--resamples", 200),
        *arguments,
    )


@pytest.mark.parametrize("base", ["sface", "y1"])
def test_the_twin_of_a_real_network_is_exact(base):
    spec = base if base == "sface" else f"{shared_data('models')}/{base},0"
    resolved = resolve_model(spec)
    files = sorted(shared_data("lfw_fold1_aligned112").rglob("*.jpg"))[:8]
    crops = np.stack([read_image(file) for file in files])
    theirs = Embedder(open_engine("cpu"), resolved.model, resolved.card).embed(crops)
    twin = OnnxNetwork(resolved.model, resolved.card).eval()
    with torch.no_grad():
        ours = twin(torch.from_numpy(crops.copy()).permute(0, 3, 1, 2).float()).numpy()
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    assert (ours * theirs).sum(axis=1).min() > 0.99999
    written = twin.write_to(resolved.model)
    again = Embedder(open_engine("cpu"), written, resolved.card).embed(crops)
    np.testing.assert_array_equal(again, theirs)


def test_a_checkpoint_of_fit_is_a_base(tmp_path):
    people = tmp_path / "people"
    people.mkdir()
    for name in ("Tina_Fey", "Tom_Hanks"):
        (people / name).symlink_to(shared_data("train_mini_112") / name)
    assert run("facewire-train", "pack", people, tmp_path / "faces").returncode == 0
    settings = ("run.steps=1", "run.batch=4", "run.targets=[]", "data.workers=0")
    done = run(
        *("facewire-train", "fit", "tiny", "--data", tmp_path / "faces"),
        *("--out", tmp_path / "run", "--threads", 1),
        *(word for setting in settings for word in ("--set", setting)),
    )
    assert done.returncode == 0, done.stderr
    checkpoint = tmp_path / "run" / "last.pt"
    base = open_base(str(checkpoint))
    assert base.model_id.startswith("last-")
    pixels = torch.rand(2, 3, 112, 112) * 255
    with torch.no_grad():
        ours = OnnxNetwork(base.model, base.card).eval()(pixels)
        theirs = open_backbone(checkpoint)[0](pixels)
    assert torch.cosine_similarity(ours, theirs).min() > 0.99999


@pytest.mark.slow
def test_a_network_that_gains_on_people_left_out_is_written_and_served(tmp_path):
    to = tmp_path / "site.onnx"
    agreed = tmp_path / "agreed.txt"
    names = sorted(path.name for path in shared_data("train_mini_112").iterdir())
    agreed.write_text("\n".join(names))
    done = adapt(
        *(to, "--consented", agreed, "--seed", 1, "--json"),
        *("--steps", 60, "--batch", 12, "--rate", 1.5e-3),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    facts = json.loads(done.stdout)
    assert facts == json.loads((tmp_path / "site.report.json").read_text())
    assert facts["refusal"] == ""
    assert facts["onnx"] == str(to)
    parts = [set(facts[part]["people"]) for part in ("learned", "choosing", "held_out")]
    assert set.union(*parts) == set(names)
    assert sum(map(len, parts)) == len(names)
    found = {(each["kind"], each["far"]): each for each in facts["changes"]}
    assert found["degraded", 0.01]["low"] > 0
    assert found["clean", 0.01]["low"] >= -0.01
    assert found["degraded", 0.01]["gain"] == pytest.approx(
        np.mean([found[kind, 0.01]["gain"] for kind in ("small", "dark", "blur", "jpeg")])
    )
    assert "never learned from" in done.stderr

    card = read_card(read_onnx(to), name="site")
    assert card.name == "site"
    assert "adapt, from y1-" in card.source
    assert card.similarities is not None
    assert card.similarities.impostors > 1000
    assert "TAR at FAR 0.01" in card.trained_on
    base = resolve_model(f"{shared_data('models')}/y1,0")
    assert resolve_model(str(to)).model_id != base.model_id
    photos = sorted(shared_data("lfw10_original").joinpath("Tony_Blair").iterdir())[:2]
    compared = run("facewire", "compare", *photos, "--model", to, "--json")
    assert compared.returncode == 0, compared.stderr
    answer = json.loads(compared.stdout)
    assert answer["same"] is True
    assert answer["model"].startswith("site-")

    again = adapt(to, "--all-consented")
    assert again.returncode == 1
    assert "exists: choose another file, or replace it (--replace)" in again.stderr


def test_a_network_that_lost_is_refused_and_nothing_but_the_report_is_written(tmp_path):
    to = tmp_path / "site.onnx"
    done = adapt(to, "--all-consented", "--steps", 3, "--batch", 4, "--rate", 1)
    assert done.returncode == 1, done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["site.report.json"]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("facewire-train: no model was written: TAR at FAR 0.01 of clean photos")
    assert "Traceback" not in done.stderr
    assert "95 % interval" in done.stdout
    facts = json.loads((tmp_path / "site.report.json").read_text())
    assert facts["refusal"] in last
    assert facts["onnx"] == ""
    clean = facts["changes"][0]
    assert clean["kind"] == "clean"
    assert clean["after"] < clean["before"] - 0.1


def test_a_refused_network_leaves_the_one_before_it(tmp_path):
    to = tmp_path / "site.onnx"
    to.write_bytes(b"the one before")
    done = adapt(to, "--all-consented", "--steps", 2, "--batch", 2, "--rate", 1, "--replace")
    assert done.returncode == 1
    assert to.read_bytes() == b"the one before"


@pytest.mark.parametrize("given", [[], ["--all-consented", "--consented", "agreed.txt"]])
def test_without_a_word_on_consent_nothing_is_read(tmp_path, given):
    done = adapt(tmp_path / "site.onnx", *given)
    assert done.returncode == 1
    assert "people must agree before a network learns from their faces" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_too_few_people_are_refused_before_anything_is_learned(tmp_path):
    agreed = tmp_path / "agreed.txt"
    agreed.write_text("Tom_Hanks\nTina_Fey\n")
    done = adapt(tmp_path / "site.onnx", "--consented", agreed)
    assert done.returncode == 1
    assert "2 people have two photos or more, 10 are needed" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["agreed.txt"]
