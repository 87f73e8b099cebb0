import json
import logging
import sys

import pytest

from stream.logs import (
    MAX_KINDS,
    MAX_LINES,
    PERIOD_S,
    JsonFormatter,
    RedactingFormatter,
    RepeatLimit,
)


def record(message: object, *values: object, with_traceback: bool = False) -> logging.LogRecord:
    info = None
    if with_traceback:
        try:
            raise ValueError("rtsp://user:secret@host/live broke")
        except ValueError:
            info = sys.exc_info()
    return logging.Logger("stream.cameras.camera").makeRecord(
        "stream.cameras.camera", logging.ERROR, "f", 1, message, values, info
    )


def test_lines_hold_no_password_in_message_and_traceback() -> None:
    line = RedactingFormatter("%(message)s").format(
        record("lost %s", "rtsp://u:secret@h/live", with_traceback=True)
    )
    assert line.startswith("lost rtsp://***@h/live\nTraceback")
    assert "secret" not in line


@pytest.mark.parametrize("mark", ["\n", "\r\n", "\x1b[2J", "\x00", "\x85", "\u2028"])
def test_a_value_forges_no_line(mark: str) -> None:
    line = RedactingFormatter("%(levelname)s %(message)s").format(
        record("camera %s", f"door{mark}12:00:00 INFO all is well")
    )
    assert not any(ord(letter) < 32 or letter in "\x85\u2028" for letter in line)
    assert line.startswith("ERROR camera door\\")


def test_half_a_character_can_be_written() -> None:
    RedactingFormatter("%(message)s").format(record("camera %s", "\ud800")).encode()
    JsonFormatter().format(record("camera %s", "\ud800")).encode()


def test_json_lines_hold_message_and_traceback_without_the_password() -> None:
    line = JsonFormatter().format(record('%s\n"it"', "rtsp://u:secret@h", with_traceback=True))
    fields = json.loads(line)
    assert "\n" not in line
    assert (fields["level"], fields["logger"]) == ("error", "stream.cameras.camera")
    assert fields["message"] == 'rtsp://***@h\n"it"'
    assert "ValueError: rtsp://***@host/live broke" in fields["exception"]
    assert fields["at"].endswith("Z")
    assert "secret" not in line


def test_one_kind_of_line_is_bounded_and_what_was_left_out_is_said() -> None:
    now = [0.0]
    limit = RepeatLimit(lambda: now[0])
    written = sum(limit.filter(record("refused %s", number)) for number in range(100_000))
    assert written == MAX_LINES
    assert limit.filter(record("another"))
    now[0] = PERIOD_S
    later = record("refused %s", "again")
    assert limit.filter(later)
    assert (
        later.getMessage() == f"refused again ({100_000 - MAX_LINES} more like this were left out)"
    )
    assert limit.filter(record("refused %s", 1))


def test_tracebacks_count_as_many_lines() -> None:
    limit = RepeatLimit(lambda: 0.0)
    failures = [record("failed", with_traceback=True) for _ in range(100)]
    assert 0 < sum(map(limit.filter, failures)) < 10


def test_kinds_take_bounded_memory() -> None:
    limit = RepeatLimit(lambda: 0.0)
    for number in range(3 * MAX_KINDS):
        assert limit.filter(record(f"message {number}"))
    assert len(limit._kinds) == MAX_KINDS
