"""A WebRTC offer for schemathesis, which cannot generate one."""

import schemathesis
from hypothesis import strategies as st

OFFERS = [b"v=0\r\n", b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n", b"\xff", b"hello"]

schemathesis.openapi.media_type("application/sdp", st.sampled_from(OFFERS))
