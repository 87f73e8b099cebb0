"""The people a service knows, and the question who a face is."""

import base64
import threading
from bisect import bisect_right
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gallery import templates
from gallery.connections import WAIT_FOR_OTHERS_S
from gallery.errors import GalleryBusyError, GalleryFormatError, ModelMismatchError, other_model
from gallery.identities import Identity, IdentitySummary, Match, NewPhoto, PeoplePage, Photo, Target
from gallery.index import TemplateIndex
from gallery.names import composed, letters_of, sort_key
from gallery.store import Access, Choose, Store
from gallery.thresholds import TYPICAL, Growth, naming_threshold, raised

Floats = NDArray[np.float32]

MIN_NORM = 1e-6  # a shorter embedding has no direction to speak of
UNIT_TOLERANCE = 1e-6  # what rounding to float32 leaves of a length of 1
TIE = 1e-6  # similarities closer than float32 can tell at 128 to 512 numbers: nobody is named


class Gallery:
    """People, their photos' embeddings, and the search over them.

    Any thread may call any method. A search waits for nobody: it uses what is in memory, which
    a change replaces as a whole. What another process changed is seen after `refresh`. Writes are
    serialized, wait a bounded time for another process, and raise `GalleryBusyError` beyond it.
    Open it with `Gallery.open`, or `Gallery.open_any` where no probe will be asked.
    """

    def __init__(self, store: Store, *, model_id: str, embedding_size: int) -> None:
        self.store = store
        self.model_id = model_id
        self.embedding_size = embedding_size
        self._change_lock = threading.RLock()
        self._seen_version = 0
        self._revision = 0
        # Searched by any thread without a lock: never changed, replaced by a changed copy.
        self._index = TemplateIndex(embedding_size, self._vectors)
        self._names: dict[int, Identity] = {}
        self._order: tuple[int, list[tuple[str, Identity]]] = (-1, [])
        self._load()

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        model_id: str,
        embedding_size: int,
        wait_s: float = WAIT_FOR_OTHERS_S,
    ) -> Self:
        """Open the gallery in a directory, making it when there is none.

        Args:
            directory: where it is.
            model_id: of the model whose embeddings will be enrolled and asked about.
            embedding_size: D of that model.
            wait_s: how long a write waits for other writers, seconds.

        Raises:
            ModelMismatchError: if the gallery belongs to another model.
            GalleryFormatError: if what is there is no gallery, damaged, or newer.
            GalleryError: if the disk or the permissions do not allow it.
        """
        store = Store(directory, access=Access.CREATE, wait_s=wait_s)
        try:
            if store.fact("model_id") is None:
                store.claim_model(model_id, embedding_size)
            _check_model(store, model_id, embedding_size)
            # It saves room, which can wait for the next start.
            with suppress(GalleryBusyError):
                templates.trim_journal(store)
            return cls(store, model_id=model_id, embedding_size=embedding_size)
        except BaseException:
            store.close()
            raise

    @classmethod
    def open_to_read(cls, directory: Path, *, model_id: str, embedding_size: int) -> Self:
        """Open an existing gallery to search it; nothing in its directory is made or changed.

        Args:
            directory: where it is, on read-only media too.
            model_id: of the model whose embeddings will be asked about.
            embedding_size: D of that model.

        Raises:
            ModelMismatchError: if the gallery belongs to another model.
            GalleryFormatError: if there is none, or it is foreign, damaged or newer.
            GalleryError: if the permissions do not allow it.
        """
        store = Store(directory, access=Access.READ)
        try:
            if store.fact("model_id") is not None:
                _check_model(store, model_id, embedding_size)
            return cls(store, model_id=model_id, embedding_size=embedding_size)
        except BaseException:
            store.close()
            raise

    @classmethod
    def open_any(cls, directory: Path, *, access: Access = Access.WRITE) -> Self:
        """Open an existing gallery of whatever model, to look after it.

        Args:
            directory: where it is.
            access: `Access.READ` where it is only looked at; nothing in the directory is made or
                changed then, and it may be on read-only media.

        Raises:
            GalleryFormatError: if there is none, or it is foreign, damaged or newer.
            GalleryError: if the disk or the permissions do not allow it.
        """
        store = Store(directory, access=access)
        try:
            model_id, size = store.fact("model_id"), store.fact("embedding_size")
            if model_id is None or size is None:
                raise GalleryFormatError(f"the gallery {directory} is empty: enroll somebody first")
            return cls(store, model_id=model_id, embedding_size=int(size))
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self.store.close()

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
        """Return how many templates are searched."""
        return len(self._index)

    @property
    def gallery_id(self) -> str:
        """A UUID that the file keeps for life, in copies and backups too."""
        return self.store.fact("gallery_id") or ""

    @property
    def index_kind(self) -> str:
        """How the templates are held in memory: "flat" or "int8"; answers do not depend on it."""
        return self._index.kind

    # -- asking

    def search(
        self, embeddings: Floats, *, threshold: float, margin: float = 0.0
    ) -> list[Match | None]:
        """Say who each probe is, or that they are nobody here.

        An identity's similarity is that of its best template. A probe as similar to somebody
        else is nobody's, whatever the margin: a wrong name is worse than none.

        Args:
            embeddings: (N, D) float32 probes of this gallery's model, in one call for all faces
                of a moment; a row that is zero or not finite matches nobody.
            threshold: cosine in [-1, 1] from which on a probe is accepted.
            margin: how much more similar than the best other identity it must be, >= 0.

        Returns:
            For each probe its match, or None.

        Raises:
            ValueError: if embeddings are not (N, D).
        """
        return [
            _decided(ranked, threshold=threshold, margin=margin)
            for ranked in self.best(embeddings, k=2)
        ]

    def threshold_for(self, pairwise: float, growth: Growth = TYPICAL) -> float:
        """Return the threshold to search this gallery with.

        Args:
            pairwise: the model card's, for two faces.
            growth: of the model.

        Returns:
            The one chosen by calibration, raised where there are more people by now; else
            `naming_threshold` for as many people as are here.
        """
        chosen, people = self.store.fact("threshold"), self.store.n_people()
        if chosen is None:
            return naming_threshold(pairwise, people, growth)
        before = int(self.store.fact("threshold_people") or people)
        return float(chosen) + raised(before, people, growth.per_decade)

    def best(self, embeddings: Floats, k: int = 1) -> list[list[Match]]:
        """Return the k most similar identities of each probe, whatever their similarity.

        Args:
            embeddings: (N, D) float32, as for `search`.
            k: how many identities at most.

        Returns:
            For each probe its candidates, best first; fewer than k where the gallery is small.

        Raises:
            ValueError: if embeddings are not (N, D).
        """
        probes, is_usable = self._as_probes(embeddings)
        ranked = iter(self._index.best_persons(probes[is_usable], k))
        return [self._named(next(ranked)) if usable else [] for usable in is_usable]

    # -- enrolling and correcting

    def enroll(
        self,
        name: str,
        embedding: Floats,
        *,
        crop: NDArray[np.uint8] | None,
        source_sha256: str,
        quality: float,
    ) -> Identity:
        """Add one photo to the person of that name, making the person if new.

        On return it is on the disk and searched. A photo that the person already has, by its
        source, changes nothing.

        Args:
            name: whose it is.
            embedding: (D,) float32 of this gallery's model.
            crop: (112, 112, 3) uint8 RGB, aligned, to embed again with another model; None
                where it shall not be kept.
            source_sha256: of the file or crop it came from, 64 hexadecimal digits.
            quality: in [0, 1].

        Raises:
            ValueError: if the name is empty or the embedding is not (D,), finite and non-zero.
            GalleryError: if the disk does not take it; nothing is changed then.
        """
        photo = NewPhoto(embedding, crop, source_sha256, quality)
        return self.enroll_many(name, [photo])[0]

    def enroll_many(self, name: str, photos: Sequence[NewPhoto]) -> tuple[Identity, list[bool]]:
        """Add photos to one person, all in one step on the disk.

        Returns:
            The person, and for each photo whether it was new.
        """
        identity, added = self.store.add(Target(name), self._unit(photos), self.model_id)
        self._catch_up()
        assert identity is not None  # made, where there was none
        return identity, added

    def enroll_checked(
        self, target: Target, photos: Sequence[NewPhoto], choose: Choose
    ) -> tuple[Identity | None, list[bool]]:
        """Add those photos of a person that pass a check, which is made at the moment of writing.

        Args:
            target: whose they are.
            photos: candidates; one whose source the person already has is left out.
            choose: called with whom the target is by now, None for somebody new; returns the
                positions of the photos to add. Nobody else, in any process, writes before they
                are on the disk, and this gallery's search knows everybody by then.

        Returns:
            The person, None where nobody was found or made; for each photo whether it was added.

        Raises:
            ErasedIdentityError: if the target's id was erased meanwhile; nothing is added.
            GalleryBusyError: if another process holds the file; nothing is added.
            GalleryError: if the disk does not take it; nothing is added.
        """

        def choose_now(identity: Identity | None) -> Collection[int]:
            self._catch_up()
            return choose(identity)

        result = self.store.add(target, self._unit(photos), self.model_id, choose=choose_now)
        self._catch_up()
        return result

    def _unit(self, photos: Sequence[NewPhoto]) -> list[NewPhoto]:
        rows = [p.embedding for p in photos]
        nothing = np.empty((0, self.embedding_size), np.float32)
        probes, is_usable = self._as_probes(np.array(rows, np.float32) if rows else nothing)
        if not is_usable.all():
            raise ValueError("an embedding must be finite and not zero")
        return [
            NewPhoto(row, p.crop, p.source_sha256, p.quality)
            for row, p in zip(probes, photos, strict=True)
        ]

    def find(self, name_or_id: str) -> Identity:
        """Return the identity of that id, else of that name.

        Raises:
            UnknownIdentityError: if there is neither.
        """
        return self.store.find(name_or_id)

    def present(self, identity_ids: Sequence[str]) -> dict[str, Identity]:
        """Return who those ids are now, after renames and merges; erased ones are left out."""
        return self.store.present(identity_ids)

    def removed(self, identity_ids: Sequence[str]) -> set[str]:
        """Return which of those ids were erased here; others may be of another gallery."""
        return self.store.removed(identity_ids)

    def identities(self) -> list[IdentitySummary]:
        """Return everybody, by name."""
        return self.store.identities()

    def page(self, *, limit: int, cursor: str | None = None, search: str = "") -> PeoplePage:
        """Return some people by name, and where to go on.

        Args:
            limit: how many at most, >= 1.
            cursor: of the page before; None for the first.
            search: part of the names, whatever its case and accents; "" for everybody.

        Raises:
            ValueError: if the cursor is none.
        """
        self.refresh()
        order = self._alphabetical()
        if search:
            wanted = letters_of(sort_key(composed(search)))
            order = [each for each in order if wanted in letters_of(each[0])]
        start = 0
        if cursor is not None:
            start = bisect_right(order, _from_cursor(cursor), key=lambda each: each[0])
        shown = order[start : start + limit]
        is_end = start + limit >= len(order)
        return PeoplePage(
            tuple(self.store.identities([identity.identity_id for _, identity in shown])),
            None if is_end else _to_cursor(shown[-1][0]),
            len(order),
        )

    def _alphabetical(self) -> list[tuple[str, Identity]]:
        revision, order = self._order
        if revision != self._revision:
            revision = self._revision
            order = sorted(
                ((sort_key(identity.name), identity) for identity in list(self._names.values())),
                key=lambda each: (each[0], each[1].identity_id),
            )
            self._order = revision, order
        return order

    def photos(self, identity_id: str) -> list[Photo]:
        """Return a person's photos, oldest first."""
        return self.store.photos(identity_id)

    def embeddings(self, name_or_id: str) -> Floats:
        """Return a person's (K, D) float32 unit embeddings, oldest first; K is 0 for nobody.

        Raises:
            ModelMismatchError: if the file has become another model's meanwhile.
        """
        self._refuse_other_model()
        held = self.store.embeddings(name_or_id)
        return held if len(held) else np.empty((0, self.embedding_size), np.float32)

    def rename(self, name_or_id: str, name: str) -> Identity:
        """Give a person another name.

        Raises:
            NameTakenError: if somebody else has it.
            UnknownIdentityError: if there is no such person.
        """
        identity = self.store.rename(name_or_id, name)
        self._catch_up()
        return identity

    def merge(self, name_or_id: str, into: str) -> Identity:
        """Move all photos of one person to another and end the first; return the other."""
        identity = self.store.merge(name_or_id, into)
        self._catch_up()
        return identity

    def split(self, name_or_id: str, photo_ids: Sequence[int], name: str) -> Identity:
        """Move some photos of one person to a new person; return the new one."""
        identity = self.store.split(name_or_id, photo_ids, name)
        self._catch_up()
        return identity

    def move(self, name_or_id: str, photo_ids: Sequence[int], into: str) -> Identity:
        """Move some photos of one person to another who is known; return the other."""
        identity = self.store.move(name_or_id, photo_ids, into)
        self._catch_up()
        return identity

    def remove(self, name_or_id: str) -> None:
        """Erase a person from the file, its free pages, its log, and the index.

        Raises:
            UnknownIdentityError: if there is no such person.
        """
        self.store.remove(name_or_id)
        self._catch_up()

    def remove_photo(self, photo_id: int, *, of: str | None = None) -> None:
        """Erase one photo as thoroughly.

        Args:
            photo_id: of the photo.
            of: whose it must be, by name or id; None for anybody's.

        Raises:
            UnknownIdentityError: if there is no such photo.
        """
        self.store.remove_photo(photo_id, of=of)
        self._catch_up()

    # -- keeping up

    def revision(self) -> int:
        """Return the number of the last change of anybody to people or photos."""
        return templates.revision(self.store)

    @property
    def known_revision(self) -> int:
        """The number of the last change that searches know of; costs nothing."""
        return self._revision

    def refresh(self) -> bool:
        """Apply what others changed in the file; microseconds if nothing.

        Returns:
            Whether anything changed that this object did not know yet.
        """
        version = self.store.data_version()
        if version == self._seen_version:
            return False
        changed = self._catch_up()
        self._seen_version = version
        return changed

    def _catch_up(self) -> bool:
        with self._change_lock:
            changes = templates.changes_since(self.store, self._revision)
            if changes is None:
                self._refuse_other_model()
                self._load()
                return True
            if changes.revision == self._revision:
                return False
            self._refuse_other_model()
            before = self._index
            names = templates.names_of(self.store, changes.persons)
            self._names.update(names)
            if changes.photo_ids:
                self._index = self._changed(before, changes.photo_ids)
            for person in changes.persons:
                if person not in names:
                    self._names.pop(person, None)
            self._revision = changes.revision
            return True

    def _changed(self, before: TemplateIndex, photo_ids: Sequence[int]) -> TemplateIndex:
        ids, persons, embeddings = templates.templates_of(self.store, photo_ids)
        changed = before.copy()
        changed.remove(np.array(photo_ids, np.int64))
        if len(ids):
            changed.add(ids, persons, embeddings)
        erased = np.setdiff1d(np.array(photo_ids, np.int64), ids)
        if len(erased):
            before.wipe(erased)
        return changed

    def _refuse_other_model(self) -> None:
        held = self.store.fact("model_id")
        if held != self.model_id:
            raise other_model(self.store.path, str(held), self.model_id)

    def _vectors(self, photo_ids: Sequence[int]) -> dict[int, Floats]:
        # None where the file is another model's by now: nobody is named until it is opened so.
        return templates.vectors(self.store, photo_ids, self.model_id)

    def _load(self) -> None:
        # The version and revision are read first: what is committed meanwhile is taken in twice
        # rather than never.
        self._seen_version = self.store.data_version()
        revision = templates.revision(self.store)
        index = TemplateIndex(self.embedding_size, self._vectors, expected=self.store.n_photos())
        for ids, persons, embeddings in templates.all_templates(self.store):
            index.add(ids, persons, embeddings)
        self._names = templates.all_names(self.store)
        self._index = index
        self._revision = revision

    def _named(self, ranked: list[tuple[int, float]]) -> list[Match]:
        matches = []
        for person, similarity in ranked:
            identity = self._names.get(person)
            if identity is not None:  # else erased since the search, a moment ago
                matches.append(Match(identity, similarity))
        return matches

    def _as_probes(self, embeddings: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        if embeddings.ndim != 2 or embeddings.shape[1] != self.embedding_size:
            raise ValueError(
                f"embeddings must be (N, {self.embedding_size}) float32, "
                f"got {embeddings.shape} {embeddings.dtype}"
            )
        probes = embeddings.astype(np.float32)
        is_usable = np.isfinite(probes).all(axis=1)
        probes[~is_usable] = 0.0
        norms = np.linalg.norm(probes, axis=1)
        is_usable &= norms > MIN_NORM
        # A vector that is unit already stays as it is, bit by bit.
        is_longer = is_usable & (abs(norms - 1.0) > UNIT_TOLERANCE)
        probes[is_longer] /= norms[is_longer, np.newaxis]
        return probes, is_usable


def _decided(ranked: list[Match], *, threshold: float, margin: float) -> Match | None:
    if not ranked or ranked[0].similarity < threshold:
        return None
    if len(ranked) > 1:
        lead = ranked[0].similarity - ranked[1].similarity
        if lead < margin or lead <= TIE:
            return None
    return ranked[0]


def _check_model(store: Store, model_id: str, embedding_size: int) -> None:
    directory = store.path.parent
    held = store.fact("model_id")
    if held != model_id:
        raise ModelMismatchError(
            f"the gallery {directory} holds embeddings of {held}, not of {model_id}: "
            f"open it with that model, or run `facewire gallery reembed`"
        )
    size = store.fact("embedding_size")
    if size != str(embedding_size):
        raise ModelMismatchError(
            f"the gallery {directory} holds embeddings of {size} numbers, not of {embedding_size}"
        )


def _to_cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _from_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        raise ValueError("the cursor is none that a list of people ended with") from error
