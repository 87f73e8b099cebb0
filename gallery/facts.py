"""Facts about a whole gallery: its model, threshold and id."""

from gallery.errors import other_model
from gallery.file import GalleryFile


class Facts:
    """Text by key, stored in a gallery's file."""

    def __init__(self, file: GalleryFile) -> None:
        self._file = file

    def get(self, key: str) -> str | None:
        """Return a stored fact such as "model_id", None where it was never set."""
        with self._file.reading() as connection:
            row = connection.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, facts: dict[str, str]) -> None:
        """Store facts, replacing those of the same key."""
        with self._file.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())

    def claim_model(self, model_id: str, embedding_size: int) -> None:
        """Set the model of an empty file; leave a file of another model unchanged."""
        with self._file.writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO facts VALUES (?, ?)",
                [("model_id", model_id), ("embedding_size", str(embedding_size))],
            )

    def refuse_other_model(self, model_id: str) -> None:
        """Reject a file that was converted to another model while open.

        Raises:
            ModelMismatchError: if it is not of this model.
        """
        held = self.get("model_id")
        if held != model_id:
            raise other_model(self._file.path, str(held), model_id)
