"""Types of the texts and numbers that the HTTP API accepts, with their limits."""

import re
import unicodedata
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema

from gallery import MAX_NAME_LENGTH, clean_name, is_text

MAX_SAFE_INTEGER = 2**53 - 1  # the largest integer that every JSON parser represents exactly
MAX_URL_LENGTH = 2000  # characters: the limit of browsers and proxies
MAX_REFERENCE_LENGTH = 1000  # characters of a name or id to look up, before its form is checked


def _text(text: str) -> str:
    if not is_text(text):
        raise ValueError("must be UTF-8 text")
    if "\x00" in text:
        raise ValueError("must be text without null characters")
    return text


def _line(text: str) -> str:
    if any(unicodedata.category(c) in {"Cc", "Zl", "Zp"} for c in text):
        raise ValueError("must be text without control characters")
    return text


Text = Annotated[str, AfterValidator(_text)]
"""Text of UTF-8; JSON can hold lone surrogates, which no file or database takes."""

# Roughly what `clean_name` accepts, for programs: no control characters, not only spaces.
_ANY = r"[^\u0000-\u001F\u007F-\u009F\u2028\u2029\uE000-\uF8FF\uFFF0-\uFFFF]"
_INK = r"[^\u0000-\u0020\u007F-\u00A0\u00AD\u1680\u2000-\u206F\u3000\uE000-\uF8FF\uFFF0-\uFFFF]"
_NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_NAME_LENGTH,
    "pattern": rf"^{_INK}(?:{_ANY}*{_INK})?$",
}

PersonName = Annotated[
    str, Field(max_length=4000), AfterValidator(clean_name), WithJsonSchema(_NAME)
]
"""The name of a person, in the form in which it is stored."""


def _date_and_time(value: object) -> object:
    # pydantic accepts numbers, too.
    if isinstance(value, str) and not re.match(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}", value):
        raise ValueError("must be a date and time, such as 2026-01-31T12:00:00Z")
    return value


def _day(value: object) -> object:
    # pydantic accepts numbers, too.
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise ValueError("must be a day, such as 2026-01-31")
    return value


Day = Annotated[date, BeforeValidator(_day)]
"""A day of ISO 8601; never a bare number."""

Moment = Annotated[AwareDatetime, BeforeValidator(_date_and_time)]
"""A date and time of ISO 8601 with its offset; never a bare number."""

Reference = Annotated[Text, Field(min_length=1, max_length=MAX_REFERENCE_LENGTH)]
"""The name or id of something that exists."""

Url = Annotated[Text, AfterValidator(_line), Field(max_length=MAX_URL_LENGTH)]
"""An address, or the path of a file."""

RowNumber = Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
"""The number of a photo or event, or a cursor."""
