"""Opening the store of a gallery: a directory, or the address of a database."""

from pathlib import Path

from gallery.address import Place, is_address
from gallery.errors import GalleryError
from gallery.file import GalleryFile
from gallery.store import WAIT_FOR_OTHERS_S, Access, Store


def open_store(
    place: Place, *, access: Access, wait_s: float = WAIT_FOR_OTHERS_S, is_away: bool = False
) -> Store:
    """Open the store at a place.

    Args:
        place: of the store.
        access: whether it is written, and created if missing.
        wait_s: how long a write waits for other writers, seconds.
        is_away: whether the database is known to be away: it is reached once it is back.

    Raises:
        GalleryFormatError: if it is missing, foreign, damaged or newer.
        GalleryError: if it cannot be used.
    """
    if not is_address(place):
        return GalleryFile(Path(place), access=access, wait_s=wait_s)
    try:
        from gallery.postgresql.store import PostgresStore
    except ModuleNotFoundError as error:
        raise GalleryError(
            "a gallery in PostgreSQL needs psycopg: pip install '.[cluster]'"
        ) from error
    return PostgresStore(str(place), access=access, wait_s=wait_s, is_away=is_away)
