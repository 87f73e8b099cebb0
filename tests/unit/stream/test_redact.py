import json
import logging
import sys
import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.redact import JsonFormatter, RedactingFormatter, redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("no URL: a@b", "no URL: a@b"),
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("rtsp://user@host/live", "rtsp://user@host/live"),
        ("rtsp://user:secret@host/live", "rtsp://user:***@host/live"),
        ("RTSP://user:secret@host", "RTSP://user:***@host"),
        ("rtsp://:secret@host", "rtsp://:***@host"),
        ("rtsp://user:@host", "rtsp://user:***@host"),
        ("rtsp://user:sec%40ret%2F@host/live", "rtsp://user:***@host/live"),
        ("rtsp://user:s@e@cret@host:554/live", "rtsp://user:***@host:554/live"),
        ("rtsp://user:se:cret@host/a@b", "rtsp://user:***@host/a@b"),
        ("rtsp://user:sec/ret@host/live", "rtsp://user:***@host/live"),
        ("rtsp://user:sec?ret@host/live", "rtsp://user:***@host/live"),
        ("rtsp://user:sec#ret@host/live", "rtsp://user:***@host/live"),
        ("rtsp://user:secret@[::1]:554/live", "rtsp://user:***@[::1]:554/live"),
        ("rtsp://[::1]:554/live", "rtsp://[::1]:554/live"),
        ("'rtsp://u:one@a/', \"http://v:two@b/\"", "'rtsp://u:***@a/', \"http://v:***@b/\""),
        ("see rtsp://h:554/live, mail x@y.z", "see rtsp://h:554/live, mail x@y.z"),
        ("turn:user:secret@host:3478", "turn:user:***@host:3478"),
        ("http://h/v.cgi?user=me&pwd=secret&n=1", "http://h/v.cgi?user=me&pwd=***&n=1"),
        ("http://h/v?PASSWORD=secret", "http://h/v?PASSWORD=***"),
        ("http://h/v?access_token=secret#x", "http://h/v?access_token=***#x"),
        ("http://h/v?compass=north", "http://h/v?compass=north"),
        ("http://h/v?cam_pass=secret", "http://h/v?cam_pass=***"),
    ],
)
def test_passwords_are_masked_and_nothing_else(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(expected) == expected


@given(st.text(min_size=3).filter(lambda s: s.strip()))
def test_no_percent_encoded_password_survives(password: str) -> None:
    secret = "X1" + quote(password, safe="@:")
    assert secret not in redact(f"cannot open rtsp://user:{secret}@host/live: failed")


def test_a_traceback_that_holds_the_url_is_masked() -> None:
    try:
        raise OSError(5, "Input/output error", "rtsp://admin:p@ss@cam/live")
    except OSError as error:
        text = "".join(traceback.format_exception(error))
    assert "p@ss" in text
    assert "p@ss" not in redact(text)
    assert "rtsp://admin:***@cam/live" in redact(text)


def test_the_formatter_masks_messages_and_tracebacks() -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(handler.format(record))  # type: ignore[method-assign]
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("rtsp://a:hidden@b")
    except ValueError:
        logger.exception("lost %s", "rtsp://u:secret@h/live")
    assert lines[0].startswith("lost rtsp://u:***@h/live\nTraceback")
    assert "hidden" not in lines[0]


def test_json_lines_hold_message_and_traceback_without_the_password() -> None:
    try:
        raise ValueError("rtsp://user:secret@host/live broke")
    except ValueError:
        record = logging.getLogger("stream.camera").makeRecord(
            "stream.camera",
            logging.ERROR,
            "f",
            1,
            '%s\n"it"',
            ("rtsp://u:secret@h",),
            sys.exc_info(),
        )
    line = JsonFormatter().format(record)
    fields = json.loads(line)
    assert "\n" not in line
    assert (fields["level"], fields["logger"]) == ("error", "stream.camera")
    assert fields["message"] == 'rtsp://u:***@h\n"it"'
    assert "ValueError: rtsp://user:***@host/live broke" in fields["exception"]
    assert fields["at"].endswith("Z")
    assert "secret" not in line
