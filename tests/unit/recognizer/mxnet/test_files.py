import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.errors import ModelFileError
from recognizer.mxnet.files import (
    DTYPES,
    V1_MAGIC,
    V2_MAGIC,
    V3_MAGIC,
    checkpoint_paths,
    read_params,
    read_symbol,
)

GENERATIONS = ["legacy", "v1", "v2", "v3"]


def pack_array(array: np.ndarray, generation: str, *, storage: int = 0) -> bytes:
    kind = next(k for k, name in DTYPES.items() if np.dtype(name) == array.dtype)
    n = array.ndim
    if generation == "legacy":
        head = struct.pack(f"<I{n}I", n, *array.shape)
    elif generation == "v1":
        head = struct.pack(f"<II{n}q", V1_MAGIC, n, *array.shape)
    else:
        magic = V2_MAGIC if generation == "v2" else V3_MAGIC
        head = struct.pack(f"<Iii{n}q", magic, storage, n, *array.shape)
    return head + struct.pack("<iii", 1, 0, kind) + array.tobytes()


def pack_params(arrays: dict[str, np.ndarray], generation: str = "v2") -> bytes:
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    parts += [pack_array(array, generation) for array in arrays.values()]
    parts.append(struct.pack("<Q", len(arrays)))
    parts += [struct.pack("<Q", len(name.encode())) + name.encode() for name in arrays]
    return b"".join(parts)


ARRAYS = {
    "arg:weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "aux:mean": np.array([1.5], np.float32),
    "plain": np.array([[3]], np.int32),
}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_generation_is_read(generation: str, tmp_path: Path) -> None:
    path = tmp_path / "m-0000.params"
    path.write_bytes(pack_params(ARRAYS, generation))
    params = read_params(path)
    assert list(params) == ["weight", "mean", "plain"]
    for read, written in zip(params.values(), ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(read, written)
        assert read.dtype == written.dtype


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_every_type_is_read(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "m.params"
    path.write_bytes(pack_params({"x": np.array([0, 1, 1], dtype)}))
    np.testing.assert_array_equal(read_params(path)["x"], [0, 1, 1])


def test_no_arrays(tmp_path: Path) -> None:
    path = tmp_path / "m.params"
    path.write_bytes(pack_params({}))
    assert read_params(path) == {}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_cut_off_file_is_refused_wherever_it_is_cut(generation: str, tmp_path: Path) -> None:
    path = tmp_path / "m.params"
    whole = pack_params(ARRAYS, generation)
    for end in range(0, len(whole), 3):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelFileError, match="is not an MXNet parameter file"):
            read_params(path)


@given(st.binary(max_size=300), st.integers(0, 200))
def test_noise_is_refused_or_read_but_never_crashes(tmp_path_factory, noise, at) -> None:
    path = tmp_path_factory.mktemp("noise") / "m.params"
    whole = bytearray(pack_params(ARRAYS))
    whole[at : at + len(noise)] = noise
    path.write_bytes(bytes(whole))
    with contextlib.suppress(ModelFileError):
        read_params(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (struct.pack("<QQQ", 0x112, 0, 2**60), "cannot be in"),
        (struct.pack("<QQQIiiq", 0x112, 0, 1, V2_MAGIC, 0, 1, 2**60) + bytes(12), "cut off"),
        (struct.pack("<QQQIiiq", 0x112, 0, 1, V2_MAGIC, 0, 1, -5) + bytes(12), "of shape"),
        (struct.pack("<QQQIi", 0x112, 0, 1, V2_MAGIC, 1) + bytes(20), "sparse"),
        (struct.pack("<QQQI", 0x112, 0, 1, 4000) + bytes(9), "4000 dimensions"),
        (pack_params(ARRAYS) + b"x", "1 bytes after the end"),
        (b"PK\x03\x04" + bytes(40), "wrong magic number"),
    ],
)
def test_malicious_and_foreign_files_are_refused(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.params"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=reason):
        read_params(path)


@pytest.mark.parametrize("key", ["param", "attr", "attrs"])
def test_attributes_of_every_version_are_read(key: str, tmp_path: Path) -> None:
    path = tmp_path / "m-symbol.json"
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {
            **{"op": "Convolution", "name": "c", "inputs": [[0, 0, 0]]},
            key: {"kernel": "(3, 3)", "no_bias": "True", "layout": "NCHW", "eps": "2e-05"},
        },
    ]
    path.write_text(json.dumps({"nodes": nodes, "arg_nodes": [0], "heads": [[1, 0, 0]]}))
    symbol = read_symbol(path)
    assert symbol.heads == ((1, 0),)
    assert symbol.nodes[1].attributes == {
        **{"kernel": (3, 3), "no_bias": True, "layout": "NCHW", "eps": 2e-05}
    }


def test_a_users_attributes_do_not_hide_the_operators(tmp_path: Path) -> None:
    path = tmp_path / "m-symbol.json"
    node = {"op": "Flatten", "name": "f", "inputs": [], "param": {"a": "1"}, "attr": {"b": "2"}}
    path.write_text(json.dumps({"nodes": [node], "heads": [[0, 0]]}))
    assert read_symbol(path).nodes[0].attributes == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"nodes": [], "heads": []}',
        '{"nodes": [{"op": "null", "name": "x", "inputs": [[0, 0]]}], "heads": [[0, 0]]}',
        '{"nodes": [{"op": "null", "name": "x", "inputs": []}], "heads": [[7, 0]]}',
        '{"nodes": [{"op": "null", "name": "x", "inputs": []}], "heads": [[0, 1e400]]}',
        "[" * 100_000,
    ],
)
def test_other_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m-symbol.json"
    path.write_text(text)
    with pytest.raises(ModelFileError, match="is not an MXNet symbol"):
        read_symbol(path)


@pytest.mark.parametrize("spec", ["", "model", "model,", ",1", "model,one", "model,-1"])
def test_a_spec_is_prefix_and_epoch(spec: str) -> None:
    with pytest.raises(ModelFileError, match="is not PREFIX,EPOCH"):
        checkpoint_paths(spec)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"m-symbol\.json: no such file"):
        checkpoint_paths(f"{tmp_path}/m,3")
    (tmp_path / "m-symbol.json").write_text("{}")
    with pytest.raises(ModelFileError, match=r"m-0003\.params: no such file"):
        checkpoint_paths(f"{tmp_path}/m,3")
