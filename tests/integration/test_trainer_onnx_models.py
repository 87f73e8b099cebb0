"""ONNX files in the form of insightface's, without a model card: measured, and imitated.

Made here of arcface_torch's networks: input.1 of 1x3x112x112 or Nx3x112x112, RGB, (x - 127.5) /
127.5 outside of the graph, an output of 512 numbers.
"""

import json
import re
import shutil
import sys

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from onnx import helper, numpy_helper

from recognizer.cache import default_cache
from tests.arcface_torch_oracle import random_state, shapes_of
from tests.shared_data import shared_data
from trainer.backbones.arcface_torch import write_arcface_torch
from trainer.cli import main
from trainer.data.faceset import FaceSetWriter, encode
from trainer.data.pairs import PairSet, write_bin
from trainer.evaluation.embedding import recognizer_embed, torch_embed
from trainer.evaluation.onnx_models import InputFacts
from trainer.export.export import open_backbone
from trainer.export.onnx import onnx_of
from trainer.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.integration

CROPS = np.random.default_rng(1).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def command(monkeypatch, capsys, *arguments, code=0):
    """Run facewire-train in this process; returns its output, and its lines on stderr."""
    monkeypatch.setattr(sys, "argv", ["facewire-train", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    assert ended.value.code == code, output.err
    return output.out, output.err.splitlines()


def as_insightface(backbone, path, *, batch="None", is_bgr=False, reshape=False):
    """Write a backbone as torch's exporter does for insightface: pixels are scaled outside."""
    model = onnx_of(backbone, 512)
    graph = model.graph
    (data,) = graph.input
    shift, scale = graph.node[0], graph.node[1]
    assert (shift.op_type, scale.op_type) == ("Sub", "Mul")
    first = next(node for node in graph.node if scale.output[0] in node.input)
    first.input[0] = "input.1"
    graph.node.remove(shift)
    graph.node.remove(scale)
    data.CopyFrom(helper.make_tensor_value_info("input.1", 1, [batch, 3, 112, 112]))
    graph.output[0].CopyFrom(helper.make_tensor_value_info(graph.output[0].name, 1, [batch, 512]))
    if is_bgr:  # a network that was trained on BGR
        (weight,) = (w for w in graph.initializer if w.name == first.input[1])
        weight.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(weight)[:, ::-1].copy(), weight.name)
        )
    if reshape:  # a view with the batch of the export in it
        (flatten,) = (node for node in graph.node if node.op_type == "Flatten")
        flatten.op_type = "Reshape"
        del flatten.attribute[:]
        flatten.input.append("shape")
        graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "shape"))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "backbone.pth"
    torch.save(random_state(shapes_of("iresnet18", 512)), path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four people of three synthetic images, and a target of eight pairs."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    people = []
    for base in rng.integers(0, 256, (4, 7, 7, 3)):
        noisy = [np.clip(base + rng.normal(0, 12, base.shape), 0, 255) for _ in range(3)]
        people.append(
            [encode(np.kron(x.astype(np.uint8), np.ones((16, 16, 1), np.uint8))) for x in noisy]
        )
    with FaceSetWriter(folder) as writer:
        for images in people:
            writer.add(images)
    pairs = [(p[0], p[1], True) for p in people]
    pairs += [(people[i][2], people[(i + 1) % 4][1], False) for i in range(4)]
    images = [image for a, b, _ in pairs for image in (a, b)]
    write_bin(folder / "eight.bin", PairSet("eight", images, np.array([s for *_, s in pairs])))
    return folder


def by_torch(path):
    return torch_embed(open_backbone(path)[0], torch.device("cpu"))(CROPS)


def close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("form", "facts"),
    [
        ({}, InputFacts()),
        ({"batch": 1}, InputFacts()),
        ({"batch": 1, "reshape": True}, InputFacts()),
        ({"is_bgr": True}, InputFacts("bgr")),
        ({}, InputFacts("rgb", (127.5,) * 3, (127.5,) * 3)),
    ],
    ids=["any batch", "batch 1", "batch 1 for good", "bgr", "stated"],
)
def test_it_embeds_as_the_network_it_was_made_of(form, facts, backbone, tmp_path):
    path = as_insightface(open_backbone(backbone)[0], tmp_path / "w600k_r18.onnx", **form)
    embed, model_id = recognizer_embed(str(path), device="cpu", threads=1, facts=facts)
    assert model_id.startswith("w600k_r18-")
    close(embed(CROPS), by_torch(backbone))


def test_other_facts_give_other_embeddings(backbone, tmp_path):
    path = as_insightface(open_backbone(backbone)[0], tmp_path / "x.onnx")
    expected = by_torch(backbone)
    for facts in (InputFacts("bgr"), InputFacts(mean=(0.0,) * 3), InputFacts(std=(128.0,) * 3)):
        found = recognizer_embed(str(path), device="cpu", threads=1, facts=facts)[0](CROPS)
        assert np.abs(found - expected).max() > 1e-3 * np.abs(expected).max()


def test_a_file_that_normalizes_in_its_graph_is_recognized(backbone, tmp_path, caplog):
    model = onnx_of(open_backbone(backbone)[0], 512)  # without a card
    onnx.save(model, tmp_path / "x.onnx")
    with caplog.at_level("INFO"):
        embed, _ = recognizer_embed(str(tmp_path / "x.onnx"), device="cpu", threads=1)
    close(embed(CROPS), by_torch(backbone))
    assert "x.onnx has no model card: taken as RGB, (x - 0) / 1 (say otherwise by" in caplog.text


def test_the_file_of_a_shipped_network_is_recognized(tmp_path, caplog):
    name = "face_recognition_sface_2021dec.onnx"
    shutil.copy(default_cache() / "sface" / name, tmp_path / "any.onnx")
    with caplog.at_level("INFO"):
        found = recognizer_embed(str(tmp_path / "any.onnx"), device="cpu", threads=1)[0](CROPS)
    assert "no model card" not in caplog.text
    close(found, recognizer_embed("sface", device="cpu", threads=1)[0](CROPS))
    changed = onnx.load(tmp_path / "any.onnx")
    changed.producer_name = "changed"  # known by its graph alone then
    onnx.save(changed, tmp_path / "changed.onnx")
    again = recognizer_embed(str(tmp_path / "changed.onnx"), device="cpu", threads=1)[0](CROPS)
    close(again, found)


def test_verify_and_retrieve_measure_it(backbone, data, tmp_path, monkeypatch, capsys, caplog):
    path = as_insightface(open_backbone(backbone)[0], tmp_path / "w600k_r18.onnx", is_bgr=True)
    pairs = ("--pairs", data / "eight.bin", "--folds", 2)
    bgr = ("--colour-order", "bgr")
    ours, _ = command(monkeypatch, capsys, "verify", "--model", backbone, *pairs, "--json")
    with caplog.at_level("INFO"):
        theirs, _ = command(monkeypatch, capsys, "verify", "--model", path, *bgr, *pairs, "--json")
    assert "taken as BGR, (x - 127.5) / 127.5" in caplog.text
    ((one,), (other,)) = json.loads(ours), json.loads(theirs)
    assert other["xnorm"] == pytest.approx(one["xnorm"], rel=1e-5)
    assert other["accuracy_flip"] == one["accuracy_flip"]
    crops = shared_data("lfw_fold1_aligned112")
    people = [p for p in sorted(crops.iterdir()) if len(list(p.iterdir())) > 1][:3]
    for person in people:
        for folder, photo in zip(("gallery", "probes"), sorted(person.iterdir()), strict=False):
            (tmp_path / folder / person.name).mkdir(parents=True)
            shutil.copy(photo, tmp_path / folder / person.name)
    folders = (tmp_path / "gallery", tmp_path / "probes")
    one, _ = command(monkeypatch, capsys, "retrieve", *folders, "--model", backbone)
    other, _ = command(monkeypatch, capsys, "retrieve", *folders, "--model", path, *bgr)
    assert other == one
    images = [next((tmp_path / "gallery" / p.name).iterdir()) for p in people]
    rows = [f"{image.relative_to(tmp_path)} {n} 1\n" for n, image in enumerate(images)]
    (tmp_path / "templates.txt").write_text("".join(rows))
    (tmp_path / "pairs.txt").write_text("0 1 1\n0 2 0\n")
    lists = ("--templates", tmp_path / "templates.txt", "--images", tmp_path)
    lists = (*lists, "--pairs", tmp_path / "pairs.txt")
    one, _ = command(monkeypatch, capsys, "verify", "--model", backbone, *lists)
    other, _ = command(monkeypatch, capsys, "verify", "--model", path, *bgr, *lists)
    assert other == one


@pytest.mark.parametrize(
    ("form", "settings"),
    [
        ({"batch": 1}, []),
        ({"is_bgr": True}, ["head.teacher_colour=bgr", "head.teacher_mean=[127.5,127.5,127.5]"]),
    ],
)
def test_it_is_a_teacher(form, settings, backbone, data, tmp_path, monkeypatch, capsys):
    path = as_insightface(open_backbone(backbone)[0], tmp_path / "w600k_r18.onnx", **form)
    common = [
        "run.batch=6",
        "run.steps=40",
        "run.verbose=40",
        "run.frequent=5",
        "data.mirror=false",
    ]
    common += ["head.blend=0", "head.warp=0", "data.colour=0", "optimizer.warmup=0"]
    common += [f"head.teacher={path}", "backbone.size=512", "optimizer.lr=0.5"]
    arguments = [f"--set={setting}" for setting in (*common, *settings)]
    command(
        *(monkeypatch, capsys, "fit", "distill", "--data", data, "--out", tmp_path / "run"),
        *(*arguments, "--device", "cpu", "--threads", 1),
    )
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    losses = [
        float(dict(zip(rows[0].split(","), r.split(","), strict=True))["loss"]) for r in rows[1:]
    ]
    assert losses[-1] < 0.85 * losses[0]  # unrelated embeddings have 1
    state = read_checkpoint(tmp_path / "run" / "last.pt")
    assert state["step"] == 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--model", "sface", "--mean", 0, 0, 0],
            r"--colour-order, --mean, --std are of an .onnx file",
        ),
        (["--model", "x.onnx", "--std", 0, 1, 1], "std must be above 0"),
        (["--model", "x.onnx", "--colour-order", "gbr"], "colour_order must be rgb or bgr"),
        (["--model", "backbone.pth", "--mean", 0, 0, 0], "backbone.pth is another model"),
        (["--model", "gone.onnx"], "cannot read gone.onnx: no such file"),
        (["--model", "text.onnx"], "text.onnx is not an ONNX file"),
        (["--model", "det.onnx"], r"must give \(N, D\)|must have one input|must take"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, words, backbone, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    as_insightface(open_backbone(backbone)[0], tmp_path / "x.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    write_arcface_torch(open_backbone(backbone)[0], tmp_path / "backbone.pth")
    detector = onnx.load("x.onnx")
    last = next(node for node in detector.graph.node if node.op_type == "Flatten")
    detector.graph.output[0].name = last.input[0]
    del detector.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(detector, "det.onnx")
    pairs = ("--pairs", data / "eight.bin", "--folds", 2)
    _, said = command(monkeypatch, capsys, "verify", *arguments, *pairs, code=1)
    assert [line for line in said if line.startswith("facewire-train: ")] == [said[-1]]
    assert re.search(words, said[-1])


def test_a_teacher_of_another_size_says_what_to_set(backbone, data, tmp_path, monkeypatch, capsys):
    path = as_insightface(open_backbone(backbone)[0], tmp_path / "w600k_r18.onnx")
    arguments = [f"--set={s}" for s in (f"head.teacher={path}", "run.batch=6", "run.steps=2")]
    _, said = command(
        *(monkeypatch, capsys, "fit", "distill", "--data", data, "--out", tmp_path / "run"),
        *arguments,
        code=1,
    )
    assert said[-1].endswith("the teacher's embeddings have 512 numbers: set backbone.size = 512")
    _, said = command(
        *(monkeypatch, capsys, "fit", "tiny", "--data", data, "--out", tmp_path / "run2"),
        "--set=head.teacher_std=[1,1,1]",
        code=1,
    )
    assert "head.teacher_std does nothing" in said[-1]
