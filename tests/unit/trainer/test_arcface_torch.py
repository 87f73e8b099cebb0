import re

import pytest

torch = pytest.importorskip("torch")

from tests.arcface_torch_oracle import embed, random_state, shapes_of
from trainer.backbones import BACKBONES, build_backbone
from trainer.backbones.arcface_torch import (
    arcface_torch_names,
    load_arcface_torch,
    read_arcface_torch,
    write_arcface_torch,
)
from trainer.errors import CheckpointError, ExportError
from trainer.training.checkpoint import load_weights, save_checkpoint

NETWORKS = ["iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200", "mbf"]
PIXELS = torch.randint(0, 256, (2, 3, 112, 112), generator=torch.Generator().manual_seed(3)).float()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def close(embeddings, expected):
    scale = expected.abs().max()
    assert scale > 0.1
    assert (expected[0] - expected[1]).abs().max() > 1e-2 * scale, "the crops must differ"
    torch.testing.assert_close(embeddings / scale, expected / scale, rtol=0, atol=1e-5)


def ours(backbone):
    with torch.inference_mode():
        return backbone.eval()(PIXELS)


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_shapes_are_those_of_arcface_torch(name):
    with torch.device("meta"):
        backbone = BACKBONES[name].build(512, BACKBONES[name].output, "prelu")
    names = arcface_torch_names(backbone)
    own = {names[key]: tuple(value.shape) for key, value in backbone.state_dict().items()}
    assert own == shapes_of(name)


@pytest.mark.parametrize(
    ("name", "size"), [("iresnet18", 512), ("iresnet18", 32), ("iresnet50", 512), ("mbf", 512)]
)
def test_a_network_embeds_as_arcface_torch_and_goes_back_bit_for_bit(name, size, tmp_path):
    state = random_state(shapes_of(name, size))
    torch.save(state, tmp_path / "backbone.pth")
    backbone = build_backbone(name, size=size, seed=4)
    load_weights(backbone, str(tmp_path / "backbone.pth"))
    close(ours(backbone), embed(state, PIXELS))
    assert write_arcface_torch(backbone, tmp_path / "again.pth") == name
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert again.keys() == state.keys()
    for key, value in state.items():
        assert again[key].dtype == value.dtype
        assert torch.equal(again[key], value), key


@pytest.mark.parametrize("output", ["E", "FC"])
def test_a_resnet_of_ours_embeds_the_same_in_arcface_torch(output, tmp_path):
    backbone = build_backbone("r18", size=64, output=output)
    names = arcface_torch_names(backbone)
    state = random_state(shapes_of("iresnet18", 64))
    backbone.load_state_dict({key: state[theirs] for key, theirs in names.items()})
    assert write_arcface_torch(backbone, tmp_path / "r18.pth") == "iresnet18"
    written = torch.load(tmp_path / "r18.pth", weights_only=True)
    expected = ours(backbone)
    close(embed(written, PIXELS), expected)
    plain = embed(state, PIXELS)  # the same tensors without the change
    assert (plain - expected).abs().max() > 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("y1", {}, "the nearest is mbf"),
        ("r50v1", {}, "the nearest is"),
        ("m025", {}, "its layers are others"),
        ("r18", {"se": True}, "it also has layer1.0.se_conv1.weight"),
        ("r18", {"output": "G"}, "it lacks"),
        ("r18", {"act": "relu"}, "it lacks prelu.weight"),
    ],
)
def test_what_arcface_torch_lacks_is_not_written(name, options, words, tmp_path):
    backbone = build_backbone(name, size=8, **options)
    with pytest.raises(ExportError, match=r"arcface_torch has no such network") as caught:
        write_arcface_torch(backbone, tmp_path / "x.pth")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_network_says_what_to_set(tmp_path):
    path = tmp_path / "backbone.pth"
    torch.save(random_state(shapes_of("iresnet18", 16)), path)
    for name, size in (("r18", 16), ("iresnet18", 32), ("iresnet34", 16), ("mbf", 16), ("y1", 8)):
        backbone = build_backbone(name, size=size)
        before = {key: value.clone() for key, value in backbone.state_dict().items()}
        with pytest.raises(
            CheckpointError,
            match=r"backbone\.pth is iresnet18 of arcface_torch with embeddings of 16 numbers, and "
            r"the recipe has another network: --set backbone\.name=iresnet18 "
            r"--set backbone\.size=16$",
        ):
            load_arcface_torch(backbone, path)
        assert all(torch.equal(before[key], now) for key, now in backbone.state_dict().items())


class Code:
    def __reduce__(self):
        return (print, ("code of the file ran",))


def test_a_file_that_is_none_is_one_sentence(tmp_path, capsys):
    whole = random_state(shapes_of("iresnet18", 16))
    lacking = {key: value for key, value in whole.items() if key != "layer2.1.bn3.weight"}
    files = {
        "lacking": (lacking, r"is no iresnet18 of arcface_torch: it lacks layer2\.1\.bn3\.weight"),
        "more": ({**whole, "x.y": torch.zeros(1)}, r"iresnet18 .* it also has x\.y"),
        "shape": (
            {**whole, "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)},
            r"layer1\.0\.conv1\.weight is \(64, 64, 1, 1\), not \(64, 64, 3, 3\)",
        ),
        "depth": (
            {**whole, "layer1.2.bn1.weight": torch.zeros(64)},
            r"no network of arcface_torch that is known here \(iresnet18, .*mbf\): it has stages "
            r"of 3, 2, 2, 2 units",
        ),
        "other": ({"weight": torch.zeros(2)}, r"it has other names"),
        "number": ({"epoch": 3}, r"something other than tensors by their names"),
        "tensor": (torch.zeros(3), r"something other than tensors by their names"),
        "empty": ({}, r"something other than tensors by their names"),
        "by number": ({0: torch.zeros(2)}, r"other names|something other"),
        "code": ({"x": Code()}, r"holds more than tensors, which could run code and is not loaded"),
        "module": (build_backbone("mbf", size=8), r"save the network's state_dict\(\) alone"),
        "parallel": (
            {f"module.{key}": value for key, value in lacking.items()},
            r"is no iresnet18 of arcface_torch: it lacks layer2\.1\.bn3\.weight",
        ),
        "half parallel": (
            {**whole, "module.fc.bias": whole["fc.bias"]},
            r"it also has module\.fc\.bias",
        ),
    }
    for name, (content, words) in files.items():
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=words) as caught:
            read_arcface_torch(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""  # weights alone are loaded
    save_checkpoint(tmp_path / "ours.pth", {"step": 1, "backbone": {}})
    with pytest.raises(CheckpointError, match=r"a checkpoint of `fit` ends in \.pt"):
        read_arcface_torch(tmp_path / "ours.pth")
    torch.save(whole, tmp_path / "cut.pth")
    content = (tmp_path / "cut.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.pth").write_text("hello")
    for name in ("cut", "text"):
        with pytest.raises(CheckpointError, match=r"no backbone\.pth of arcface_torch, or is dama"):
            read_arcface_torch(tmp_path / f"{name}.pth")
    with pytest.raises(CheckpointError, match=re.escape("gone.pth: no such file or directory")):
        read_arcface_torch(tmp_path / "gone.pth")


def test_the_state_of_a_parallel_network_is_read(tmp_path):
    state = random_state(shapes_of("iresnet18", 16))
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "x.pth")
    read, name, size = read_arcface_torch(tmp_path / "x.pth")
    assert (name, size) == ("iresnet18", 16)
    assert read.keys() == state.keys()
    backbone = build_backbone(name, size=size)
    load_weights(backbone, str(tmp_path / "x.pth"))
    close(ours(backbone), embed(state, PIXELS))


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"cannot write .*x\.pth: (file exists|not a directory)"):
        write_arcface_torch(build_backbone("mbf", size=8), tmp_path / "file" / "x.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
