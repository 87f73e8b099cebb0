"""A real RTSP server for tests: GStreamer's, in a separate process under Debian's Python.

This file has two parts. Imported, it is the harness `RtspServer`; run by /usr/bin/python3, which
has GStreamer's bindings and not this project, it is the server.
"""

import argparse
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

DEBIAN_PYTHON = Path("/usr/bin/python3")
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-tools gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly "
    "gstreamer1.0-libav gstreamer1.0-rtsp"
)
START_TIMEOUT_S = 300.0

Auth = Literal["basic", "digest"]


def why_unavailable() -> str:
    """Return one line on why the server cannot run here; empty if it can."""
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    try:
        done = subprocess.run([DEBIAN_PYTHON, "-c", probe], capture_output=True, check=False)
    except FileNotFoundError:
        return f"{DEBIAN_PYTHON} is missing"
    return "" if done.returncode == 0 else f"no GStreamer RTSP server: apt-get install {PACKAGES}"


class RtspServer:
    """One RTSP server with one stream at /live.

    Args:
        file: to play in a loop, MP4 with H.264; None for GStreamer's moving test image.
        size: (height, width) of the test image.
        fps: frames per second of the test image.
        user: user name; empty for no authentication.
        password: password.
        auth: authentication scheme.
        codec: of the test image.
        is_fed: send the H.264 frames that `feed` is given, at once, instead.
    """

    path = "/live"

    def __init__(
        self,
        *,
        file: Path | None = None,
        size: tuple[int, int] = (360, 640),
        fps: int = 25,
        user: str = "",
        password: str = "",
        auth: Auth = "basic",
        codec: Literal["h264", "h265"] = "h264",
        is_fed: bool = False,
    ) -> None:
        self.file = file
        self.size = size
        self.fps = fps
        self.codec = codec
        self.is_fed = is_fed
        self.user, self.password, self.auth = user, password, auth
        from tests.ports import HeldPort  # Debian's Python, running this file, has no `tests`

        self._held = HeldPort()  # the server cannot report a port assigned to it
        self.port = self._held.port
        self._folder = tempfile.TemporaryDirectory(prefix="rtsp-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The stream's URL with the correct user and password."""
        return self.url_for(self.user, self.password)

    def url_for(self, user: str, password: str) -> str:
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
        return f"rtsp://{login}127.0.0.1:{self.port}{self.path}"

    def start(self) -> None:
        """Start, and return when it responds."""
        command = [str(DEBIAN_PYTHON), __file__, f"--port={self.port}", f"--path={self.path}"]
        command += [f"--height={self.size[0]}", f"--width={self.size[1]}", f"--fps={self.fps}"]
        command += [f"--codec={self.codec}", f"--auth={self.auth}", f"--user={self.user}"]
        if self.file is not None:
            elementary = Path(self._folder.name, "loop.h264")
            fps = extract_h264(self.file, elementary)
            command += [f"--file={elementary}", f"--file-fps={fps.numerator}/{fps.denominator}"]
        # By environment: every user can read the process list.
        environment = {**os.environ, "RTSP_PASSWORD": self.password, "GST_DEBUG": "0"}
        command += ["--fed"] if self.is_fed else []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if self.is_fed else None,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_TIMEOUT_S)
        if not ready or self._process.stdout.readline() != b"ready\n":
            self.kill()
            raise RuntimeError("the RTSP server did not start, its errors are above")

    def feed(self, picture: bytes) -> None:
        """Send one frame, H.264 with start codes; dropped without viewers."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(len(picture).to_bytes(4, "big") + picture)
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kill it at once, like a power cut; does nothing if it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None

    def restart(self) -> None:
        """Kill and start on the same port, with the current attributes."""
        self.kill()
        self.start()

    def hang(self) -> None:
        """Stop responding without closing anything."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo `hang`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._held.close()
        self._folder.cleanup()


def extract_h264(file: Path, target: Path) -> Fraction:
    """Write a file's H.264 without the MP4 container; return its frames per second."""
    import av

    with av.open(str(file)) as source, av.open(str(target), "w", format="h264") as out:
        stream = source.streams.video[0]
        fps = stream.average_rate or stream.guessed_rate
        assert fps is not None
        copy = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    return Fraction(fps.numerator, fps.denominator)


# x264enc adds no delay, one slice per frame; the payloader sends SPS and PPS only in the SDP
# and as the encoder does, for with config-interval=-1 keyframes decode half green.
TEST_PICTURE = (
    "videotestsrc is-live=true pattern=ball ! "
    "video/x-raw,width={width},height={height},framerate={fps}/1 ! {encoder} ! {payloader} "
)
# Late frames are useless: at most two wait.
FED = (
    "appsrc name=camera is-live=true do-timestamp=true format=time max-buffers=2 "
    "leaky-type=downstream caps=video/x-h264,stream-format=byte-stream,alignment=au "
    "! h264parse ! rtph264pay name=pay0 pt=96"
)
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=2000 key-int-max={fps} "
    "sliced-threads=false ! video/x-h264,profile=baseline",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=2000 key-int-max={fps}",
}
PAYLOADERS = {"h264": "rtph264pay name=pay0 pt=96", "h265": "rtph265pay name=pay0 pt=96"}


def serve() -> None:
    """Run the server, under Debian's Python."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    parser = argparse.ArgumentParser()
    for name in ("port", "height", "width", "fps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("path", "codec", "auth", "user", "file", "file-fps"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--fed", action="store_true")
    options = parser.parse_args()
    Gst.init(None)

    values = {"width": options.width, "height": options.height, "fps": options.fps}
    if options.fed:
        launch = FED
    elif options.file:
        # A raw stream loops without a gap: the parser generates the timestamps.
        launch = (
            f'multifilesrc location="{options.file}" loop=true '
            f"caps=video/x-h264,stream-format=byte-stream,framerate={options.file_fps} "
            "! h264parse ! rtph264pay name=pay0 pt=96"
        )
    else:
        launch = TEST_PICTURE.format(
            encoder=ENCODERS[options.codec].format(**values),
            payloader=PAYLOADERS[options.codec],
            **values,
        )
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {launch} )")
    factory.set_shared(True)
    if options.fed:
        _pass_on(Gst, factory)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    if options.user:
        _demand_password(GstRtspServer, server, factory, options)
    server.get_mount_points().add_factory(options.path, factory)
    if not server.attach(None):
        raise SystemExit(f"cannot listen on port {options.port}")
    os.write(1, b"ready\n")
    GLib.MainLoop().run()


def _pass_on(gst: Any, factory: Any) -> None:
    """Pass the frames of the standard input to the playing pipeline."""
    playing: list[Any] = []

    def configured(_factory: Any, media: Any) -> None:
        playing[:] = [media.get_element().get_by_name("camera")]

    def read() -> None:
        while header := sys.stdin.buffer.read(4):
            picture = sys.stdin.buffer.read(int.from_bytes(header, "big"))
            for source in playing:
                source.emit("push-buffer", gst.Buffer.new_wrapped(picture))

    factory.connect("media-configure", configured)
    threading.Thread(target=read, name="feed", daemon=True).start()


def _demand_password(module: Any, server: Any, factory: Any, options: Any) -> None:
    password = os.environ["RTSP_PASSWORD"]
    auth = module.RTSPAuth()
    token = module.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if options.auth == "digest":
        from gi.repository import GstRtsp

        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(options.user, password, token)
    else:
        auth.add_basic(module.RTSPAuth.make_basic(options.user, password), token)
    server.set_auth(auth)
    permissions = module.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    serve()
