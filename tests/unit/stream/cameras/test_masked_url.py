import pytest

from stream.cameras.masked_url import unmask
from stream.errors import ConfigError
from stream.redaction import MASK, safe_url

HIKVISION = "rtsp://admin:s3cret@192.0.2.7:554/Streaming/Channels/101"
QUERY = "http://192.0.2.7/cgi-bin/snapshot.cgi?loginuse=admin&loginpas=s3cret&channel=1"
TOKEN = "rtsps://192.0.2.7:7441/Jf8sTOKENaa81"


@pytest.mark.parametrize(
    "was",
    [
        HIKVISION,
        QUERY,
        TOKEN,
        "rtsp://192.0.2.7/user=admin_password=s3cret_channel=1",
        "rtsp://admin:my/SECRET@192.0.2.7/live",
        "rtsp://TOKEN@192.0.2.7/",
        "http://[::1]:81/a/b/c?x=1&pwd=s#f",
        "film.mp4",
        "/films/a b.mp4",
        "file:///films/a.mp4?x=***",
    ],
)
def test_what_comes_back_as_it_is_shown_is_what_it_was(was: str) -> None:
    assert unmask(safe_url(was), was) == was
    assert unmask(was, was) == was


@pytest.mark.parametrize(
    ("was", "edited", "expected"),
    [
        # Another path, another query, another channel: the password is kept.
        (HIKVISION, "rtsp://***@192.0.2.7:554/live", "rtsp://admin:s3cret@192.0.2.7:554/live"),
        (
            HIKVISION,
            "rtsp://***@192.0.2.7:554/***/102",
            "rtsp://admin:s3cret@192.0.2.7:554/Streaming/Channels/102",
        ),
        (
            HIKVISION,
            "rtsp://admin:***@192.0.2.7:554/live",
            "rtsp://admin:s3cret@192.0.2.7:554/live",
        ),
        # Another password, the path as it was.
        (
            HIKVISION,
            "rtsp://root:new@192.0.2.7:554/***/101",
            "rtsp://root:new@192.0.2.7:554/Streaming/Channels/101",
        ),
        (
            QUERY,
            "http://192.0.2.7/***/snapshot.cgi?channel=2&***",
            "http://192.0.2.7/cgi-bin/snapshot.cgi?channel=2&loginuse=admin&loginpas=s3cret",
        ),
        (
            QUERY,
            "http://192.0.2.7/video.cgi?loginuse=root&loginpas=***",
            "http://192.0.2.7/video.cgi?loginuse=root&loginpas=s3cret",
        ),
        (TOKEN, "rtsps://192.0.2.7:7441/***?x=1", "rtsps://192.0.2.7:7441/Jf8sTOKENaa81?x=1"),
        # Nothing is hidden any more.
        (HIKVISION, "demo:", "demo:"),
        (HIKVISION, "/films/***.mp4", "/films/***.mp4"),
    ],
)
def test_an_edited_url_keeps_what_its_masks_stand_for(was: str, edited: str, expected: str) -> None:
    assert unmask(edited, was) == expected


@pytest.mark.parametrize(
    ("was", "edited"),
    [
        (HIKVISION, "rtsp://***@198.51.100.1:554/***/101"),
        (HIKVISION, "rtsp://***@192.0.2.7:8554/***/101"),
        (HIKVISION, "http://***@192.0.2.7:554/***/101"),
        (HIKVISION, "rtsp://other:***@192.0.2.7:554/live"),
        (HIKVISION, "rtsp://***@192.0.2.7:554/live?pwd=***"),
        (HIKVISION, "rtsp://***@192.0.2.7:554/live?***"),
        (HIKVISION, "rtsp://***@192.0.2.7:554/live/***/x"),
        (TOKEN, "rtsps://***@192.0.2.7:7441/x"),
        ("demo:", "rtsp://***@192.0.2.7/live"),
    ],
)
def test_a_mask_is_never_taken_for_a_password(was: str, edited: str) -> None:
    with pytest.raises(ConfigError, match="type the URL whole") as caught:
        unmask(edited, was)
    assert "s3cret" not in str(caught.value)
    assert MASK in str(caught.value)
