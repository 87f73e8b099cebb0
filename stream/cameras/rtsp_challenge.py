"""Authentication schemes of an RTSP camera, where FFmpeg reports only that it was refused."""

import re
import socket

from stream.cameras.address import Address

MAX_HEAD = 16 * 1024
"""Bytes of an answer's head at most."""

ALGORITHM = re.compile(
    rb"^www-authenticate:\s*digest\b[^\r\n]*\balgorithm\s*=\s*\"?(?P<name>[\w-]+)",
    re.IGNORECASE | re.MULTILINE,
)


def unknown_digest(address: Address, *, timeout_s: float) -> str:
    """Return the unsupported digest algorithm of a camera, from its refusal without a password.

    FFmpeg supports basic authentication and MD5 digests, and uses the last digest that a camera
    offers; RFC 2326 section 14.1 and RFC 7616.

    Args:
        address: an rtsp:// address.
        timeout_s: seconds the camera may take for each step.

    Returns:
        The algorithm that FFmpeg uses but does not support, such as "SHA-256"; empty if none.
    """
    if address.host is None or not address.file.lower().startswith("rtsp://"):
        return ""
    scheme, _, rest = address.file.partition("://")
    url = f"{scheme}://{rest.rpartition('@')[2]}"
    head = b""
    try:
        with socket.create_connection(address.host, timeout=timeout_s) as connection:
            request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
            connection.sendall(request.encode())
            while b"\r\n\r\n" not in head and len(head) < MAX_HEAD:
                if not (piece := connection.recv(4096)):
                    break
                head += piece
    except OSError:
        return ""
    asked = [match["name"].decode().upper() for match in ALGORITHM.finditer(head)]
    is_known = not asked or asked[-1] in ("MD5", "MD5-SESS")
    return "" if is_known else asked[-1]
