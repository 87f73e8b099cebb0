"""Splitting of a byte stream into JPEG and PNG images, with any bytes between them.

The "multipart" responses of small cameras lack the first boundary, or the parts' types or lengths,
or hold wrong ones. The images mark their own start and end, so nothing else is read.
"""

import re
from collections.abc import Iterator

MAX_IMAGE = 32 * 1024 * 1024
"""Bytes of an image at most: a 50-megapixel JPEG has about 20 MB."""

START = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n")
LONGEST_START = 8

# Within entropy-coded data FF is followed by 00 or RST0 to RST7, ITU-T T.81 section B.1.1.
MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
ALONE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a segment after them, ITU-T T.81 table B.1."""

FIRST_SEGMENT = 0xC0
"""Markers below it are reserved: what has one is no JPEG, or is damaged."""


class TooLargeError(ValueError):
    """Raised when an image does not end within `MAX_IMAGE` bytes."""


class ImageSplitter:
    """Finds the images in bytes that arrive in pieces; holds one image at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # parsed bytes of the image at the start of the buffer
        self._is_in_image = False
        self._is_in_scan = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add a piece of the stream and return the images that it completes.

        Raises:
            TooLargeError: if an image exceeds the limit; the splitter cannot be used afterwards.
        """
        self._buffer += data
        while self._find_start():
            end = self._png_end() if self._buffer[0] == 0x89 else self._jpeg_end()
            if end is None:
                if len(self._buffer) > MAX_IMAGE:
                    raise TooLargeError(f"no image ends within {MAX_IMAGE >> 20} MiB")
                return
            image = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._is_in_image = False
            if image:
                yield image

    def rest(self) -> bytes:
        """Return an image that has no end yet: some cameras omit its last marker."""
        return bytes(self._buffer) if self._is_in_image else b""

    def _find_start(self) -> bool:
        """Move the next image to the front of the buffer; return false where there is none."""
        if self._is_in_image:
            return True
        match = START.search(self._buffer)
        if match is None:
            # This piece may end with the first bytes of an image.
            del self._buffer[: max(0, len(self._buffer) - LONGEST_START + 1)]
            return False
        del self._buffer[: match.start()]
        self._is_in_image, self._is_in_scan = True, False
        self._at = 2 if self._buffer[0] == 0xFF else LONGEST_START
        return True

    def _jpeg_end(self) -> int | None:
        """Parse a JPEG's segments; return the offset of its end, None if not received yet."""
        buffer = self._buffer
        while True:
            if self._is_in_scan:
                match = MARKER_IN_SCAN.search(buffer, self._at)
                if match is None:
                    self._at = max(self._at, len(buffer) - 1)
                    return None
                self._at, self._is_in_scan = match.start(), False
            if len(buffer) < self._at + 4:
                is_end = buffer[self._at : self._at + 2] == b"\xff\xd9"
                return self._at + 2 if is_end else None
            if buffer[self._at] != 0xFF:
                return self._skip()
            marker = buffer[self._at + 1]
            if marker == 0xFF:
                self._at += 1  # fill
            elif marker == EOI:
                return self._at + 2
            elif marker == SOI:
                return self._at  # the next image starts before the end of this one
            elif marker in ALONE:
                self._at += 2
            elif marker < FIRST_SEGMENT:
                return self._skip()
            else:
                self._at += 2 + int.from_bytes(buffer[self._at + 2 : self._at + 4], "big")
                self._is_in_scan = marker == SOS

    def _png_end(self) -> int | None:
        """Parse a PNG's chunks (ISO/IEC 15948 section 5.3); return as `_jpeg_end`."""
        while len(self._buffer) >= self._at + 8:
            length = int.from_bytes(self._buffer[self._at : self._at + 4], "big")
            is_last = self._buffer[self._at + 4 : self._at + 8] == b"IEND"
            if self._at + length > MAX_IMAGE:
                return self._skip()
            if is_last:
                end = self._at + 12 + length
                return end if len(self._buffer) >= end else None
            self._at += 12 + length
        return None

    def _skip(self) -> int:
        """Discard data that is not an image: search for the next one after its first bytes."""
        del self._buffer[:2]
        return 0
