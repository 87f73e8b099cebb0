"""Keeps passwords out of logs, errors and pages."""

import json
import logging
import re
from datetime import UTC, datetime

MASK = "***"

# user:password@ after a scheme. The password runs to the last '@' before the path, as FFmpeg reads
# it; a raw '/', '?' or '#' in it breaks the URL but must be hidden all the same, so where the
# authority holds no '@' it runs to the last '@' of the word.
_USERINFO = re.compile(
    r"""(?P<head>(?:[A-Za-z][A-Za-z0-9+.-]*://|\bturns?:)[^\s:/?#@]*:)"""
    r"""(?:[^\s/?#]*|[^\s"'<>]*)@"""
)

# Cameras that take the password in the query: ?user=admin&pwd=..., ?token=...
_QUERY = re.compile(
    r"""(?P<head>[?&;](?:"""
    r"""[\w.-]*(?:passw|pwd|psw|secret|token|api_?key|auth|signature)[\w.-]*|(?:[\w.-]*[_.-])?pass"""
    r""")=)[^\s&;#"'<>]+""",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Mask the password of every URL in a text, be it a URL, a message or a traceback."""
    text = _USERINFO.sub(rf"\g<head>{MASK}@", text)
    return _QUERY.sub(rf"\g<head>{MASK}", text)


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
        return json.dumps(fields, ensure_ascii=False)


class RedactingFormatter(logging.Formatter):
    """A formatter whose lines, tracebacks included, hold no password of a URL."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record and mask every URL's password."""
        return redact(super().format(record))
