"""The lines of the log: without passwords, one a record, and never a flood."""

import json
import logging
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from stream.redaction import redact

# Lines of one kind in a period; a traceback counts as many.
MAX_LINES, PERIOD_S = 60, 60.0
LINES_OF_TRACEBACK = 15

# Kinds that are counted at one time; a program has some hundreds of messages.
MAX_KINDS = 2000

# What would end a line or steer a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: str) -> str:
    r"""Write control characters as escapes such as \n, so that nothing forges a line."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for programs that collect logs; holds no password of a URL."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            fields["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(fields)


class RedactingFormatter(logging.Formatter):
    """A formatter whose lines, tracebacks included, hold no password of a URL."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the line without its traceback."""
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Format the record and mask every URL's password."""
        return redact(super().format(record)).encode(errors="backslashreplace").decode()


class RepeatLimit(logging.Filter):
    """Lets through `MAX_LINES` lines of a kind each minute, and says how many were left out.

    A kind is a message before its values are put in, so that nobody fills the disk by asking for
    the same thing again and again.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str], tuple[float, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written; adds to its text what was left out before."""
        kind = (record.name, str(record.msg)[:200])
        with self._lock:
            now = self._clock()
            since, lines, left_out = self._kinds.pop(kind, (now, 0, 0))
            if now - since >= PERIOD_S:
                if left_out:
                    record.msg = f"{record.msg} ({left_out} more like this were left out)"
                since, lines, left_out = now, 0, 0
            is_written = lines < MAX_LINES
            lines += LINES_OF_TRACEBACK if record.exc_info else 1
            self._kinds[kind] = (since, lines, left_out + (not is_written))
            if len(self._kinds) > MAX_KINDS:
                del self._kinds[next(iter(self._kinds))]
        return is_written
