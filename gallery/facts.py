"""Facts about a whole gallery: its model, threshold and id."""

from gallery.errors import other_model
from gallery.store import Store

PUT_FACT = (
    "INSERT INTO facts (key, value) VALUES (?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
"""Statement that stores a fact, in place of one of the same key."""


class Facts:
    """Text by key, stored with a gallery."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> str | None:
        """Return a stored fact such as "model_id", None where it was never set."""
        with self._store.reading() as connection:
            row = connection.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def all(self) -> dict[str, str]:
        """Return all stored facts."""
        with self._store.reading() as connection:
            return dict(connection.execute("SELECT key, value FROM facts").fetchall())

    def put(self, facts: dict[str, str]) -> None:
        """Store facts, replacing those of the same key."""
        with self._store.writing() as connection:
            connection.executemany(PUT_FACT, list(facts.items()))

    def claim_model(self, model_id: str, embedding_size: int) -> None:
        """Set the model of an empty store; leave a store of another model unchanged."""
        with self._store.writing() as connection:
            connection.executemany(
                "INSERT INTO facts VALUES (?, ?) ON CONFLICT DO NOTHING",
                [("model_id", model_id), ("embedding_size", str(embedding_size))],
            )

    def refuse_other_model(self, model_id: str) -> None:
        """Reject a store that was converted to another model while open.

        Raises:
            ModelMismatchError: if it is not of this model.
        """
        held = self.get("model_id")
        if held != model_id:
            raise other_model(self._store.place, str(held), model_id)
