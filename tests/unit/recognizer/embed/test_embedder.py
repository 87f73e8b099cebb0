import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recognizer.card import CARD_KEY, ModelCard, card_from, read_card, write_card
from recognizer.embed.embedder import Embedder
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.errors import ModelCardError, ModelFileError

SIZE = 4
FACTS = {
    "input_size": [112, 112],
    "colour_order": "rgb",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "embedding_size": SIZE,
    "threshold": 0.3,
    "far": 1e-3,
    "source": "made here",
    "licence": "Apache-2.0",
    "trained_on": "nothing",
}


def card(**changes: object) -> ModelCard:
    return card_from({**FACTS, **changes}, name="toy")


def toy_model(side: int = 112, *, batch: int | str = 1) -> onnx.ModelProto:
    """Channel means and the mean of the left half, with a weight that is listed as an input."""
    shape = [batch, 3, side, side]
    weight = numpy_helper.from_array(np.eye(3, SIZE, dtype=np.float32) + 0.1, "weight")
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weight"], ["out"]),
    ]
    inputs = [
        helper.make_tensor_value_info("data", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("weight", TensorProto.FLOAT, [3, SIZE]),
    ]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [batch, SIZE])]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def expected(crops: np.ndarray, mean: float = 0, std: float = 1) -> np.ndarray:
    means = (crops.astype(np.float64).mean(axis=(1, 2)) - mean) / std
    raw = means @ (np.eye(3, SIZE) + 0.1)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def crops(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 112, 112, 3), dtype=np.uint8) // np.array(
        [1, 2, 3], np.uint8
    )


@pytest.fixture
def engine() -> OpenVinoEngine:
    return OpenVinoEngine(threads=1)


@pytest.mark.parametrize("n", [0, 1, 3, 32, 70])
def test_any_number_of_crops(engine: OpenVinoEngine, n: int) -> None:
    embeddings = Embedder(engine, toy_model(), card()).embed(crops(n))
    assert embeddings.shape == (n, SIZE)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, expected(crops(n)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_colour_order_and_normalisation_are_the_cards(engine: OpenVinoEngine) -> None:
    bgr = card(colour_order="bgr", mean=[10.0] * 3, std=[2.0] * 3)
    embeddings = Embedder(engine, toy_model(), bgr).embed(crops(3))
    np.testing.assert_allclose(embeddings, expected(crops(3)[..., ::-1], 10, 2), atol=1e-5)


def test_other_input_sizes_are_scaled(engine: OpenVinoEngine) -> None:
    small = Embedder(engine, toy_model(56, batch="N"), card(input_size=[56, 56]))
    np.testing.assert_allclose(small.embed(crops(2)), expected(crops(2)), atol=1e-2)


def test_flip_adds_the_mirrored_crop(engine: OpenVinoEngine) -> None:
    embedder = Embedder(engine, toy_model(), card())
    np.testing.assert_allclose(
        embedder.embed(crops(2), flip=True), embedder.embed(crops(2)), atol=1e-6
    )


def test_a_black_crop_gives_no_infinity(engine: OpenVinoEngine) -> None:
    black = np.zeros((1, 112, 112, 3), np.uint8)
    assert np.isfinite(Embedder(engine, toy_model(), card()).embed(black)).all()


@pytest.mark.parametrize("shape", [(112, 112, 3), (1, 3, 112, 112), (1, 96, 112, 3)])
def test_other_crops_are_refused(engine: OpenVinoEngine, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="crops must be"):
        Embedder(engine, toy_model(), card()).embed(np.zeros(shape, np.uint8))


def test_a_model_of_another_shape_is_refused(engine: OpenVinoEngine) -> None:
    with pytest.raises(ModelFileError, match="toy: out must be"):
        Embedder(engine, toy_model(), card(embedding_size=512))
    with pytest.raises(ModelFileError, match="toy: data must be"):
        Embedder(engine, toy_model(56), card())


def test_a_card_survives_its_model() -> None:
    model = toy_model()
    write_card(model, card())
    write_card(model, card(threshold=0.5))
    again = onnx.load_from_string(model.SerializeToString())
    assert read_card(again, name="x") == card(threshold=0.5)
    assert len(again.metadata_props) == 1


def test_a_model_without_card_asks_for_one() -> None:
    with pytest.raises(ModelCardError, match=r"toy\.onnx has no model card: .*models add"):
        read_card(toy_model(), name="toy.onnx")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"input_size": [112, 112]}', '{"hat": 1}'])
def test_a_wrong_card_is_refused(text: str) -> None:
    model = toy_model()
    entry = model.metadata_props.add()
    entry.key, entry.value = CARD_KEY, text
    with pytest.raises(ModelCardError, match=r"model card of toy\.onnx"):
        read_card(model, name="toy.onnx")


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour_order": "yuv"},
        {"input_size": [0, 112]},
        {"std": [0.0, 1.0, 1.0]},
        {"std": [float("inf"), 1.0, 1.0]},
        {"mean": [0.0]},
        {"mean": ["dark", 0.0, 0.0]},
        {"mean": [10**400, 0.0, 0.0]},
        {"mean": [float("nan"), 0.0, 0.0]},
        {"input_size": [10**9, 10**9]},
        {"input_size": ["112", "112"]},
        {"embedding_size": 0},
        {"embedding_size": 10**12},
        {"embedding_size": 128.5},
        {"threshold": 2.0},
        {"threshold": float("nan")},
    ],
)
def test_wrong_facts_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ModelCardError, match=next(iter(wrong))):
        card_from(json.loads(json.dumps({**FACTS, **wrong})), name="toy")
