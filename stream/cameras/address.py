"""Parsing of camera URLs into the input format and options of FFmpeg and the HTTP reader."""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from stream.errors import ConfigError
from stream.redaction import safe_url

RtspTransport = Literal["tcp", "udp"]
Deinterlace = Literal["auto", "on", "off"]

# Probe a stream only until its size is known, not 20 frames for its rate. The usual
# "nobuffer" discards the probed frames: the first frame then waits for another keyframe,
# 2.2 s instead of 0.34 s from an RTSP camera at 25 frames a second, 3.4 instead of 0.64 at 10
# (measured). This adds no delay: the probed frames are decoded at once.
LIVE_OPTIONS: Mapping[str, str] = {"fpsprobesize": "0", "analyzeduration": "100000"}

# What FFmpeg may open for a URL: a playlist on a camera must not read this machine's files.
NETWORK_PROTOCOLS = "rtsp,rtp,rtcp,udp,tcp,tls,http,https,crypto,data"
FILE_PROTOCOLS = "file,crypto,data"

DEFAULT_PORTS: Mapping[str, int] = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}

HOST = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[\w.%-]+)?)\]|(?P<name>[^\s:\[\]@/?#]+))(?::(?P<port>\d*))?"
)
HOST_END = re.compile(r"[/?#]")

# Characters of a path or query that stay as they are: RFC 3986 reserves them, or % is its escape.
KEPT = "%/?#[]@!$&'()*+,;=:~"


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Settings for reading a camera.

    Attributes:
        rtsp_transport: how RTSP media travels.
        loop: repeat a file; no effect on live cameras.
        target_fps: frames a second at most; None for the camera's own rate.
        open_timeout_s: seconds a camera may take to answer.
        read_timeout_s: seconds without a frame after which it is lost.
        pixel_aspect: width:height of a pixel; None to use that of the video.
        deinterlace: auto for video that is marked as interlaced, on for all, or off.
        verify_tls: check the certificate.
    """

    rtsp_transport: RtspTransport = "tcp"
    loop: bool = True
    target_fps: float | None = None
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    pixel_aspect: Fraction | None = None
    deinterlace: Deinterlace = "auto"
    verify_tls: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """Parsed address of a camera, as FFmpeg takes it.

    Attributes:
        file: what FFmpeg opens; may hold a password.
        label: shown in its place: the host, or the path of a file.
        format: FFmpeg's input format; None to detect it.
        options: FFmpeg's options, names and values.
        is_live: frames arrive in real time and the end is a fault, except for a video file on a web
            server.
        host: the host and its port; None for files and devices.
    """

    file: str
    label: str
    format: str | None
    options: tuple[tuple[str, str], ...]
    is_live: bool
    host: tuple[str, int] | None

    @property
    def is_web(self) -> bool:
        """Whether the address is HTTP or HTTPS."""
        return self.host is not None and self.file.lower().startswith("http")

    @property
    def has_login(self) -> bool:
        """Whether the URL holds a user name."""
        return self.host is not None and "@" in HOST_END.split(self.file.partition("://")[2])[0]


def parse_address(
    url: str, *, rtsp_transport: RtspTransport = "tcp", verify_tls: bool = True
) -> Address:
    """Return the parsed address of a camera's URL.

    Raises:
        ConfigError: if the kind of URL is unknown.
    """
    scheme, separator, rest = url.partition(":")
    scheme = scheme.lower()
    if scheme in DEFAULT_PORTS and rest.startswith("//"):
        return _network_address(url, scheme, rest[2:], rtsp_transport, verify_tls=verify_tls)
    if device := re.fullmatch(r"(?:/dev/video|v4l2:(?:/dev/video)?)(\d+)", url):
        path = f"/dev/video{device[1]}"
        return Address(path, path, "v4l2", tuple(LIVE_OPTIONS.items()), is_live=True, host=None)
    if scheme == "file":
        return _file_address(unquote(urlsplit(url).path))
    # A single letter is a Windows drive.
    if separator and re.fullmatch(r"[a-z][a-z0-9+.-]+", scheme) and not _exists(url):
        raise ConfigError(
            f"camera URL {safe_url(url)} is of no known kind, expected rtsp://, http://, https://, "
            "file:, v4l2:N, demo: or the path of a file"
        )
    if not url:
        raise ConfigError("camera URL is empty")
    return _file_address(url)


def _network_address(
    url: str, scheme: str, rest: str, rtsp_transport: RtspTransport, *, verify_tls: bool
) -> Address:
    options = {**LIVE_OPTIONS, "protocol_whitelist": NETWORK_PROTOCOLS}
    if scheme.startswith("rtsp"):
        options |= {"rtsp_transport": rtsp_transport, "allowed_media_types": "video"}
    if scheme.endswith("s"):
        options |= _tls_options(verify_tls=verify_tls)
    login, host, port, tail = _split(rest, safe_url(url))
    name = f"[{host}]" if ":" in host else host
    # The scheme is kept as written, since FFmpeg ignores its case.
    file = f"{url[: len(scheme)]}://{login}{name}{f':{port}' if port else ''}{tail}"
    place = (host, int(port or DEFAULT_PORTS[scheme]))
    # Viewers, who see no URL, can read reasons. A host that is masked in the URL may be part of
    # the password.
    label = f"the camera at {name}" if name in safe_url(url) else "the camera"
    return Address(file, label, None, tuple(options.items()), is_live=True, host=place)


def _split(rest: str, label: str) -> tuple[str, str, str, str]:
    """Return login, host, port and the rest of the URL after the scheme, each as it is sent.

    A password may hold any character, unescaped where that is unambiguous, or percent-encoded.
    """
    end = match.start() if (match := HOST_END.search(rest)) else len(rest)
    # FFmpeg and urlsplit also end the password at the last '@' of the authority.
    login, at, place = rest[:end].rpartition("@")
    found = _host(place)
    if found is None:
        # Not a host: possibly a password with an unescaped '/', '?' or '#'.
        for sign in re.finditer("@", rest):
            end = match.start() if (match := HOST_END.search(rest, sign.end())) else len(rest)
            if (found := _host(rest[sign.end() : end])) is not None:
                login, at = rest[: sign.start()], "@"
                break
    if found is None:
        raise ConfigError(
            f"camera URL {label} names no host, or a port that is no number: in a password write "
            "/ ? # @ as %2F %3F %23 %40"
        )
    if at:
        user, colon, password = login.partition(":")
        login = f"{quote(unquote(user), safe='')}{colon}{quote(unquote(password), safe='')}@"
    return login, *found, quote(rest[end:], safe=KEPT)


def _host(text: str) -> tuple[str, str] | None:
    """Return host and port ("" for the default); None if the text is not a host."""
    match = HOST.fullmatch(text)
    if match is None or not 0 < int(match["port"] or 1) < 65536:
        return None
    host = match["ipv6"] or match["name"]
    try:
        return (host if host.isascii() else host.encode("idna").decode()), match["port"] or ""
    except UnicodeError:
        return None


def _tls_options(*, verify_tls: bool) -> dict[str, str]:
    if not verify_tls:
        return {"tls_verify": "0"}
    paths = ssl.get_default_verify_paths()
    authorities = os.environ.get(paths.openssl_cafile_env) or paths.cafile
    return {"tls_verify": "1", **({"ca_file": authorities} if authorities else {})}


def _file_address(path: str) -> Address:
    options = (("protocol_whitelist", FILE_PROTOCOLS),)
    # With its prefix FFmpeg takes the rest literally, colons and all.
    return Address(f"file:{path}", safe_url(path), None, options, is_live=False, host=None)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or a zero byte in it
        return False
