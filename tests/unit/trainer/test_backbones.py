from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.shared_data import shared_data
from trainer.backbones import BACKBONES, build_backbone
from trainer.errors import CheckpointError, RecipeError
from trainer.export_mxnet import symbol_of, write_mxnet
from trainer.mxnet_params import load_mxnet, mxnet_names

# numbers in the arguments without the classifier, in the BN statistics, and arrays:
# measured with MXNet's infer_shape, 1 x 3 x 112 x 112
TABLE = {
    "r18": (24_025_600, 14_720, 94),
    "r34": (34_139_328, 25_856, 166),
    "r50": (43_590_848, 38_144, 238),
    "r50v1": (43_585_920, 27_392, 214),
    "r100": (65_156_160, 69_632, 463),
    "y1": (1_003_264, 19_584, 184),
    "m1": (3_400_960, 23_424, 115),
    "m05": (982_016, 12_480, 115),
    "mnas": (3_260_556, 39_968, 199),
    "mnas05": (925_400, 20_240, 199),
    "mnas025": (286_782, 10_376, 199),
    "d169": (54_228_263, 162_752, 679),
    "d201": (66_259_783, 233_920, 807),
}


@pytest.mark.parametrize("name", TABLE)
def test_counts_are_those_of_the_reference(name):
    with torch.device("meta"):  # shapes alone: the large ones would take seconds to draw
        backbone = BACKBONES[name].build(BACKBONES[name].size, BACKBONES[name].output, "prelu")
    names = mxnet_names(backbone)
    counts = [sum(t.numel() for n, t in names.items() if n.startswith(k)) for k in ("arg", "aux")]
    assert (*counts, sum(n.startswith("arg") for n in names)) == TABLE[name]
    listed = [n["name"] for n in symbol_of(backbone)["nodes"] if n["op"] == "null"]
    assert sorted(listed) == sorted(["data", *(name[4:] for name in names)])


@pytest.mark.parametrize("name", ["y1", "y2", "m025", "mnas025"])
def test_an_embedding_of_each_face_comes_out(name):
    backbone = build_backbone(name).eval()
    pixels = torch.rand(2, 3, 112, 112) * 255
    with torch.no_grad():
        both, one = backbone(pixels), backbone(pixels[1:])
    assert both.shape == (2, BACKBONES[name].size)
    torch.testing.assert_close(both[1:], one, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("output", ["E", "F", "G", "H", "I", "J", "GDC", "GAP"])
def test_every_head_gives_the_wanted_size(output):
    backbone = build_backbone("m025", size=8, output=output).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 112, 112)).shape == (1, 8)


def test_unknown_names_are_named():
    with pytest.raises(RecipeError, match="unknown backbone 'r49'"):
        build_backbone("r49")
    with pytest.raises(RecipeError, match="unknown head 'Q'"):
        build_backbone("y1", output="Q")


def test_the_same_seed_gives_the_same_weights():
    a, b, c = (build_backbone("m025", seed=s).conv_1.conv2d.weight for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_published_gender_and_age_network_loads_and_agrees_with_mxnet():
    path = shared_data("models/genderage-0000.params")
    with np.load(shared_data("golden/mtcnn_ga_golden.npz")) as golden:
        chips = golden["test.jpeg|det0|chips_rgb_chw"]
        expected = golden["test.jpeg|det0|ga_raw"]
    backbone = build_backbone("m025", size=202, output="GAP", act="relu").eval()
    load_mxnet(backbone, path)
    with torch.no_grad():
        actual = backbone(torch.from_numpy(chips).float())
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_what_is_written_is_loaded(tmp_path):
    written, read = build_backbone("m025", seed=1), build_backbone("m025", seed=2)
    _, params = write_mxnet(written, tmp_path / "a" / "m", 7)
    assert params == tmp_path / "a" / "m-0007.params"
    load_mxnet(read, params)
    for name, tensor in written.state_dict().items():
        assert torch.equal(tensor, read.state_dict()[name]), name


def test_another_network_is_refused_by_name(tmp_path):
    _, params = write_mxnet(build_backbone("m025"), tmp_path / "m", 0)
    with pytest.raises(CheckpointError, match="it lacks bn1_beta"):
        load_mxnet(build_backbone("m025", output="E"), params)
    with pytest.raises(CheckpointError, match="conv_1_conv2d_weight is"):
        load_mxnet(build_backbone("m05"), params)
    with pytest.raises(CheckpointError, match="also has conv_6dw7_7"):
        load_mxnet(build_backbone("m025", output="J"), params)
    with pytest.raises(CheckpointError, match="cannot read"):
        load_mxnet(build_backbone("m025"), Path("none.params"))
