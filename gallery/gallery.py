"""The gallery: people, their photos, and the search for faces."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gallery import templates
from gallery.address import Place
from gallery.errors import (
    GalleryBusyError,
    GalleryFormatError,
    GalleryUnreachableError,
    ModelMismatchError,
)
from gallery.facts import Facts
from gallery.identities import Match
from gallery.opening import open_store
from gallery.people import People
from gallery.people_copy import PeopleCopy, copied_at
from gallery.photos import Photos
from gallery.searcher import Ranking, Searcher
from gallery.shards import AnySearcher, DividedSearcher, ShardState, n_shards
from gallery.store import WAIT_FOR_OTHERS_S, WAIT_TO_READ_S, Access, Store
from gallery.thresholds import TYPICAL, Growth, naming_threshold, raised

Floats = NDArray[np.float32]

TIE = 1e-6  # float32 cannot order closer similarities of 128 to 512 dimensions: no match


class Gallery:
    """People, their photos' embeddings, and the search over them.

    Thread-safe. A search never waits: it uses the index in memory, which a change replaces as a
    whole. Changes by another process are visible after `refresh`. Writes are serialized, wait a
    limited time for another process, and then raise `GalleryBusyError`. Open it with
    `Gallery.open`, or with `Gallery.open_any` if it is not searched.

    Attributes:
        people: find, list, rename, merge, erase people.
        photos: add, read, move, erase photos.
        facts: about the whole gallery.
        store: where it is kept.
        model_id: of the model of its embeddings.
        embedding_size: D of that model.
    """

    def __init__(
        self, store: Store, *, model_id: str, embedding_size: int, copy: Store | None = None
    ) -> None:
        self.store = store
        self._copy = copy
        self.model_id = model_id
        self.embedding_size = embedding_size
        self.facts = Facts(store)
        n = 0 if copy is not None else n_shards(self.facts)
        self._searcher: AnySearcher = (
            DividedSearcher(store, model_id=model_id, embedding_size=embedding_size, n=n)
            if n
            else Searcher(store, model_id=model_id, embedding_size=embedding_size, copy=copy)
        )
        self.people = People(store, self._searcher)
        self.photos = Photos(store, self._searcher)

    @classmethod
    def open(
        cls,
        place: Place,
        *,
        model_id: str,
        embedding_size: int,
        wait_s: float = WAIT_FOR_OTHERS_S,
        copy: PeopleCopy | None = None,
    ) -> Self:
        """Open the gallery at a place, creating it if there is none.

        Args:
            place: directory or address of the gallery.
            model_id: of the model of enrolled embeddings and probes.
            embedding_size: D of that model.
            wait_s: how long a write waits for other writers, seconds.
            copy: searched while the database is away, if there is one; `refresh` goes on with the
                database once it is back.

        Raises:
            ModelMismatchError: if the gallery is of another model.
            GalleryFormatError: if it is not a gallery, damaged, or newer.
            GalleryError: if the disk or the permissions do not allow it.
        """
        with ExitStack() as on_failure:
            try:
                store = open_store(place, access=Access.CREATE, wait_s=wait_s)
            except GalleryUnreachableError:
                gallery = cls._from_copy(
                    place,
                    copy,
                    access=Access.CREATE,
                    wait_s=wait_s,
                    model_id=model_id,
                    embedding_size=embedding_size,
                )
                if gallery is None:
                    raise
                return gallery
            on_failure.callback(store.close)
            if Facts(store).get("model_id") is None:
                Facts(store).claim_model(model_id, embedding_size)
            _check_model(store, model_id, embedding_size)
            # It only saves space, which can wait for the next start.
            with suppress(GalleryBusyError):
                templates.trim_journal(store)
            gallery = cls(store, model_id=model_id, embedding_size=embedding_size)
            on_failure.pop_all()
        return gallery

    @classmethod
    def open_to_read(
        cls, place: Place, *, model_id: str, embedding_size: int, copy: PeopleCopy | None = None
    ) -> Self:
        """Open an existing gallery for searching; nothing in its directory is created or changed.

        Args:
            place: directory or address of the gallery; may be on read-only media.
            model_id: of the model of the probes.
            embedding_size: D of that model.
            copy: as for `open`.

        Raises:
            ModelMismatchError: if the gallery is of another model.
            GalleryFormatError: if there is none, or it is foreign, damaged or newer.
            GalleryError: if the permissions do not allow it.
        """
        with ExitStack() as on_failure:
            try:
                store = open_store(place, access=Access.READ)
            except GalleryUnreachableError:
                gallery = cls._from_copy(
                    place,
                    copy,
                    access=Access.READ,
                    model_id=model_id,
                    embedding_size=embedding_size,
                )
                if gallery is None:
                    raise
                return gallery
            on_failure.callback(store.close)
            if Facts(store).get("model_id") is not None:
                _check_model(store, model_id, embedding_size)
            gallery = cls(store, model_id=model_id, embedding_size=embedding_size)
            on_failure.pop_all()
        return gallery

    @classmethod
    def _from_copy(
        cls,
        place: Place,
        copy: PeopleCopy | None,
        *,
        access: Access,
        model_id: str,
        embedding_size: int,
        wait_s: float = WAIT_FOR_OTHERS_S,
    ) -> Self | None:
        """Return a gallery that searches a copy; None where there is none that can be used."""
        if copy is None:
            return None
        file = copy.open_to_read(place, model_id=model_id, embedding_size=embedding_size)
        if file is None:
            return None
        with ExitStack() as on_failure:
            on_failure.callback(file.close)
            store = open_store(place, access=access, wait_s=wait_s, is_away=True)
            on_failure.callback(store.close)
            try:
                gallery = cls(store, model_id=model_id, embedding_size=embedding_size, copy=file)
            except GalleryFormatError:  # damaged: as if there were none
                return None
            on_failure.pop_all()
        return gallery

    @classmethod
    def open_any(cls, place: Place, *, access: Access = Access.WRITE) -> Self:
        """Open an existing gallery of any model, for maintenance.

        Args:
            place: directory or address of the gallery.
            access: `Access.READ` to only read it; nothing in the directory is created or
                changed then, and it may be on read-only media.

        Raises:
            GalleryFormatError: if there is none, or it is foreign, damaged or newer.
            GalleryError: if the disk or the permissions do not allow it.
        """
        with ExitStack() as on_failure:
            store = open_store(place, access=access)
            on_failure.callback(store.close)
            facts = Facts(store)
            model_id, size = facts.get("model_id"), facts.get("embedding_size")
            if model_id is None or size is None:
                raise GalleryFormatError(
                    f"the gallery {store.place} is empty: enroll somebody first"
                )
            gallery = cls(store, model_id=model_id, embedding_size=int(size))
            on_failure.pop_all()
        return gallery

    def close(self) -> None:
        """Close the store; safe to call twice."""
        self._searcher.close()
        self.store.close()
        if self._copy is not None:
            self._copy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of templates in the index."""
        return len(self._searcher)

    @property
    def gallery_id(self) -> str:
        """A permanent UUID of the gallery, the same in copies and backups."""
        return self.facts.get("gallery_id") or ""

    @property
    def source(self) -> Store:
        """What is searched: the store, or its copy until the store was reached."""
        return self._searcher.source

    @property
    def copied_at(self) -> float | None:
        """When the copy that is searched was made, seconds since 1970; None: it is the store."""
        source = self._searcher.source
        return None if source is self.store else copied_at(source)

    @property
    def index_kind(self) -> str:
        """The kind of index: "flat" or "int8", which are exact, "pq", or "shards" elsewhere."""
        return self._searcher.kind

    @property
    def known_revision(self) -> int:
        """The number of the last change applied to the index; costs nothing."""
        return self._searcher.known_revision

    @property
    def state(self) -> object:
        """Differs after a change of what is searched, such as of people; costs nothing."""
        return self._searcher.state

    def shards(self) -> tuple[ShardState, ...]:
        """Return what is known of the shards that hold the people; none if this process does."""
        return self._searcher.shards() if isinstance(self._searcher, DividedSearcher) else ()

    def unsearched(self) -> str:
        """Return why a part of the people was not searched lately, one line; empty if all were."""
        shards = self.shards()
        away = [each for each in shards if not each.is_there]
        if not away:
            return ""
        numbers = ", ".join(str(each.number) for each in away)
        if len(away) == len(shards):
            return (
                f"none of the {len(shards)} shards answers, so nobody is searched: they run while "
                "the cluster does, see facewire cluster start"
            )
        return (
            f"{len(away)} of {len(shards)} shards (number {numbers}) do not answer: the people in "
            "them are not searched, all others are"
        )

    def revision(self, *, wait_s: float = WAIT_TO_READ_S) -> int:
        """Return the number of the last change by any process to people or photos.

        Args:
            wait_s: see `Store.reading`.
        """
        return templates.revision(self.store, wait_s=wait_s)

    def refresh(self) -> bool:
        """Apply changes by others to the store; takes microseconds if there are none.

        Returns:
            Whether there were new changes.
        """
        return self._searcher.refresh()

    def tidy(self, pause: Callable[[], None] = lambda: None) -> bool:
        """Write the index of a very large gallery anew if it is due; see `Searcher.tidy`."""
        return self._searcher.tidy(pause)

    def check_recent(self, pause: Callable[[], None] = lambda: None) -> tuple[int, int]:
        """Compare the latest probes with all templates; see `Searcher.check_recent`."""
        return self._searcher.check_recent(pause)

    def search(
        self, embeddings: Floats, *, threshold: float, margin: float = 0.0
    ) -> list[Match | None]:
        """Return the match of each probe, None for a stranger.

        An identity's similarity is that of its best template. A probe that is equally similar to
        another identity has no match, whatever the margin: a wrong name is worse than none.

        Args:
            embeddings: (N, D) float32 probes of this gallery's model, all simultaneous faces in
                one call; a row that is zero or not finite has no match.
            threshold: minimum cosine in [-1, 1] of a match.
            margin: minimum difference to the similarity of the best other identity, >= 0.

        Returns:
            For each probe its match, or None.

        Raises:
            ValueError: if embeddings are not (N, D).
        """
        return [
            _decided(ranked, threshold=threshold, margin=margin)
            for ranked in self.best(embeddings, k=2)
        ]

    def best(self, embeddings: Floats, k: int = 1) -> list[list[Match]]:
        """Return the k most similar identities of each probe, with any similarity.

        Args:
            embeddings: (N, D) float32, as for `search`.
            k: maximum number of identities.

        Returns:
            For each probe its candidates, best first; fewer than k in a small gallery.

        Raises:
            ValueError: if embeddings are not (N, D).
        """
        return self.ranked(embeddings, k).matches

    def ranked(self, embeddings: Floats, k: int) -> Ranking:
        """As `best`, and whether all people were searched: shards may be away.

        Raises:
            ValueError: if embeddings are not (N, D).
        """
        return self._searcher.ranked(embeddings, k)

    def threshold_for(self, pairwise: float, growth: Growth = TYPICAL) -> float:
        """Return the threshold for searching this gallery.

        Args:
            pairwise: the model card's threshold for two faces.
            growth: of the model.

        Returns:
            The calibrated threshold, raised if there are more people since; else `naming_threshold`
            for the number of people.
        """
        source = self._searcher.source
        facts, people = Facts(source), templates.count_people(source)
        chosen = facts.get("threshold")
        if chosen is None:
            return naming_threshold(pairwise, people, growth)
        before = int(facts.get("threshold_people") or people)
        return float(chosen) + raised(before, people, growth.per_decade)


def _decided(ranked: list[Match], *, threshold: float, margin: float) -> Match | None:
    if not ranked or ranked[0].similarity < threshold:
        return None
    if len(ranked) > 1:
        lead = ranked[0].similarity - ranked[1].similarity
        if lead < margin or lead <= TIE:
            return None
    return ranked[0]


def _check_model(store: Store, model_id: str, embedding_size: int) -> None:
    facts, place = Facts(store), store.place
    held = facts.get("model_id")
    if held != model_id:
        raise ModelMismatchError(
            f"the gallery {place} holds embeddings of {held}, not of {model_id}: "
            f"open it with that model, or run `facewire gallery reembed`"
        )
    size = facts.get("embedding_size")
    if size != str(embedding_size):
        raise ModelMismatchError(
            f"the gallery {place} holds embeddings of {size} numbers, not of {embedding_size}"
        )
