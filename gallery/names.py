"""Validation of names, text and numbers from people, before storage and lookup.

Names are stored in composed form (Unicode NFC), and two names are the same if they differ only in
case, width or invisible characters (NFKC and case folding, Unicode Standard Annex 15 and
section 3.13, without the characters of the property Default_Ignorable_Code_Point).
"""

import unicodedata

from gallery.errors import InvalidNameError

MAX_NAME_LENGTH = 200  # characters: longer than any legal name, short enough for every page
MAX_INTEGER = 2**63 - 1  # of SQLite: no id, photo number or cursor is larger

_LONGEST_TEXT = 20 * MAX_NAME_LENGTH  # composing longer text could take quadratic time

# Zero width joiner and non-joiner: Persian and Indic names and emoji need them. The tag
# characters (U+E0020 to U+E007F) belong to the flags of England, Scotland and Wales.
_WANTED_FORMATS = frozenset({0x200C, 0x200D, *range(0xE0020, 0xE0080)})

# Format characters that are drawn (property Prepended_Concatenation_Mark).
_VISIBLE_FORMATS = frozenset(
    {*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}
)

# Property Default_Ignorable_Code_Point of Unicode 16, and the blank of Braille.
_INVISIBLE = frozenset(
    {
        *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0, 0x2800),
        *range(0x180B, 0x1810),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
        *range(0xFFF0, 0xFFF9),
        *range(0x1BCA0, 0x1BCA4),
        *range(0x1D173, 0x1D17B),
        *range(0xE0000, 0xE1000),
    }
)


def is_text(text: str) -> bool:
    """Return whether text can be encoded as UTF-8, without lone surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def is_storable(text: str) -> bool:
    """Return whether text can be in a store: UTF-8 without NUL, which PostgreSQL refuses."""
    return is_text(text) and "\0" not in text


def is_row_number(number: int) -> bool:
    """Return whether a number can be a row id."""
    return 0 < number <= MAX_INTEGER


def composed(text: str) -> str:
    """Return text in composed Unicode form, without spaces around or doubled inside."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def clean_name(name: str) -> str:
    """Return a person's name in the form in which it is stored and shown.

    Args:
        name: as typed or as a folder's name; composed (NFC) and stripped here, because the same
            name from a Mac's folder and from a keyboard differ in bytes.

    Raises:
        InvalidNameError: if it is empty, invisible, too long, not UTF-8, or holds control
            characters; the message can be shown for any name.
    """
    if not is_text(name):
        raise InvalidNameError("a name must be UTF-8 text")
    if len(name) <= _LONGEST_TEXT:
        name = composed(name)
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidNameError(f"a name has at most {MAX_NAME_LENGTH} characters, got {len(name)}")
    if not name:
        raise InvalidNameError("a name cannot be empty")
    for c in name:
        if kind := _unwanted(c):
            raise InvalidNameError(f"a name cannot hold the {kind} U+{ord(c):04X}")
    if all(ord(c) in _INVISIBLE or c == " " for c in name):
        raise InvalidNameError("a name cannot consist of invisible characters alone")
    return name


def repaired_name(name: str) -> str:
    """Return a name stored by an older version, without characters that are not allowed now.

    Raises:
        InvalidNameError: if the result is empty.
    """
    kept = "".join(c for c in composed(name) if not _unwanted(c)) if is_text(name) else name
    return clean_name(kept)


def name_key(name: str) -> str:
    """Return the comparison key of a name: equal for names that look the same to people.

    Args:
        name: as of `clean_name`.
    """
    visible = "".join(c for c in name if ord(c) not in _INVISIBLE)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", visible).casefold())
    return " ".join(unicodedata.normalize("NFKC", folded.casefold()).split())


def letters_of(key: str) -> str:
    """Return the letters of a name's sort key, without accents and case."""
    return key.partition("\0")[0]


def escaped(text: str) -> str:
    r"""Return text for one line of output, with unprintable characters escaped.

    Args:
        text: may hold control characters, and bytes of a file's name that are not UTF-8 as
            Python keeps them (PEP 383): they are shown as `\xe9`.
    """
    return "".join(_escape(c) if _unwanted(c) or not is_text(c) else c for c in text)


def _escape(c: str) -> str:
    number = ord(c)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def sort_key(name: str) -> str:
    """Return a name's sort key, for any language: by letter, then accent, then case.

    Args:
        name: as of `clean_name`.
    """
    if name.isascii():
        return f"{name.casefold()}\0{name}"
    folded = name_key(name)
    letters = "".join(
        c for c in unicodedata.normalize("NFD", folded) if not unicodedata.combining(c)
    )
    return f"{letters}\0{folded}\0{name}"


def _unwanted(c: str) -> str:
    """Return the kind of a character that is not allowed in names, "" for all others."""
    category, number = unicodedata.category(c), ord(c)
    if category in {"Cc", "Zl", "Zp"}:
        return "control character"
    if category == "Co":
        return "private-use character"
    if number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF:
        return "noncharacter"
    # An unassigned character (Cn) may be a letter or an emoji of a later Unicode than Python's.
    if category == "Cf" and number not in _WANTED_FORMATS | _VISIBLE_FORMATS:
        is_direction = unicodedata.bidirectional(c) in _DIRECTIONS or number in _MARKS
        return "direction character" if is_direction else "invisible character"
    return ""


_DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_MARKS = frozenset({0x061C, 0x200E, 0x200F})
