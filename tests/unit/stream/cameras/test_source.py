from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.cameras.source import DEMO_SIZE, DemoSource, open_source, parse_address
from stream.errors import ConfigError, SourceUnavailable
from tests.fake_time import FakeTime


@pytest.mark.parametrize(
    ("url", "file", "format_", "is_live", "host"),
    [
        ("rtsp://cam/live", "rtsp://cam/live", None, True, ("cam", 554)),
        ("RTSP://cam:8554/x", "RTSP://cam:8554/x", None, True, ("cam", 8554)),
        ("rtsp://u:p@s@cam:1/x", "rtsp://u:p%40s@cam:1/x", None, True, ("cam", 1)),
        ("rtsps://cam", "rtsps://cam", None, True, ("cam", 322)),
        ("rtsp://[::1]:5/x", "rtsp://[::1]:5/x", None, True, ("::1", 5)),
        ("http://cam/mjpg", "http://cam/mjpg", None, True, ("cam", 80)),
        ("https://cam/mjpg", "https://cam/mjpg", None, True, ("cam", 443)),
        ("/dev/video0", "/dev/video0", "v4l2", True, None),
        ("v4l2:12", "/dev/video12", "v4l2", True, None),
        ("v4l2:/dev/video3", "/dev/video3", "v4l2", True, None),
        ("/films/a.mp4", "file:/films/a.mp4", None, False, None),
        ("a.mp4", "file:a.mp4", None, False, None),
        ("/films/12:30.mp4", "file:/films/12:30.mp4", None, False, None),
        ("file:///films/a%20b.mp4", "file:/films/a b.mp4", None, False, None),
        ("file:a.mp4", "file:a.mp4", None, False, None),
        ("C:/films/a.mp4", "file:C:/films/a.mp4", None, False, None),
    ],
)
def test_urls_become_addresses(
    url: str, file: str, format_: str | None, is_live: bool, host: tuple[str, int] | None
) -> None:
    address = parse_address(url)
    assert (address.file, address.format) == (file, format_)
    assert (address.is_live, address.host) == (is_live, host)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        # A password may hold any character, percent-encoded or as it is.
        ("rtsp://u:p%2Fa%23b@cam/x", "rtsp://u:p%2Fa%23b@cam/x"),
        ("rtsp://u:p/a#b@cam/x", "rtsp://u:p%2Fa%23b@cam/x"),
        ("rtsp://u:p?a@cam:8554/x?y=1", "rtsp://u:p%3Fa@cam:8554/x?y=1"),
        ("rtsp://u:p[a]@cam/x", "rtsp://u:p%5Ba%5D@cam/x"),
        ("rtsp://u:50%@cam/x", "rtsp://u:50%25@cam/x"),
        ("rtsp://u:50%25@cam/x", "rtsp://u:50%25@cam/x"),
        ("rtsp://u:pä ß@cam/x", "rtsp://u:p%C3%A4%20%C3%9F@cam/x"),
        ("rtsp://token@cam/x", "rtsp://token@cam/x"),
        ("rtsp://u:@cam/x", "rtsp://u:@cam/x"),
        ("http://cam/a b?q=ä", "http://cam/a%20b?q=%C3%A4"),
        ("http://cam/user@1/x", "http://cam/user@1/x"),
        ("http://u:p@[fe80::1%25eth0]:81/x", "http://u:p@[fe80::1%25eth0]:81/x"),
        ("http://käm.example/x", "http://xn--km-via.example/x"),
    ],
)
def test_what_a_url_may_not_hold_is_encoded(url: str, file: str) -> None:
    assert parse_address(url).file == file


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://u:secret@h/x",
        "concat:a|b",
        "rtsp://",
        "rtsp://u:secret@h:port/",
        "rtsp://h:99999/",
    ],
)
def test_other_urls_are_refused_in_one_line_without_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match="camera URL") as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_whose_name_looks_like_a_url_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("film:one.mp4").touch()
    assert parse_address("film:one.mp4").file == "file:film:one.mp4"


def test_the_label_hides_the_password() -> None:
    assert parse_address("rtsp://u:s@cret@cam/x").label == "the camera at cam"
    assert parse_address("rtsp://cam:12/cret@host/live").label == "the camera"
    assert parse_address("u:s@cret@cam/x").label == "***"


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_transport_is_passed_on(transport: str) -> None:
    address = parse_address("rtsp://cam/x", rtsp_transport=transport)  # type: ignore[arg-type]
    assert ("rtsp_transport", transport) in address.options


def test_playlists_on_a_camera_cannot_read_files() -> None:
    whitelist = dict(parse_address("http://cam/x").options)["protocol_whitelist"]
    assert "file" not in whitelist.split(",")


def test_an_absent_device_is_named() -> None:
    with pytest.raises(SourceUnavailable, match=r"cannot open /dev/video99: no such .*device"):
        open_source("v4l2:99", clock=lambda: 0.0)


class Scene:
    """Records the requested times."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def render(self, t: float) -> NDArray[np.uint8]:
        self.times.append(t)
        return np.zeros((*DEMO_SIZE, 3), np.uint8)


def test_the_demo_draws_what_is_due_and_leaves_out_what_is_late() -> None:
    scene = Scene()
    # Read twice per frame, and once at the start.
    times = iter([50.0, 50.0, 50.0, 50.04, 50.04, 50.08, 50.08, 50.30, 50.30])
    source = DemoSource(scene, clock=lambda: next(times))
    frames = [source.read() for _ in range(4)]
    assert scene.times == [0, 0.04, 0.08, 0.28]
    assert [frame.captured_at for frame in frames] == [50.0, 50.04, 50.08, 50.30]


def test_the_demo_draws_no_more_than_is_asked_for() -> None:
    scene, fake_time = Scene(), FakeTime()
    source = DemoSource(scene, clock=fake_time)
    source._closing = fake_time
    source.set_target_fps(5)
    times = [source.read().captured_at for _ in range(7)]
    np.testing.assert_allclose(np.diff(times)[1:], 0.2)  # the first may come a frame early
    assert len(scene.times) == 7, "what is left out is not drawn"


def test_a_closed_demo_does_not_wait() -> None:
    source = DemoSource(Scene(), clock=lambda: 0.0)
    source.read()
    source.close()
    source.close()
    with pytest.raises(SourceUnavailable, match="closed"):
        source.read()
