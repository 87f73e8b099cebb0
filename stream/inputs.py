"""What the HTTP API takes from people as text and numbers, bounded before anything is stored."""

from typing import Annotated

from pydantic import AfterValidator, Field

from gallery import MAX_INTEGER, clean_name, is_text

MAX_URL_LENGTH = 2000  # characters: what browsers and proxies take
MAX_REFERENCE_LENGTH = 1000  # characters of a name or id to look up: a name's form is not one yet


def _text(text: str) -> str:
    if not is_text(text):
        raise ValueError("must be UTF-8 text")
    if "\x00" in text:
        raise ValueError("must be text without null characters")
    return text


Text = Annotated[str, AfterValidator(_text)]
"""Text of UTF-8; JSON can hold lone surrogates, which no file or database takes."""

PersonName = Annotated[str, Field(max_length=4000), AfterValidator(clean_name)]
"""The name of a person, in the form in which it is stored."""

Reference = Annotated[Text, Field(min_length=1, max_length=MAX_REFERENCE_LENGTH)]
"""The name or id of something that exists."""

Url = Annotated[Text, Field(max_length=MAX_URL_LENGTH)]
"""An address, or the path of a file."""

RowNumber = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
"""The number of a photo or event, or a cursor."""
