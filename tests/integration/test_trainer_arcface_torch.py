"""A backbone.pth of arcface_torch: verified, trained further, exported, and written again."""

import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from recognizer import read_card
from recognizer.embed.embedder import Embedder
from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.models.resolve import resolve_model
from tests.arcface_torch_oracle import embed, random_state, shapes_of
from trainer.cli import main
from trainer.data.faceset import FaceSetWriter, encode
from trainer.data.pairs import PairSet, read_bin, write_bin
from trainer.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.integration

ONES = np.ones((16, 16, 1), np.uint8)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def of_oracle(state, crops):
    return embed(state, torch.from_numpy(crops.transpose(0, 3, 1, 2).astype(np.float32))).numpy()


def command(monkeypatch, capsys, *arguments):
    """Run facewire-train in this process, and return its JSON document."""
    monkeypatch.setattr(sys, "argv", ["facewire-train", *map(str, arguments), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    assert ended.value.code == 0, output.err
    return json.loads(output.out)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four people of three synthetic images, a target of eight pairs, and two files."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    people = []
    for base in rng.integers(0, 256, (4, 7, 7, 3)):
        noisy = [np.clip(base + rng.normal(0, 12, base.shape), 0, 255) for _ in range(3)]
        people.append([encode(np.kron(x.astype(np.uint8), ONES)) for x in noisy])
    with FaceSetWriter(folder) as writer:
        for images in people:
            writer.add(images)
    pairs = [(p[0], p[1], True) for p in people]
    pairs += [(people[i][2], people[(i + 1) % 4][1], False) for i in range(4)]
    images = [image for a, b, _ in pairs for image in (a, b)]
    write_bin(folder / "eight.bin", PairSet("eight", images, np.array([s for *_, s in pairs])))
    for name, size in (("mbf", 32), ("iresnet18", 512)):
        torch.save(random_state(shapes_of(name, size)), folder / f"{name}.pth")
    return folder


@pytest.mark.parametrize(("name", "size"), [("mbf", 32), ("iresnet18", 512)])
def test_its_onnx_file_embeds_as_arcface_torch(name, size, data, tmp_path, monkeypatch, capsys):
    source, onnx = data / f"{name}.pth", tmp_path / "mine.onnx"
    command(monkeypatch, capsys, "export", source, onnx, "--pairs", data / "eight.bin")
    resolved = resolve_model(str(onnx))
    card = read_card(resolved.model, name="mine")
    assert (card.colour_order, card.mean, card.std) == ("rgb", (0, 0, 0), (1, 1, 1))
    assert (card.input_size, card.embedding_size) == ((112, 112), size)
    assert card.source == f"arcface_torch, {name}"
    assert card.trained_on.startswith("eight ")
    crops = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    expected = unit(of_oracle(torch.load(source, weights_only=True), crops))
    for engine in (OpenVinoEngine(threads=1), OnnxRuntimeEngine("cpu", threads=1)):
        embedder = Embedder(engine, resolved.model, resolved.card)
        np.testing.assert_allclose(embedder.embed(crops), expected, atol=1e-4)


def test_its_mxnet_checkpoint_embeds_as_arcface_torch(data, tmp_path, monkeypatch, capsys):
    command(monkeypatch, capsys, "export", data / "mbf.pth", f"{tmp_path / 'mx'},2")
    resolved = resolve_model(f"{tmp_path / 'mx'},2")
    crops = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    expected = unit(of_oracle(torch.load(data / "mbf.pth", weights_only=True), crops))
    embedder = Embedder(OpenVinoEngine(threads=1), resolved.model, resolved.card)
    np.testing.assert_allclose(embedder.embed(crops), expected, atol=1e-4)


def test_it_is_verified_as_arcface_torch_would(data, monkeypatch, capsys):
    pairs = data / "eight.bin"
    arguments = ("--model", data / "mbf.pth", "--pairs", pairs, "--folds", "4", "--threads", "1")
    (row,) = command(monkeypatch, capsys, "verify", *arguments)
    assert (row["model"], row["pairs"]) == ("mbf", 8)
    target = read_bin(pairs)
    crops = np.stack([target.image(i) for i in range(len(target.images))])
    state = torch.load(data / "mbf.pth", weights_only=True)
    norms = [
        np.linalg.norm(of_oracle(state, np.ascontiguousarray(c)), axis=1)
        for c in (crops, crops[:, :, ::-1])
    ]
    assert row["xnorm"] == pytest.approx(np.mean(norms), rel=1e-4)


def test_it_is_trained_further_and_written_for_arcface_torch(data, tmp_path, monkeypatch, capsys):
    settings = [
        *("backbone.name=mbf", "backbone.size=32", "run.batch=6", "run.precision=f32"),
        *("run.targets=[]", "run.steps=2", "run.ckpt=always", "optimizer.lr=0.001"),
        f"run.pretrained={data / 'mbf.pth'}",
    ]
    options = [option for setting in settings for option in ("--set", setting)]
    out = tmp_path / "run"
    command(
        *(monkeypatch, capsys, "fit", "tiny", "--data", data, "--out", out),
        *("--device", "cpu", "--threads", "1", *options),
    )
    facts = command(monkeypatch, capsys, "export", out / "last.pt", tmp_path / "new" / "mine.pth")
    assert facts == {"pth": str(tmp_path / "new" / "mine.pth"), "network": "mbf"}
    then = torch.load(data / "mbf.pth", weights_only=True)
    now = torch.load(tmp_path / "new" / "mine.pth", weights_only=True)
    key = "layers.0.layers.0.weight"
    checkpoint = read_checkpoint(out / "last.pt")
    weights = checkpoint["ema"] or checkpoint["backbone"]
    assert torch.equal(now[key], weights["conv_1.conv2d.weight"])
    change = (now[key] - then[key]).abs().max()
    assert 0 < change < 0.1 * then[key].abs().max()  # it went on from the file
    crops = np.random.default_rng(2).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    assert np.isfinite(of_oracle(now, crops)).all()  # its own code loads it strictly
