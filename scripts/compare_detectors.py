"""Compare facewire's detector with facenet-pytorch 2.6's: same images, faces and threads.

    python scripts/compare_detectors.py --pictures FOLDER... [--threads 1] [--min-face-px 40]

The peer is installed once into a separate environment (about 1 GB with torch), because it requires
older versions of numpy and torch.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from recognizer import Image, ImageError, default_cache, open_recognizer, read_image

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
SAME_FACE = 0.4  # minimum intersection over union of two boxes of one face
TIMED = 12  # images that are timed: the largest, five rounds each
ROUNDS = 5

# runs in the peer's environment: images in a .npz, faces and milliseconds out as JSON
PEER = """
import json, statistics, sys, time, types, warnings
warnings.filterwarnings("ignore")
sys.modules["requests"] = types.ModuleType("requests")  # only for downloads we do not want
sys.modules["requests.adapters"] = types.ModuleType("requests.adapters")
sys.modules["requests.adapters"].HTTPAdapter = object
import numpy as np, torch
from facenet_pytorch.models.mtcnn import MTCNN
pictures, threads, side, timed, rounds = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
mtcnn = MTCNN(keep_all=True, min_face_size=side, thresholds=[0.6, 0.7, 0.7], device="cpu")
answer = {"boxes": [], "scores": [], "ms": []}
arrays = np.load(pictures)
for i, key in enumerate(arrays.files):
    image = arrays[key]
    spans = []
    for _ in range(rounds if i < timed else 1):
        start = time.perf_counter()
        boxes, scores = mtcnn.detect(image)
        spans.append(1e3 * (time.perf_counter() - start))
    answer["boxes"].append([] if boxes is None else boxes.tolist())
    answer["scores"].append([] if boxes is None else scores.tolist())
    answer["ms"].append(statistics.median(spans))
print(json.dumps(answer))
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--min-face-px", type=int, default=40)
    parser.add_argument("--environment", type=Path, default=default_cache() / "facenet-pytorch")
    options = parser.parse_args()
    pictures = read_all(options.pictures)
    peer = run_peer(install_peer(options.environment), pictures, options)
    cv2.setNumThreads(options.threads)
    recognizer = open_recognizer(
        device="cpu", threads=options.threads, min_face_px=options.min_face_px
    )
    n_theirs = n_found = n_ours = 0
    ratios, ours_ms = [], []
    for i, (name, image) in enumerate(pictures.items()):
        spans = []
        for _ in range(ROUNDS + 1 if i < TIMED else 1):
            start = time.perf_counter()
            (found,) = recognizer.detect([image])
            spans.append(1e3 * (time.perf_counter() - start))
        if i < TIMED:
            ours_ms.append(statistics.median(spans[1:]))
            ratios.append(peer["ms"][i] / ours_ms[-1])
        theirs = np.array(peer["boxes"][i]).reshape(-1, 4)
        is_found = overlaps(theirs, found.boxes).max(axis=1, initial=0) >= SAME_FACE
        n_theirs, n_found = n_theirs + len(theirs), n_found + int(is_found.sum())
        n_ours += len(found)
        for box, score in zip(
            theirs[~is_found], np.array(peer["scores"][i])[~is_found], strict=True
        ):
            print(f"not found: {name} at {box.round().astype(int).tolist()}, score {score:.2f}")
    peer_ms = statistics.median(peer["ms"][:TIMED])
    print(f"{len(pictures)} pictures, smallest face {options.min_face_px} px")
    print(f"{'':<18}{'faces':>8}{'ms':>8}   ({options.threads} threads, {TIMED} largest pictures)")
    print(f"{'facenet-pytorch':<18}{n_theirs:>8}{peer_ms:>8.1f}")
    print(f"{'facewire':<18}{n_ours:>8}{statistics.median(ours_ms):>8.1f}")
    print(f"of its faces found: {n_found}; times faster: {statistics.median(ratios):.1f} (median)")


def read_all(folders: list[Path]) -> dict[str, Image]:
    """Return every image below the folders, the largest first."""
    pictures = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                try:
                    pictures[str(path)] = read_image(path)
                except ImageError as error:
                    print(error, file=sys.stderr)
    if not pictures:
        sys.exit("no pictures in these folders")
    return dict(sorted(pictures.items(), key=lambda item: -item[1].size))


def install_peer(folder: Path) -> Path:
    """Install facenet-pytorch without its pins; return its Python."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "torch", "torchvision", "pillow", "numpy", "tqdm"], check=True)
        subprocess.run([*pip, "--no-deps", "facenet-pytorch==2.6.0"], check=True)
        (folder / "ready").touch()
    return python


def run_peer(
    python: Path, pictures: dict[str, Image], options: argparse.Namespace
) -> dict[str, Any]:
    """Return the peer's detections."""
    with tempfile.TemporaryDirectory() as scratch:
        arrays = Path(scratch) / "pictures.npz"
        np.savez(arrays, *pictures.values())
        numbers = [options.threads, options.min_face_px, TIMED, ROUNDS]
        command = [str(python), "-c", PEER, str(arrays), *map(str, numbers)]
        finished = subprocess.run(command, check=True, capture_output=True, text=True)
        found: dict[str, Any] = json.loads(finished.stdout)
    return found


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return intersection over union of (N, 4) with (M, 4) boxes: (N, M)."""
    corner = np.maximum(first[:, None, :2], second[None, :, :2])
    size = np.clip(np.minimum(first[:, None, 2:], second[None, :, 2:]) - corner, 0, None)
    shared = size.prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.asarray(shared / (areas[0][:, None] + areas[1] - shared))


if __name__ == "__main__":
    main()
