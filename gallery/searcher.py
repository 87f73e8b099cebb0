"""Search for faces: all templates in memory, synchronized with the file."""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gallery import templates
from gallery.facts import Facts
from gallery.file import GalleryFile
from gallery.identities import Identity, Match
from gallery.index import TemplateIndex
from gallery.probes import unit_rows

Floats = NDArray[np.float32]


class Searcher:
    """The templates and names of a gallery in memory, and the search over them.

    Thread-safe. A search never waits: it uses the index in memory, which a change replaces as a
    whole.

    Args:
        file: to search.
        model_id: of the model of its embeddings.
        embedding_size: D of that model.
    """

    def __init__(self, file: GalleryFile, *, model_id: str, embedding_size: int) -> None:
        self.model_id = model_id
        self.embedding_size = embedding_size
        self._file = file
        self._facts = Facts(file)
        self._change_lock = threading.RLock()
        self._seen_version = 0
        self._revision = 0
        # Searched by any thread without a lock: never changed, only replaced by a changed copy.
        self._index = TemplateIndex(embedding_size, self._vectors)
        self._names: dict[int, Identity] = {}
        self._load()

    def __len__(self) -> int:
        """Return the number of templates in the index."""
        return len(self._index)

    @property
    def kind(self) -> str:
        """The kind of index in memory, "flat" or "int8"; results do not depend on it."""
        return self._index.kind

    @property
    def known_revision(self) -> int:
        """The number of the last change applied to the index; costs nothing."""
        return self._revision

    def identities(self) -> list[Identity]:
        """Return all identities in the index, unordered."""
        return list(self._names.values())

    def best(self, embeddings: Floats, k: int) -> list[list[Match]]:
        """Return the k most similar identities of each probe; see `Gallery.best`."""
        probes, is_usable = unit_rows(embeddings, self.embedding_size)
        ranked = iter(self._index.best_persons(probes[is_usable], k))
        return [self._named(next(ranked)) if usable else [] for usable in is_usable]

    def refresh(self) -> bool:
        """Apply changes by others to the file; takes microseconds if there are none.

        Returns:
            Whether there were new changes.
        """
        version = self._file.data_version()
        if version == self._seen_version:
            return False
        changed = self.catch_up()
        self._seen_version = version
        return changed

    def catch_up(self) -> bool:
        """Apply every change of the file; `refresh` checks first whether there is any.

        Returns:
            Whether there were new changes.
        """
        with self._change_lock:
            changes = templates.changes_since(self._file, self._revision)
            if changes is None:
                self._facts.refuse_other_model(self.model_id)
                self._load()
                return True
            if changes.revision == self._revision:
                return False
            self._facts.refuse_other_model(self.model_id)
            before = self._index
            names = templates.names_of(self._file, changes.persons)
            self._names.update(names)
            if changes.photo_ids:
                self._index = self._changed(before, changes.photo_ids)
            for person in changes.persons:
                if person not in names:
                    self._names.pop(person, None)
            self._revision = changes.revision
            return True

    def _changed(self, before: TemplateIndex, photo_ids: Sequence[int]) -> TemplateIndex:
        ids, persons, embeddings = templates.templates_of(self._file, photo_ids)
        changed = before.copy()
        changed.remove(np.array(photo_ids, np.int64))
        if len(ids):
            changed.add(ids, persons, embeddings)
        erased = np.setdiff1d(np.array(photo_ids, np.int64), ids)
        if len(erased):
            before.wipe(erased)
        return changed

    def _vectors(self, photo_ids: Sequence[int]) -> dict[int, Floats]:
        # None if the file was converted to another model: no matches until it is reopened.
        return templates.vectors(self._file, photo_ids, self.model_id)

    def _load(self) -> None:
        # The version and revision are read first: what is committed meanwhile is applied twice
        # rather than never.
        self._seen_version = self._file.data_version()
        revision = templates.revision(self._file)
        index = TemplateIndex(
            self.embedding_size, self._vectors, expected=templates.count(self._file)
        )
        for ids, persons, embeddings in templates.all_templates(self._file):
            index.add(ids, persons, embeddings)
        self._names = templates.all_names(self._file)
        self._index = index
        self._revision = revision

    def _named(self, ranked: list[tuple[int, float]]) -> list[Match]:
        matches = []
        for person, similarity in ranked:
            identity = self._names.get(person)
            if identity is not None:  # else erased since the search, a moment ago
                matches.append(Match(identity, similarity))
        return matches
