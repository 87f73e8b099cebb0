"""Search for faces: all templates in memory, synchronized with the store."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from gallery import index_file, large_index, templates
from gallery.errors import GalleryError
from gallery.facts import Facts
from gallery.file import GalleryFile
from gallery.identities import Identity, Match
from gallery.index import TemplateIndex
from gallery.large_index import LargeIndex
from gallery.probes import unit_rows
from gallery.store import Store
from gallery.templates import ALL, Share

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]

TOKEN = "index_token"  # the fact that says which file of the index belongs to the gallery
MANY_CHANGES = 100_000  # half of what the journal keeps: the next start still finds all of them
RECENT = 8  # probes that are kept to be compared with all templates
TIE = 1e-6

AnyIndex = TypeVar("AnyIndex", bound=TemplateIndex | LargeIndex)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The people most similar to some probes.

    Attributes:
        matches: for each probe, best first.
        is_whole: whether all people were searched; false while shards do not answer.
    """

    matches: list[list[Match]]
    is_whole: bool


class Searcher:
    """The templates and names of a gallery in memory, and the search over them.

    Thread-safe. A search never waits: it uses the index in memory, which a change replaces as a
    whole.

    Args:
        store: to search.
        model_id: of the model of its embeddings.
        embedding_size: D of that model.
        copy: searched until the store is reached, which is a database that is away now.
        share: of the people, whom alone it holds.

    Attributes:
        source: what is searched: the copy, or the store.
    """

    def __init__(
        self,
        store: Store,
        *,
        model_id: str,
        embedding_size: int,
        copy: Store | None = None,
        share: Share = ALL,
    ) -> None:
        self.model_id = model_id
        self.embedding_size = embedding_size
        self._share = share
        self.source = store if copy is None else copy
        self._store = store
        self._facts = Facts(store)
        self._change_lock = threading.RLock()
        self._seen_version: int | None = None
        self._revision = 0
        # Searched by any thread without a lock: never changed, only replaced by a changed copy.
        self._index: TemplateIndex | LargeIndex = TemplateIndex(embedding_size, self._vectors)
        # None for a very large gallery, whose names are read for each match.
        self._names: dict[int, Identity] | None = {}
        self._recent: deque[Floats] = deque(maxlen=RECENT)
        self._load()

    def __len__(self) -> int:
        """Return the number of templates in the index."""
        return len(self._index)

    @property
    def kind(self) -> str:
        """The kind of index in memory: "flat", "int8" or "pq"."""
        return self._index.kind

    @property
    def known_revision(self) -> int:
        """The number of the last change applied to the index; costs nothing."""
        return self._revision

    @property
    def state(self) -> object:
        """Differs after a change of people, or of what is searched."""
        # The source, too: the copy's revision may be that of a restored database by chance.
        return self.source, self._revision

    def close(self) -> None:
        """Do nothing: the index ends with this object."""

    def identities(self) -> list[Identity]:
        """Return all identities in the index, unordered."""
        names = self._names
        if names is None:
            names = templates.all_names(self.source, self._share)
        return list(names.values())

    def ranked(self, embeddings: Floats, k: int) -> Ranking:
        """Return the k most similar identities of each probe; see `Gallery.ranked`."""
        found = self.best_persons(embeddings, k)
        return Ranking([[match for _, match in each] for each in found], is_whole=True)

    def best_persons(self, embeddings: Floats, k: int) -> list[list[tuple[int, Match]]]:
        """As `ranked`, each match with the number of its person."""
        probes, is_usable = unit_rows(embeddings, self.embedding_size)
        usable = probes[is_usable]
        self._recent.extend(usable[:1])
        ranked = iter(self._index.best_persons(usable, k))
        return [self._named(next(ranked)) if each else [] for each in is_usable]

    def refresh(self) -> bool:
        """Apply changes by others to the store; takes microseconds if there are none.

        Returns:
            Whether there were new changes.
        """
        version = self._store.data_version()
        if version == self._seen_version:
            return False
        changed = self.catch_up()
        self._seen_version = version
        return changed

    def catch_up(self) -> bool:
        """Apply every change of the store; `refresh` checks first whether there is any.

        Returns:
            Whether there were new changes.
        """
        with self._change_lock:
            if self.source is not self._store:
                self._leave_copy()
                return True
            changes = templates.changes_since(self._store, self._revision)
            if changes is None:
                self._facts.refuse_other_model(self.model_id)
                self._load()
                return True
            if changes.revision == self._revision:
                return False
            self._facts.refuse_other_model(self.model_id)
            known = self._names
            persons = np.array(changes.persons, np.int64)
            own = persons[self._share.holds(persons)].tolist()
            names = {} if known is None else templates.names_of(self._store, own)
            if known is not None:
                known.update(names)
            if changes.photo_ids:
                self._index = self._changed(self._index, changes.photo_ids)
            if known is not None:
                for person in own:
                    if person not in names:
                        known.pop(person, None)
            self._revision = changes.revision
            return True

    def tidy(self, pause: Callable[[], None] = lambda: None) -> bool:
        """Write the file of a very large gallery's index anew where much has changed since.

        It takes minutes; searches and changes go on meanwhile.

        Args:
            pause: called after every few thousand templates; what it raises ends the work.

        Returns:
            Whether it was written.
        """
        index = self._index
        if isinstance(index, LargeIndex):
            is_due = index.n_changed > MANY_CHANGES
        else:
            is_due = self._is_large(len(index))
        if not is_due:
            return False
        written, revision = self._written(pause)
        with self._change_lock:
            brought = self._brought_up(written, revision)
            if brought is None:
                return False
            self._index, self._revision = brought
            self._names = None
        return True

    def check_recent(self, pause: Callable[[], None] = lambda: None) -> tuple[int, int]:
        """Compare the latest probes with all templates of a very large gallery.

        Returns:
            How many were compared, and how many of them have the same most similar person; 0 of 0
            for an index whose results are proven anyway.
        """
        index = self._index
        if not isinstance(index, LargeIndex) or not self._recent:
            return 0, 0
        probes = np.stack([self._recent.popleft() for _ in range(len(self._recent))])
        found = index.best_persons(probes, 1)
        exact = index.exact_persons(probes, 1, pause=pause)
        equal = [
            _is_same(one, other)
            for one, other in zip(found, exact, strict=True)
            if other is not None
        ]
        return len(equal), sum(equal)

    def _leave_copy(self) -> None:
        """Search the store, which is reached again, in place of the copy.

        Everything is read: the store may have been restored from a backup meanwhile, whose
        revisions are not those of the copy.

        Raises:
            ModelMismatchError: if the store is of another model.
        """
        if self._facts.get("model_id") is None:  # empty
            self._facts.claim_model(self.model_id, self.embedding_size)
        self._facts.refuse_other_model(self.model_id)
        # Beside the copy, which is searched until all is read.
        other = Searcher(self._store, model_id=self.model_id, embedding_size=self.embedding_size)
        self._names, self._index, self._revision = other._names, other._index, other._revision
        self.source = self._store

    def _changed(self, before: AnyIndex, photo_ids: Sequence[int]) -> AnyIndex:
        ids, persons, embeddings = templates.templates_of(self.source, photo_ids)
        is_own = self._share.holds(persons)  # a photo may have moved to somebody elsewhere
        ids, persons, embeddings = ids[is_own], persons[is_own], embeddings[is_own]
        changed = cast("AnyIndex", before.copy())
        changed.remove(np.array(photo_ids, np.int64))
        if len(ids):
            changed.add(ids, persons, embeddings)
        erased = np.setdiff1d(np.array(photo_ids, np.int64), ids)
        if len(erased):
            before.wipe(erased)
        return changed

    def _vectors(self, photo_ids: Sequence[int]) -> dict[int, Floats]:
        # None if the file was converted to another model: no matches until it is reopened.
        return templates.vectors(self.source, photo_ids, self.model_id)

    def _load(self) -> None:
        # The version and revision are read first: what is committed meanwhile is applied twice
        # rather than never.
        if self.source is self._store:
            self._seen_version = self._store.data_version()
        expected = templates.count(self.source, self._share)
        if self._is_large(expected):
            self._index, self._revision = self._large()
            self._names = None
            return
        revision = templates.revision(self.source)
        index = TemplateIndex(self.embedding_size, self._vectors, expected=expected)
        for ids, persons, embeddings in templates.all_templates(self.source, share=self._share):
            index.add(ids, persons, embeddings)
        self._names = templates.all_names(self.source, self._share)
        self._index = index
        self._revision = revision

    def _is_large(self, n: int) -> bool:
        return n > large_index.LARGE_ROWS and index_file.is_suited(self.embedding_size)

    def _large(self) -> tuple[LargeIndex, int]:
        try:
            file = index_file.read(
                self._index_path(),
                token=Facts(self.source).get(TOKEN),
                model_id=self.model_id,
                embedding_size=self.embedding_size,
            )
        except index_file.UnusableIndexError:
            logger.info("writing the index of a large gallery: it takes a minute or more")
        else:
            index = LargeIndex(file, self._vectors)
            brought = self._brought_up(index, file.head.revision)
            if brought is not None:
                return brought
        index, revision = self._written(lambda: None)
        return self._brought_up(index, revision) or (index, revision)

    def _brought_up(self, index: LargeIndex, revision: int) -> tuple[LargeIndex, int] | None:
        """Apply the changes since a revision; None if the journal does not reach back so far."""
        changes = templates.changes_since(self.source, revision)
        if changes is None:
            return None
        # Erased once, and stored again by a backup that was restored.
        photo_ids = np.union1d(np.array(changes.photo_ids, np.int64), index.wiped())
        if len(photo_ids):
            index = self._changed(index, photo_ids.tolist())
        return index, changes.revision

    def _written(self, pause: Callable[[], None]) -> tuple[LargeIndex, int]:
        token = uuid4().hex
        revision = templates.revision(self.source)
        head = index_file.Head(token, self.model_id, self.embedding_size, revision)

        def batches() -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Floats]]:
            for batch in templates.all_templates(self.source, share=self._share):
                yield batch
                pause()

        try:
            file = index_file.write(
                self._index_path(), batches(), head, claim=lambda: self._facts.put({TOKEN: token})
            )
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            where = self._index_path() or "of a large gallery"
            raise GalleryError(f"cannot write the index {where}: {why}") from error
        return LargeIndex(file, self._vectors), revision

    def _index_path(self) -> Path | None:
        """Return where the file is; None for one without a name, of a database or a share."""
        if not isinstance(self._store, GalleryFile) or self._share != ALL:
            return None
        return self._store.path.with_name(self._store.path.name + index_file.SUFFIX)

    def _named(self, ranked: list[tuple[int, float]]) -> list[tuple[int, Match]]:
        matches, names = [], self._names
        if names is None:
            try:
                names = templates.names_of(self.source, [each for each, _ in ranked], wait_s=0.0)
            except GalleryError:  # locked or gone: nobody is named meanwhile
                return []
        for person, similarity in ranked:
            identity = names.get(person)
            if identity is not None:  # else erased since the search, a moment ago
                matches.append((person, Match(identity, similarity)))
        return matches


def _is_same(one: list[tuple[int, float]], other: list[tuple[int, float]]) -> bool:
    if not one or not other:
        return not one and not other
    (person, similarity), (other_person, other_similarity) = one[0], other[0]
    return person == other_person or abs(similarity - other_similarity) < TIE
