"""HTTP cameras that send images: MJPEG, and snapshots fetched one by one."""

import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from fractions import Fraction
from typing import Any, cast

import av
import httpx2

from stream.cameras.address import Address, SourceSettings
from stream.cameras.conversion import MAX_PIXELS, Captured, Converter
from stream.cameras.host_lookup import look_up
from stream.cameras.image_splitter import MAX_IMAGE, ImageSplitter, TooLargeError
from stream.cameras.pacing import REFUSED_RETRY_S, Decimator
from stream.cameras.tls import tls_context, untrusted
from stream.cameras.web_login import WebLogin
from stream.errors import SourceUnavailable

SNAPSHOT_FPS = 5.0
"""Snapshots a second of a camera for which no rate is set; small ones make no more."""

MAX_REDIRECTS = 5

SNIFFED = 16
"""Bytes that tell an image or a multipart's boundary from something else."""

MAX_DAMAGED = 10
"""Images in a row that cannot be decoded until the camera counts as failing."""

CODECS: Mapping[bytes, str] = {
    b"\xff\xd8": "mjpeg",
    b"\x89PNG": "png",
    b"RIFF": "webp",
    b"GIF8": "gif",
    b"BM": "bmp",
}

STATUSES: Mapping[int, str] = {
    403: "access denied (403)",
    404: "path not found (404)",
    429: "too many requests (429)",
    503: "the camera is busy, perhaps with too many viewers (503)",
}


def open_web(
    address: Address, *, clock: Callable[[], float], settings: SourceSettings
) -> "WebSource | None":
    """Open an HTTP address that sends images.

    Returns:
        The camera; None where the content is something else, such as a playlist or a video file.

    Raises:
        SourceUnavailable: if it does not respond, or refuses.
    """
    source = WebSource(address, clock=clock, settings=settings)
    with ExitStack() as unless_open:
        unless_open.callback(source.close)
        if source.open():
            unless_open.pop_all()
            return source
    return None


class WebSource:
    """An HTTP camera that sends images.

    A response with one image is a snapshot: the next is fetched when it is due. A response with
    several is MJPEG, and its end is a loss.

    Attributes:
        fps: expected images per second.
        size: (height, width) of the last image, pixels; (0, 0) before the first.
        damaged: images that could not be decoded.
        is_live: true.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Callable[[], float],
        settings: SourceSettings,
    ) -> None:
        self.fps = 25.0
        self.size = (0, 0)
        self.damaged = 0
        self.is_live = True
        self._address = address
        self._clock = clock
        self._settings = settings
        self._closing = threading.Event()
        self._reading = threading.Lock()
        self._socket: socket.socket | None = None
        self._client = httpx2.Client(
            verify=tls_context(verify=settings.verify_tls),
            trust_env=False,
            # Images are never sent with HTTP compression.
            headers={"Accept-Encoding": "identity", "User-Agent": "facewire"},
            timeout=httpx2.Timeout(settings.read_timeout_s, connect=settings.open_timeout_s),
        )
        url = httpx2.URL(address.file)
        self._url = url.copy_with(userinfo=b"")
        self._login = WebLogin(url.username, url.password) if url.userinfo else None
        self._response: httpx2.Response | None = None
        self._body: Iterator[bytes] = iter(())
        self._kind = ""
        self._splitter = ImageSplitter()
        self._whole = bytearray()
        self._waiting: deque[bytes] = deque()
        self._n_images = 0
        self._is_snapshot = False
        self._due: float | None = None
        self._n_damaged = 0
        self._got_at = clock()
        self._converter = Converter(settings.pixel_aspect, settings.deinterlace)
        self._seq = 0
        self._take_fps(settings.target_fps)

    def open(self) -> bool:
        """Connect; return whether the camera sends images.

        Raises:
            SourceUnavailable: if it cannot be opened.
        """
        host, port = self._address.host or ("", 0)
        try:
            look_up(host, port, timeout_s=self._settings.open_timeout_s)
            self._ask(self._settings.open_timeout_s)
            return self._is_images()
        except _NotHttpError:
            return False
        except SourceUnavailable as error:
            raise SourceUnavailable(
                f"cannot open {self._address.label}: {error}", retry_after_s=error.retry_after_s
            ) from None

    def read(self) -> Captured:
        """Wait for the next image.

        Raises:
            SourceUnavailable: if the camera stopped, sent nothing for too long, or was closed.
        """
        try:
            with self._reading:
                captured = self._read()
        except SourceUnavailable as error:
            self._release()
            if self._closing.is_set():
                raise SourceUnavailable(f"{self._address.label} was closed") from None
            raise SourceUnavailable(
                f"lost {self._address.label}: {error}", retry_after_s=error.retry_after_s
            ) from None
        if self._closing.is_set():
            self._release()
        return captured

    def set_target_fps(self, target_fps: float | None) -> None:
        """Set the maximum of images per second; None for all, or 5 for snapshots."""
        self._take_fps(target_fps)

    def _take_fps(self, target_fps: float | None) -> None:
        self._period_s = 1.0 / (target_fps or SNAPSHOT_FPS)
        self._decimator = Decimator(target_fps)

    def close(self) -> None:
        """Stop, and end a waiting read; from any thread, any number of times."""
        self._closing.set()
        self._hang_up()
        self._release()

    # Images

    def _read(self) -> Captured:
        self._got_at = self._clock()
        while True:
            image = self._next_image()
            now = self._clock()
            if self._is_snapshot or self._decimator.keep(now):
                if (captured := self._decode(image, now)) is not None:
                    return captured
            else:
                self._got_at = now

    def _next_image(self) -> bytes:
        while not self._waiting:
            if self._closing.is_set():
                raise SourceUnavailable("was closed")
            if self._response is None:
                self._await_due()
                self._ask(self._settings.read_timeout_s)
            self._receive()
            if not self._waiting and self._clock() - self._got_at > self._settings.read_timeout_s:
                raise SourceUnavailable(self._silent)
        image = self._waiting.popleft()
        if self._is_snapshot and not self._waiting:
            self._finish()
        return image

    def _receive(self) -> None:
        """Process the next piece of the response, or its end."""
        piece = self._next_piece()
        if piece is None:
            self._take_end()
            return
        try:
            for image in self._splitter.feed(piece):
                self._waiting.append(image)
                self._n_images += 1
        except TooLargeError as error:
            raise SourceUnavailable(str(error), retry_after_s=REFUSED_RETRY_S) from None
        if self._kind.startswith("image/") and not self._n_images:
            # Possibly an image format that the splitter does not support.
            self._whole += piece
            if len(self._whole) > MAX_IMAGE:
                reason = f"an image of more than {MAX_IMAGE >> 20} MiB"
                raise SourceUnavailable(reason, retry_after_s=REFUSED_RETRY_S)

    def _take_end(self) -> None:
        """Process the remaining bytes at the end of a response."""
        last = self._splitter.rest() or (b"" if self._n_images else bytes(self._whole))
        if last:
            self._waiting.append(last)
            self._n_images += 1
        if not self._n_images:
            raise SourceUnavailable("no image in the response")
        # A response with one image is a snapshot, whatever its content type.
        if self._n_images > 1 and not self._kind.startswith("image/"):
            raise SourceUnavailable("the camera ended the stream")
        self._finish()

    def _decode(self, image: bytes, now: float) -> Captured | None:
        """Return the decoded image; None if it is damaged."""
        codec = next((name for magic, name in CODECS.items() if image.startswith(magic)), "mjpeg")
        # A new decoder per image: FFmpeg's PNG decoder adds each to the last, as in animations.
        decoder = cast(av.VideoCodecContext, av.CodecContext.create(codec, "r"))
        decoder.options = {"max_pixels": str(MAX_PIXELS)}
        try:
            decoded = decoder.decode(av.Packet(image))
        except (av.FFmpegError, OSError, ValueError):
            decoded = []
        if not decoded:
            self._count_damage()
            return None
        self._n_damaged = 0
        picture = decoded[0]
        picture.pts, picture.time_base = self._seq, Fraction(1, 25)
        self._seq += 1
        for shown in self._converter.deinterlace(picture):
            captured = self._converter.convert(shown, decoder.sample_aspect_ratio, now)
            self.size = captured.size
            return captured
        return None

    def _count_damage(self) -> None:
        self.damaged += 1
        self._n_damaged += 1
        if self._n_damaged >= MAX_DAMAGED:
            raise SourceUnavailable(
                f"its images cannot be decoded, or are larger than {MAX_PIXELS // 10**6} megapixels"
            )

    # HTTP

    def _await_due(self) -> None:
        """Wait until the next snapshot is due: the camera makes one per request."""
        now = self._clock()
        due = now if self._due is None else max(self._due + self._period_s, now)
        self._due = due
        self._closing.wait(due - now)
        # The pause does not count as a silent camera.
        self._got_at = self._clock()

    def _ask(self, timeout_s: float) -> None:
        """Send a request and receive the head of the response, within a timeout.

        Raises:
            SourceUnavailable: if the response has no body.
        """
        # Each wait of the client is bounded, but not the number of waits.
        alarm = threading.Timer(timeout_s, self._hang_up)
        alarm.daemon = True
        started_at = self._clock()
        alarm.start()
        try:
            self._follow(timeout_s)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            if self._clock() - started_at >= timeout_s:
                raise SourceUnavailable(f"timed out, no answer in {timeout_s:g} s") from None
            if isinstance(error, httpx2.RemoteProtocolError):
                raise _NotHttpError(explain(error)) from None
            # Not chained: its message may hold the URL with its password.
            raise SourceUnavailable(explain(error)) from None
        finally:
            alarm.cancel()
        if self._due is None:
            self._due = started_at

    def _follow(self, timeout_s: float) -> None:
        """Send a request, follow redirects, and keep the last response."""
        url = self._url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(url, timeout_s)
            if not response.has_redirect_location:
                self._accept(response, is_home=url.host == self._url.host)
                return
            response.close()
            url = url.join(response.headers["location"]).copy_with(userinfo=b"", fragment=None)
            if url.scheme not in ("http", "https"):
                raise SourceUnavailable(
                    "it redirects to an address that is not http:// or https://"
                )
        raise SourceUnavailable(f"more than {MAX_REDIRECTS} redirects")

    def _send(self, url: httpx2.URL, timeout_s: float) -> httpx2.Response:
        timeout = httpx2.Timeout(timeout_s)
        extensions = {"trace": self._trace, "timeout": timeout.as_dict()}
        request = self._client.build_request("GET", url, extensions=extensions)
        # Never send the password to another host.
        login = self._login if url.host == self._url.host else None
        if login is not None:
            login.sign(request)
        response = self._client.send(request, stream=True)
        # Twice: the first refusal may be only due to an expired challenge.
        for _ in range(2):
            if response.status_code != 401 or login is None:
                break
            if not login.answer(request, response.headers.get_list("www-authenticate")):
                response.close()
                raise SourceUnavailable(
                    "it requires an authentication method that is not supported",
                    retry_after_s=REFUSED_RETRY_S,
                )
            response.close()
            response = self._client.send(request, stream=True)
            if response.status_code == 401 and "stale=true" not in str(response.headers).lower():
                break
        return response

    def _accept(self, response: httpx2.Response, *, is_home: bool) -> None:
        """Accept a response with a body, and reject others."""
        status = response.status_code
        if status == 401:
            response.close()
            reason = "it requires a user name and password"
            if self._login is not None:
                reason = "wrong user name or password"
                if not is_home:
                    reason = "it redirects to another host, which requires a password"
            raise SourceUnavailable(reason, retry_after_s=REFUSED_RETRY_S)
        if status >= 300:
            response.close()
            is_theirs = status >= 500
            reason = STATUSES.get(status) or (
                f"the camera reports an internal error ({status})"
                if is_theirs
                else f"the camera refuses the request ({status})"
            )
            retry_after_s = REFUSED_RETRY_S if status in (403, 429) else 0.0
            raise SourceUnavailable(reason, retry_after_s=retry_after_s)
        self._response = response
        self._body = response.iter_bytes()
        self._kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        # A response with a length; without one, further images may follow.
        self._is_snapshot = self._kind.startswith("image/") and "content-length" in response.headers
        self._splitter = ImageSplitter()
        self._whole = bytearray()
        self._n_images = 0

    def _is_images(self) -> bool:
        """Return whether the first response holds images, or something for FFmpeg."""
        if self._kind in ("text/html", "application/xhtml+xml"):
            raise SourceUnavailable("it is a web page, not a video")
        if self._kind.startswith(("image/", "multipart/")):
            return True
        # No content type: the first bytes decide.
        head = b""
        while len(head) < SNIFFED and (piece := self._next_piece()) is not None:
            head += piece
        self._body = _chain(head, self._body)
        return head.lstrip(b"\r\n ").startswith((b"--", b"\xff\xd8\xff", b"\x89PNG"))

    def _next_piece(self) -> bytes | None:
        try:
            return next(self._body, None)
        except (httpx2.HTTPError, OSError, ValueError) as error:
            if self._closing.is_set():
                raise SourceUnavailable("was closed") from None
            if isinstance(error, httpx2.TimeoutException):
                raise SourceUnavailable(self._silent) from None
            if isinstance(error, httpx2.RemoteProtocolError):
                return None  # the connection ended before the announced length
            raise SourceUnavailable(explain(error)) from None

    @property
    def _silent(self) -> str:
        return f"timed out, no data for over {self._settings.read_timeout_s:g} s"

    def _finish(self) -> None:
        """End a response; the connection is reused where all of it was read."""
        response, self._response = self._response, None
        if response is None:
            return
        if str(response.num_bytes_downloaded) == response.headers.get("content-length"):
            self._next_piece()
        response.close()

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")

    def _hang_up(self) -> None:
        """End all waits for the camera, in any thread."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        # The client must not be closed under a running read.
        if self._reading.acquire(blocking=False):
            try:
                with suppress(httpx2.HTTPError, OSError, RuntimeError):
                    self._client.close()
            finally:
                self._reading.release()


class _NotHttpError(SourceUnavailable):
    """Raised for a response that is not valid HTTP, which FFmpeg may accept."""


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def explain(error: Exception) -> str:
    """Return a short reason, without the URL, why a request failed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return untrusted(cause)
        for kind, words in REASONS.items():
            if isinstance(cause, kind):
                return words
        cause = cause.__cause__ or cause.__context__
    for kind, words in WEB_REASONS.items():
        if isinstance(error, kind):
            return words
    return "the response cannot be read"


REASONS: Mapping[type[BaseException], str] = {
    ConnectionRefusedError: "connection refused, nothing listens on that port",
    ConnectionResetError: "the camera closed the connection",
    BrokenPipeError: "the camera closed the connection",
    ssl.SSLError: "no TLS connection: the camera may support http:// only",
}

WEB_REASONS: Mapping[type[Exception], str] = {
    httpx2.TimeoutException: "timed out",
    httpx2.ConnectError: "cannot connect",
    httpx2.RemoteProtocolError: "the response is not HTTP",
    httpx2.NetworkError: "the camera closed the connection",
    httpx2.DecodingError: "the compressed response is damaged",
}
