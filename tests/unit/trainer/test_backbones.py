from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.shared_data import shared_data
from trainer.backbones import BACKBONES, build_backbone
from trainer.backbones.layers import EqualNorms
from trainer.backbones.mxnet_params import load_mxnet, mxnet_names
from trainer.errors import CheckpointError, RecipeError
from trainer.export.mxnet import symbol_of, write_mxnet

# numbers in the arguments without the classifier, in the BN statistics, and arrays:
# measured with MXNet's infer_shape, 1 x 3 x 112 x 112
TABLE = {
    "r18": (24_025_600, 14_720, 94),
    "r34": (34_139_328, 25_856, 166),
    "r50": (43_590_848, 38_144, 238),
    "r50v1": (43_585_920, 27_392, 214),
    "r100": (65_156_160, 69_632, 463),
    "y1": (1_003_264, 19_584, 184),
    "y2": (1_996_288, 38_400, 378),
    "m1": (3_400_960, 23_424, 115),
    "m05": (982_016, 12_480, 115),
    "mnas": (3_260_556, 39_968, 199),
    "mnas05": (925_400, 20_240, 199),
    "mnas025": (286_782, 10_376, 199),
    "r100fc": (65_156_160, 69_632, 463),
    "d121": (32_639_991, 86_720, 487),
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


# of the sorted names and shapes that MXNet 1.9.1 lists for the reference's gluon networks, and for
# y2, which came later
DIGESTS = {
    "y2": "875e09ec9a047335",
    "mnas": "bf84f4d7cebf62c8",
    "mnas05": "e94ef5e2dff3d879",
    "mnas025": "ca6b257e2835c104",
    "d121": "f2126491c109c1d9",
    "d169": "f96141263b8c1f9d",
    "d201": "30a014b39dfe4d0c",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_names_and_shapes_are_those_of_mxnet(name):
    with torch.device("meta"):
        backbone = BACKBONES[name].build(BACKBONES[name].size, BACKBONES[name].output, "prelu")
    lines = sorted(f"{key} {tuple(t.shape)}" for key, t in mxnet_names(backbone).items())
    assert sha256("\n".join(lines).encode()).hexdigest()[:16] == DIGESTS[name]


def test_an_se_block_adds_its_arrays_after_the_last_norm():
    with torch.device("meta"):
        plain, other = (
            mxnet_names(build(512, "E", "prelu"))
            for build in (BACKBONES["r18"].build, BACKBONES["r18"].build_se)
            if build is not None
        )
    added = {key: tuple(t.shape) for key, t in other.items() if key not in plain}
    assert len(added) == 8 * 5
    assert {key: shape for key, shape in added.items() if "stage4_unit2" in key} == {
        "arg:stage4_unit2_se_conv1_weight": (32, 512, 1, 1),
        "arg:stage4_unit2_se_conv1_bias": (32,),
        "arg:stage4_unit2_se_relu1_gamma": (32,),
        "arg:stage4_unit2_se_conv2_weight": (512, 32, 1, 1),
        "arg:stage4_unit2_se_conv2_bias": (512,),
    }
    with pytest.raises(RecipeError, match=r"y1 has no SE blocks \(with backbone\.se: r18,"):
        build_backbone("y1", se=True)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (128, {"bn6f": (512,), "bn6w": (512,), "pre_fc1": (128, 512), "fc1": (128,)}),
        (512, {"bn6f": (512,), "fc1": (512,)}),
        (
            600,
            {
                "convx": (600, 512, 1, 1),
                "convx_bn": (600,),
                "convx_relu": (600,),
                "bn6f": (600,),
                "fc1": (600,),
            },
        ),
    ],
)
def test_gnap_has_the_reference_names_and_no_neighbours(size, expected):
    backbone = build_backbone("y1", size=size, output="GNAP").eval()
    head: dict[str, Any] = {
        k: m for k, m in backbone.named_children() if k.startswith(("bn", "pre", "fc", "convx"))
    }
    assert {key: tuple(layer.weight.shape) for key, layer in head.items()} == expected
    pixels = torch.rand(2, 3, 112, 112) * 255
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels)[1:], backbone(pixels[1:]), rtol=1e-4, atol=1e-4)


def test_gnap_of_an_empty_map_has_a_gradient():
    x = torch.zeros(1, 4, 7, 7, requires_grad=True)
    EqualNorms()(x).sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ["y1", "y2", "m025", "mnas025"])
def test_an_embedding_of_each_face_comes_out(name):
    backbone = build_backbone(name).eval()
    pixels = torch.rand(2, 3, 112, 112) * 255
    with torch.no_grad():
        both, one = backbone(pixels), backbone(pixels[1:])
    assert both.shape == (2, BACKBONES[name].size)
    torch.testing.assert_close(both[1:], one, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("output", ["E", "F", "FC", "G", "H", "I", "J", "GDC", "GAP", "GNAP"])
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


def test_an_output_without_weights_names_the_size_to_set():
    with pytest.raises(RecipeError, match=r"set backbone\.size = 12544, or choose another output"):
        build_backbone("m025", size=16, output="Z")
