"""Log formatting: one line per record, no passwords, and a limit on repeated messages."""

import json
import logging
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from stream.redaction import redact

# Lines of one kind per period; each line of a traceback counts.
MAX_LINES, PERIOD_S = 60, 60.0
LINES_OF_TRACEBACK = 15

# Kinds counted at one time; a program has some hundreds of messages.
MAX_KINDS = 2000

# Characters that end a line or control a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: str) -> str:
    r"""Return the text with control characters as escapes such as \n, so no line can be forged."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, for log collectors; passwords in URLs are masked."""

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
    """Masks the passwords of URLs in all lines, including tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the line without its traceback."""
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Format the record and mask every URL's password."""
        return redact(super().format(record)).encode(errors="backslashreplace").decode()


class RepeatLimit(logging.Filter):
    """Passes `MAX_LINES` lines of each kind per minute and reports how many were dropped.

    A kind is a message without its values, so that a client that repeats the same request cannot
    fill the disk.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, str], tuple[float, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record; appends the number dropped before to its text."""
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
