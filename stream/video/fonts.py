"""Fonts for names in every script: OpenCV's own, else an installed one.

OpenCV includes Latin, Greek, Cyrillic, Hebrew, Arabic, Chinese, Japanese and Korean letters. For
others fontconfig finds an installed font that has all of a label's characters. Without such a font,
or without fontconfig, they are drawn as question marks.
"""

import subprocess
import threading
from functools import lru_cache

import cv2
import numpy as np

OWN = "sans"

MISSING = "\U0010fffd"
"""A character that no font has: what is drawn like it is missing."""

DIGITS = frozenset("0123456789")

PROBE_PX = 24

ASK_TIMEOUT_S = 5.0
"""How long fontconfig may take, once for each set of letters; its first answer builds a cache."""

REMEMBERED = 4096
"""Characters and labels' fonts remembered: more than the names in any picture."""


def font_for(text: str) -> cv2.FontFace:
    """Return a font that has a text's characters, for the calling thread only."""
    missing = frozenset(each for each in text if not each.isspace() and not _has_own(each))
    # All digits, so that fontconfig is not called again when a similarity or an age changes.
    path = _installed(missing | DIGITS | set(filter(str.isalpha, text))) if missing else ""
    # A font face may be used by one thread at a time.
    return _open(path or OWN, threading.get_ident())


@lru_cache(REMEMBERED)
def _has_own(character: str) -> bool:
    """Return whether OpenCV's own font has a character."""
    return character == "?" or not np.array_equal(_drawn(character), _drawn(MISSING))


def _drawn(character: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    canvas = np.zeros((2 * PROBE_PX, 2 * PROBE_PX, 3), np.uint8)
    origin = (PROBE_PX // 2, 3 * PROBE_PX // 2)
    cv2.putText(canvas, character, origin, (255, 255, 255), cv2.FontFace(OWN), PROBE_PX)
    return canvas


@lru_cache(REMEMBERED)
def _installed(characters: frozenset[str]) -> str:
    """Return the file of a plain sans-serif font with all the characters; empty for none."""
    wanted = " ".join(f"{ord(each):x}" for each in sorted(characters))
    try:
        answer = subprocess.run(
            ["fc-list", f":charset={wanted}", "file", "style", "family"],
            capture_output=True,
            text=True,
            check=False,
            timeout=ASK_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    # One font per line, "FILE: FAMILY:style=STYLE"; collections (.ttc) contain several.
    fonts = [line for line in answer.stdout.splitlines() if ".ttc:" not in line]
    return min(fonts, key=_unlikeness, default="").partition(": ")[0]


def _unlikeness(font: str) -> tuple[bool, bool, str]:
    """Return the sort key of a font: like OpenCV's, upright, even sans-serif letters first."""
    return "Sans" not in font, not font.endswith(("Regular", "Book", "Medium")), font


@lru_cache(64)
def _open(name: str, thread: int) -> cv2.FontFace:
    return cv2.FontFace(name)
