"""Measure many RTSP cameras on this machine: scripts/many_cameras.py 4 --fps 25 --seconds 60.

A real RTSP server (GStreamer's, as in the tests) sends one H.264 stream per camera in 1280x720: the
demo's lobby, each camera at a different time, so that two to five people are in view of each. One
viewer watches the first camera. The servers use CPU time too; the reported figures are only those
of the service.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import av

from gallery import Gallery
from recognizer import default_cache, fetch_photos, open_recognizer
from stream.demo.scene import DemoScene, enrol_demo

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.rtsp_server import RtspServer, why_unavailable

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
        data = Path(scratch, "data", "gallery")
        recognizer = open_recognizer()
        size = recognizer.embedding_size
        with Gallery.open(data, model_id=recognizer.model_id, embedding_size=size) as gallery:
            enrol_demo(gallery, recognizer, photos)
        command = [str(Path(sys.executable).with_name("facewire")), "bench", "stream", *urls]
        command += [f"--seconds={options.seconds}", f"--viewers={options.viewers}"]
        command += ["--json"] if options.json else []
        environment = {**os.environ, "FACEWIRE_DATA": str(data.parent)}
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)


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
