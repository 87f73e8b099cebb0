"""Loaded by schemathesis: WebRTC offers, which it cannot generate; a fault of Python avoided."""

import ast
import threading
from typing import Any

import schemathesis
from hypothesis import strategies as st

OFFERS = [b"v=0\r\n", b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", b"\xff", b"hello"]

schemathesis.openapi.media_type("application/sdp", st.sampled_from(OFFERS))

# hypothesis parses the source of lambdas, here in two threads. Python 3.11 has one count of the
# depth for all of them, and ends such a parse at random with "AST constructor recursion depth
# mismatch" (https://github.com/python/cpython/issues/106905).
_parse = ast.parse
_one_at_a_time = threading.Lock()


def _parse_alone(*arguments: Any, **options: Any) -> Any:
    with _one_at_a_time:
        return _parse(*arguments, **options)


ast.parse = _parse_alone
