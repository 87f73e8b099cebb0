"""Compare the trainer with real MXNet: records, networks, losses, gradients, verification.

Run by scripts/mxnet_oracle, which creates MXNet's environment. This file is both sides: run by the
project's Python it prepares files and compares; run by MXNet's (`--mxnet DIR`) it writes results.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = ("y1", "y2", "m1", "r50")
TOLERANCE = 2e-5  # of embeddings, relative to the largest number
LOSS_TOLERANCE = 1e-4
# Norm of the difference of all gradients together, relative to their norm. Rounding errors grow
# with every batch norm in the backward pass, in both libraries: y2, with 103 of them, has 0.9e-2.
GRADIENT_TOLERANCE = {"y1": 1e-2, "y2": 2e-2, "m1": 1e-2, "r50": 1e-2}
# MXNet 1.9.1 on a CPU overwrites the input with this activation and then uses it as the input: its
# gradient of the slope is too small by exactly the slope. All others are compared.
NOT_COMPARED = {"m1": {"conv_14_relu_gamma"}}
CLASSES, BATCH = 7, 4
SCALE, M2 = 64.0, 0.5  # arcface


def main() -> int:
    """Prepare files, run MXNet, compare; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", nargs="?", help="MXNet's Python")
    parser.add_argument("--mxnet", type=Path, help="be MXNet's side, on the files of DIR")
    arguments = parser.parse_args()
    if arguments.mxnet:
        answer(arguments.mxnet)
        return 0
    if not arguments.python:
        parser.error("start scripts/mxnet_oracle instead")
    with tempfile.TemporaryDirectory(prefix="facewire-oracle-") as scratch:
        folder = Path(scratch)
        prepare(folder)
        done = subprocess.run(
            [arguments.python, "-W", "ignore", __file__, "--mxnet", scratch],
            check=False,
            env={**os.environ, "MXNET_SUBGRAPH_VERBOSE": "0"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(done.stderr[-3000:], file=sys.stderr)
            return 1
        return compare(folder)


def pictures(n: int) -> np.ndarray:
    """Return (n, 112, 112, 3) uint8 noise with some structure, the same in every run."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (n, 14, 14, 3))
    fine = rng.integers(-20, 21, (n, 112, 112, 3))
    images = np.kron(coarse, np.ones((1, 8, 8, 1), int)) + fine
    return np.asarray(np.clip(images, 0, 255), np.uint8)


# ---- the project's side


def prepare(folder: Path) -> None:
    """Write the project's records and checkpoints, and its networks' outputs for the images."""
    import torch
    from torch import nn

    from trainer.backbones import build_backbone
    from trainer.backbones.mxnet_params import load_mxnet, mxnet_names
    from trainer.data.faceset import FaceSetWriter, encode
    from trainer.data.framing import MAGIC_BYTES
    from trainer.data.recordio import Record, RecordWriter
    from trainer.export.mxnet import write_mxnet

    crops = pictures(BATCH)
    np.save(folder / "crops.npy", crops)
    with FaceSetWriter(folder / "set") as writer:
        writer.add([encode(crop, quality=0) for crop in crops[:2]])
        writer.add([encode(crop) for crop in crops[2:]])
    with RecordWriter(folder / "odd.rec") as records:
        records.write(3, Record((5.0,), 3, MAGIC_BYTES * 3 + b"abc"))
        records.write(1, Record((1.0, 2.5), 1, MAGIC_BYTES + b"x" + MAGIC_BYTES, is_vector=True))

    published = Path(os.environ.get("FACEWIRE_SHARED", "../shared")) / "data/models/y1-0000.params"
    torch.manual_seed(0)
    images = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    labels = torch.arange(BATCH)
    np.save(folder / "labels.npy", labels.numpy().astype(np.float32))
    for name in NETWORKS:
        backbone = build_backbone(name, seed=3)
        if name == "y1" and published.exists():
            load_mxnet(backbone, published)
        else:
            for layer in backbone.modules():
                if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                    layer.state_dict()["running_mean"].normal_(0, 0.1)
                    layer.state_dict()["running_var"].uniform_(0.5, 1.5)
        for layer in backbone.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0  # MXNet draws other numbers
        write_mxnet(backbone, folder / name, 1)
        backbone.eval()
        with torch.no_grad():
            embeddings = backbone(images)
        weight = torch.randn(CLASSES, embeddings.shape[1]).mul(0.1)
        np.save(folder / f"{name}-embeddings.npy", embeddings.numpy())
        np.save(folder / f"{name}-fc7.npy", weight.numpy())
        arrays = train_once(backbone, images, labels, weight)
        names = {id(tensor): key for key, tensor in mxnet_names(backbone).items()}
        for parameter in backbone.parameters():
            if parameter.grad is not None:
                arrays[names[id(parameter)][4:]] = parameter.grad.numpy()
        np.savez(folder / f"{name}-ours.npz", **arrays)


def train_once(backbone: Any, images: Any, labels: Any, weight: Any) -> dict[str, Any]:
    """Run one arcface batch; return loss and the gradient of the classes."""
    import torch

    from trainer.heads.classification import MARGINS, MarginHead

    head = MarginHead(CLASSES, weight.shape[1], MARGINS["arcface"], generator=torch.Generator())
    head.weight.data = weight.clone()
    backbone.train()
    result = head(backbone(images), labels)
    result.loss.backward()
    assert head.weight.grad is not None
    return {"loss": np.array(result.loss.item()), "fc7": head.weight.grad.numpy()}


def compare(folder: Path) -> int:
    """Print every comparison; return 1 if one fails."""
    from trainer.data.faceset import FaceSet
    from trainer.data.recordio import RecordReader

    failures = 0

    def check(what: str, value: float, bound: float) -> None:
        nonlocal failures
        good = value <= bound
        failures += not good
        print(f"{'ok    ' if good else 'FAILED'} {what}: {value:.2e} (bound {bound:.0e})")

    facts = json.loads((folder / "facts.json").read_text())
    check("MXNet reads our records: differing images", facts["differing"], 0)
    check("its writer makes other bytes of them: files", facts["other_bytes"], 0)
    theirs = FaceSet(folder / "theirs")
    ours = FaceSet(folder / "set")
    differing = sum(ours.reader.read(key) != theirs.reader.read(key) for key in ours.reader.offsets)
    check("we read its records: differing records", differing, 0)
    odd, odd2 = RecordReader(folder / "odd.rec"), RecordReader(folder / "odd2.rec")
    check("records in parts differ", sum(odd.read(k) != odd2.read(k) for k in (1, 3)), 0)
    for name in NETWORKS:
        mine = np.load(folder / f"{name}-embeddings.npy")
        other = np.load(folder / f"{name}-mxnet.npy")
        check(
            f"{name} embeddings", float(np.abs(mine - other).max() / np.abs(mine).max()), TOLERANCE
        )
        with (
            np.load(folder / f"{name}-ours.npz") as us,
            np.load(folder / f"{name}-grads.npz") as them,
        ):
            loss = abs(float(us["loss"]) - float(them["loss"])) / abs(float(us["loss"]))
            check(f"{name} arcface loss", loss, LOSS_TOLERANCE)
            keys = set(us.files) - {"loss"} - NOT_COMPARED.get(name, set())
            assert keys <= set(them.files), keys - set(them.files)
            off = np.sqrt(sum(np.square(us[key] - them[key]).sum() for key in keys))
            all_of = np.sqrt(sum(np.square(us[key]).sum() for key in keys))
            check(f"{name} gradients of {len(keys)} arrays", off / all_of, GRADIENT_TOLERANCE[name])
    print("all agree" if not failures else f"{failures} differ")
    return int(failures > 0)


# ---- MXNet's side: nothing of the project is imported here


def answer(folder: Path) -> None:
    """Read the project's files with MXNet, and write its results."""
    import mxnet as mx

    crops = np.load(folder / "crops.npy")
    images = mx.nd.array(crops.transpose(0, 3, 1, 2).astype(np.float32))
    records = read_records(mx, folder, crops)
    for name in NETWORKS:
        symbol, arg, aux = mx.model.load_checkpoint(str(folder / name), 1)
        module = mx.mod.Module(symbol, label_names=None, context=mx.cpu())
        module.bind([("data", images.shape)], for_training=False)
        module.set_params(arg, aux)
        module.forward(mx.io.DataBatch([images]), is_train=False)
        np.save(folder / f"{name}-mxnet.npy", module.get_outputs()[0].asnumpy())
        gradients(mx, folder, name, symbol, arg, aux, images)
    (folder / "facts.json").write_text(json.dumps(records))


def read_records(mx: Any, folder: Path, crops: Any) -> dict[str, Any]:
    """Read the project's record set, and write it again with MXNet's writer."""
    ours = mx.recordio.MXIndexedRecordIO(
        str(folder / "set/train.idx"), str(folder / "set/train.rec"), "r"
    )
    (folder / "theirs").mkdir()
    theirs = mx.recordio.MXIndexedRecordIO(
        str(folder / "theirs/train.idx"), str(folder / "theirs/train.rec"), "w"
    )
    differing = 0
    for key in ours.keys:
        payload = ours.read_idx(key)
        header, image = mx.recordio.unpack(payload)
        if 1 <= key <= 2:  # PNG: exactly the project's pixels, RGB
            decoded = mx.image.imdecode(image).asnumpy()
            differing += not np.array_equal(decoded, crops[key - 1])
        theirs.write_idx(key, mx.recordio.pack(header, image))
    theirs.close()
    odd = mx.recordio.MXIndexedRecordIO(str(folder / "odd.idx"), str(folder / "odd.rec"), "r")
    odd2 = mx.recordio.MXIndexedRecordIO(str(folder / "odd2.idx"), str(folder / "odd2.rec"), "w")
    for key in odd.keys:
        odd2.write_idx(key, odd.read_idx(key))
    odd2.close()
    files = [("set/train.rec", "theirs/train.rec"), ("odd.rec", "odd2.rec")]
    files += [(a.replace(".rec", ".idx"), b.replace(".rec", ".idx")) for a, b in files]
    other = sum((folder / a).read_bytes() != (folder / b).read_bytes() for a, b in files)
    return {"differing": int(differing), "other_bytes": other}


def gradients(
    mx: Any, folder: Path, name: str, symbol: Any, arg: Any, aux: Any, images: Any
) -> None:
    """Run one arcface batch as the reference builds it, and save loss and gradients."""
    classes = np.load(folder / f"{name}-fc7.npy")
    weight = mx.sym.Variable("fc7_weight", shape=classes.shape)
    label = mx.sym.Variable("softmax_label")
    unit_weight = mx.sym.L2Normalization(weight, mode="instance")
    embedding = mx.sym.L2Normalization(symbol, mode="instance", name="fc1n") * SCALE
    fc7 = mx.sym.FullyConnected(
        data=embedding, weight=unit_weight, no_bias=True, num_hidden=CLASSES, name="fc7"
    )
    own = mx.sym.pick(fc7, label, axis=1)
    moved = mx.sym.cos(mx.sym.arccos(own / SCALE) + M2) * SCALE
    change = mx.sym.expand_dims(moved - own, 1)
    hot = mx.sym.one_hot(label, depth=CLASSES, on_value=1.0, off_value=0.0)
    fc7 = fc7 + mx.sym.broadcast_mul(hot, change)
    output = mx.sym.SoftmaxOutput(data=fc7, label=label, name="softmax", normalization="valid")
    labels = mx.nd.array(np.load(folder / "labels.npy"))
    arg = {**arg, "fc7_weight": mx.nd.array(classes)}
    bound = output.simple_bind(
        mx.cpu(), grad_req="write", data=images.shape, softmax_label=labels.shape
    )
    bound.copy_params_from(arg, aux)
    probability = bound.forward(is_train=True, data=images, softmax_label=labels)[0].asnumpy()
    bound.backward()
    chosen = probability[np.arange(len(probability)), labels.asnumpy().astype(int)]
    arrays = {k: v.asnumpy() for k, v in bound.grad_dict.items() if v is not None}
    arrays["fc7"] = arrays.pop("fc7_weight")
    np.savez(folder / f"{name}-grads.npz", loss=-np.log(chosen).mean(), **arrays)


if __name__ == "__main__":
    sys.exit(main())
