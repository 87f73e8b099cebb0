"""Masks passwords in logs, errors, events and pages.

Passwords have no fixed place or form in camera URLs. So only the scheme, host and port are shown,
and of path and query only words that cameras use for their streams. Everything else is masked.
Time is linear in the length of the text.
"""

import re

MASK = "***"

# Characters before "://" that can be a scheme; no known scheme is longer.
MAX_SCHEME = 12

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*$")
_HOST = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9]+)?\]"
)
_PORT = re.compile(r"\d{1,5}")

# Characters that end a URL in running text.
_WORD_END = re.compile(r"""[\s"'<>`]""")
_TRAILING = ".,:;!?)]}"

# Words in the paths of camera streams and of the files that this project names.
_WORDS = frozenset(
    """
    h h264 h265 hevc avc mpeg mpeg4 mp mp4 mjpeg mjpg jpeg jpg png gif mpg ts m3u m3u8 sdp mkv mov
    avi webm flv cgi asp php html htm bin amp axis media video videos videostream videomain
    videosub live livestream stream streams streaming streamer substream mainstream main sub minor
    major primary secondary first second third high low hd sd uhd fhd channel channels channelid
    chid ch chn cam cams camera cameras cif nphh snap snapshot snapshots image images img picture
    current capture tracks track trackid profile profiles onvif rtsp rtp http whep whip hls index
    playlist master play preview realmonitor realplay ipcam webcam feed faststream axvideo av ucast
    mcast unicast multicast udp tcp default mediainput defaultprimary defaultsecondary cgistream
    nvr dvr front back left right demo sample clip film movie onnx npz params json toml whl
    faces events hook webhook hooks webhooks api
    """.split()  # noqa: SIM905 - a word list is read more easily so
)
_PIECES = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z0-9]+")

# Model files, which are fetched from the web.
_MODEL = re.compile(r"[\w.+-]{1,120}\.(?:onnx|whl|npz|params)", re.ASCII)

_QUERY_KEYS = frozenset(
    """
    channel subtype stream streamid streamtype resolution width height fps framerate quality
    compression codec camera cam chn profile unicast multicast proto transportmode audio video
    """.split()  # noqa: SIM905
)
_QUERY_VALUE = re.compile(r"\d{1,4}(?:x\d{1,4})?")


def safe_url(url: str) -> str:
    """Return a camera's URL for display, without its user, password or token.

    `rtsp://***@192.0.2.7:554/***/101`: the scheme, the host, the port, the last part of the path
    and the numbers of its query; `***` for the user and password, and for every part that may
    hold a secret. A local path is shown whole unless it has the form of an address.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _safe_path(url)
    if not _SCHEME.fullmatch(scheme) or len(scheme) > MAX_SCHEME:
        return MASK
    return f"{scheme}://{_safe_rest(rest)}"


def redact(text: str) -> str:
    """Return a text, such as a message or traceback, with possible secrets of its URLs masked."""
    if "://" not in text and "@" not in text:
        return text
    return "\n".join(_redact_line(line) for line in text.split("\n"))


def _redact_line(line: str) -> str:
    first, *rests = line.split("://")
    safe = [_redact_words(first)]
    for before, rest in zip([first, *rests], rests, strict=False):
        is_url = _SCHEME.search(before[-MAX_SCHEME:]) is not None
        safe.append(_redact_rest(rest) if is_url else _redact_words(rest))
    return "://".join(safe)


def _redact_rest(rest: str) -> str:
    """Mask what follows "://" up to the end of the URL; a password may contain any character."""
    end = _WORD_END.search(rest, rest.rfind("@") + 1)
    url, after = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    bare = url.rstrip(_TRAILING if "[" in url else _TRAILING + "]")
    return _safe_rest(bare) + url[len(bare) :] + _redact_words(after)


def _redact_words(text: str) -> str:
    """Mask `user:password@` without a scheme's `//` before it, as in `turn:user:password@host`."""
    if "@" not in text:
        return text
    return " ".join(_redact_word(word) for word in text.split(" "))


def _redact_word(word: str) -> str:
    login, at, host = word.rpartition("@")
    user, colon, password = login.partition(":")
    return f"{user}:{MASK}@{host}" if at and colon and password else word


def _safe_rest(rest: str) -> str:
    """Return what may be shown of what follows "://"."""
    end = next((i for i, character in enumerate(rest) if character in "/?#\\"), len(rest))
    authority, tail = rest[:end], rest[end:]
    if "@" in tail:
        # A raw / ? or # in the password: its end cannot be determined.
        return MASK
    _, at, address = authority.rpartition("@")
    host, port = _split_port(address)
    if not _HOST.fullmatch(host) or (port is not None and not _PORT.fullmatch(port)):
        return MASK
    shown = host if port is None else f"{host}:{port}"
    return f"{MASK}@{shown}{_safe_tail(tail)}" if at else f"{shown}{_safe_tail(tail)}"


def _split_port(address: str) -> tuple[str, str | None]:
    if address.startswith("["):
        host, bracket, port = address.partition("]")
        return host + bracket, port[1:] if port.startswith(":") else (port or None)
    host, colon, port = address.partition(":")
    return host, port if colon else None


def _safe_tail(tail: str) -> str:
    """Return what may be shown of path and query; the rest is masked."""
    tail, _, fragment = tail.partition("#")
    path, _, query = tail.partition("?")
    shown = path
    if path not in ("", "/"):
        *folders, last = path[1:].removesuffix("/").split("/")
        shown = f"/{MASK}" if folders or not is_stream_word(last) else ""
        shown += f"/{last}" if is_stream_word(last) else ""
        shown += "/" if path.endswith("/") else ""
    if query:
        pairs = query.split("&")
        safe = [pair for pair in pairs if _is_safe_pair(pair)]
        shown += "?" + "&".join([*safe, MASK] if len(safe) < len(pairs) else safe)
    return f"{shown}#{MASK}" if fragment else shown


def _is_safe_pair(pair: str) -> bool:
    key, _, value = pair.partition("=")
    return key.lower() in _QUERY_KEYS and _QUERY_VALUE.fullmatch(value) is not None


def is_stream_word(part: str) -> bool:
    """Return whether a part of a path consists only of camera words and short numbers."""
    if len(part) > 40 or not part.isascii():
        return _MODEL.fullmatch(part) is not None
    words, numbers = 0, ""
    for token in re.split(r"[._-]", part):
        for piece in [token] if token.lower() in _WORDS else _PIECES.findall(token):
            if piece.lower() in _WORDS:
                words += 1
            elif piece.isdecimal() and len(piece) <= 4:
                numbers += piece
            else:
                return _MODEL.fullmatch(part) is not None
    return (words > 0 and len(numbers) <= 6) or len(numbers) == len(part) <= 3


def _safe_path(path: str) -> str:
    """Return a local path, or what may be shown of anything else."""
    is_path = not any(character in path for character in "@=?&\n\r") and len(path) <= 4096
    return path if is_path else MASK
