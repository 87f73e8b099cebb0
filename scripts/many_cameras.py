"""Measure many RTSP cameras on this machine: scripts/many_cameras.py 4 --fps 25 --seconds 60.

A real RTSP server (GStreamer's, as in the tests) sends one H.264 stream per camera in 1280x720: the
demo's lobby, each camera at a different time, so that two to five people are in view of each. One
viewer watches the first camera. The servers use CPU time too; the reported figures are only those
of the service. With --against DIR the code of another checkout, such as a git worktree of an older
commit, is measured on the same streams, alternately, since other work on the machine changes both.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av

from recognizer import default_cache, fetch_photos
from stream.demo.scene import DemoScene

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.rtsp_server import RtspServer, why_unavailable

FACEWIRE = [sys.executable, "-c", "from stream.cli.entry import main; main()"]
ENROLL = """
import sys
from pathlib import Path
from gallery import Gallery
from recognizer import default_cache, fetch_photos, open_recognizer
from stream.demo.scene import enrol_demo
model = open_recognizer()
size = model.embedding_size
with Gallery.open(Path(sys.argv[1]), model_id=model.model_id, embedding_size=size) as gallery:
    enrol_demo(gallery, model, fetch_photos(default_cache(), None))
"""
LOOP_S = 40
"""Length of each stream before it starts again."""


def main() -> None:
    """Serve the streams and bench the service on them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cameras", type=int, nargs="?", default=4)
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--viewers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout")
    parser.add_argument("--rounds", type=int, default=2, help="of each side, with --against")
    options = parser.parse_args()
    if reason := why_unavailable():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as servers:
        photos = fetch_photos(default_cache(), None)
        scene, urls = DemoScene(photos), []
        for number in range(options.cameras):
            file = Path(scratch, f"camera{number}.mp4")
            record(scene, file, start_s=number * LOOP_S / options.cameras, fps=options.fps)
            urls.append(servers.enter_context(RtspServer(file=file)).url)
        here = Path(__file__).parents[1]
        run = [f"--seconds={options.seconds}", f"--viewers={options.viewers}"]
        if options.against is None:
            environment = enrolled(here, Path(scratch, "data"))
            command = [*FACEWIRE, "bench", "stream", *urls, *run, *["--json"][: options.json]]
            sys.exit(subprocess.run(command, env=environment, check=False).returncode)
        sides = {"this": here, "against": options.against.resolve()}
        environments = {
            side: enrolled(checkout, Path(scratch, f"data-{side}"))
            for side, checkout in sides.items()
        }
        figures: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, checkout in sides.items():
                figures[side].append(measure(checkout, [*urls, *run], environments[side]))
        report(figures, as_json=options.json)


def enrolled(checkout: Path, data: Path) -> dict[str, str]:
    """Enroll the demo's people with the code of a checkout, whose files others may not read.

    Returns:
        The environment in which its commands use them.
    """
    environment = {**os.environ, "FACEWIRE_DATA": str(data), "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", ENROLL, str(data / "gallery")]
    subprocess.run(command, env=environment, cwd=checkout, check=True)
    return environment


def measure(checkout: Path, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run the bench with the code of a checkout; return its figures."""
    done = subprocess.run(
        [*FACEWIRE, "bench", "stream", *arguments, "--json"],
        env=environment,
        cwd=checkout,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    for camera in found["cameras"]:
        # older checkouts spell it so
        camera.setdefault("fps_recognized", camera.get("fps_recognised"))
    followed = sum(camera["fps_recognized"] for camera in found["cameras"])
    found["followed_per_core_second"] = followed / found["cores"]
    return found


def report(figures: dict[str, list[dict[str, Any]]], *, as_json: bool) -> None:
    """Print both sides, and the ratio of the frames followed per core-second."""
    medians = {
        side: statistics.median(run["followed_per_core_second"] for run in runs)
        for side, runs in figures.items()
    }
    ratio = medians["this"] / medians["against"]
    if as_json:
        print(json.dumps({**figures, "ratio": ratio}, indent=2))
        return
    for side, runs in figures.items():
        for run in runs:
            rates = " ".join(f"{camera['fps_recognized']:.1f}" for camera in run["cameras"])
            print(
                f"{side:8} {run['followed_per_core_second']:6.1f} frames a core-second, "
                f"{run['cores']:.2f} cores, time to name p95 "
                f"{run['time_to_name_ms']['p95'] / 1e3:.2f} s, followed {rates}"
            )
    print(f"ratio {ratio:.2f}")


def record(scene: DemoScene, file: Path, *, start_s: float, fps: int) -> None:
    """Write LOOP_S seconds of the demo, with a keyframe each second, like an IP camera."""
    with av.open(str(file), "w") as out:
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23", "g": str(fps)}
        stream = out.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(LOOP_S * fps):
            image = scene.render(start_s + number / fps)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    main()
