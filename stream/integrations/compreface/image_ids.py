"""Photo numbers as CompreFace's image ids, which are UUIDs."""

import re

_FORM = re.compile(r"00000000-0000-4000-8000-([0-9a-f]{12})", re.IGNORECASE)


def image_id_of(photo_id: int) -> str:
    """Return the image id of a photo: a UUID with the number in its last 12 digits."""
    return f"00000000-0000-4000-8000-{photo_id:012x}"


def photo_id_of(image_id: str) -> int | None:
    """Return the number of the photo of an image id; None if no photo can have it."""
    found = _FORM.fullmatch(image_id)
    return int(found[1], 16) or None if found else None
