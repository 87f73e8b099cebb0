"""The gallery: people, their photos, and the search for faces."""

from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gallery import templates
from gallery.connections import WAIT_FOR_OTHERS_S
from gallery.errors import GalleryBusyError, GalleryFormatError, ModelMismatchError
from gallery.facts import Facts
from gallery.file import Access, GalleryFile
from gallery.identities import Match
from gallery.people import People
from gallery.photos import Photos
from gallery.searcher import Searcher
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
        file: its file.
        model_id: of the model of its embeddings.
        embedding_size: D of that model.
    """

    def __init__(self, file: GalleryFile, *, model_id: str, embedding_size: int) -> None:
        self.file = file
        self.model_id = model_id
        self.embedding_size = embedding_size
        self.facts = Facts(file)
        self._searcher = Searcher(file, model_id=model_id, embedding_size=embedding_size)
        self.people = People(file, self._searcher)
        self.photos = Photos(file, self._searcher)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        model_id: str,
        embedding_size: int,
        wait_s: float = WAIT_FOR_OTHERS_S,
    ) -> Self:
        """Open the gallery in a directory, creating it if there is none.

        Args:
            directory: of the gallery.
            model_id: of the model of enrolled embeddings and probes.
            embedding_size: D of that model.
            wait_s: how long a write waits for other writers, seconds.

        Raises:
            ModelMismatchError: if the gallery is of another model.
            GalleryFormatError: if it is not a gallery, damaged, or newer.
            GalleryError: if the disk or the permissions do not allow it.
        """
        with ExitStack() as on_failure:
            file = GalleryFile(directory, access=Access.CREATE, wait_s=wait_s)
            on_failure.callback(file.close)
            if Facts(file).get("model_id") is None:
                Facts(file).claim_model(model_id, embedding_size)
            _check_model(file, model_id, embedding_size)
            # It only saves space, which can wait for the next start.
            with suppress(GalleryBusyError):
                templates.trim_journal(file)
            gallery = cls(file, model_id=model_id, embedding_size=embedding_size)
            on_failure.pop_all()
        return gallery

    @classmethod
    def open_to_read(cls, directory: Path, *, model_id: str, embedding_size: int) -> Self:
        """Open an existing gallery for searching; nothing in its directory is created or changed.

        Args:
            directory: of the gallery, may be on read-only media.
            model_id: of the model of the probes.
            embedding_size: D of that model.

        Raises:
            ModelMismatchError: if the gallery is of another model.
            GalleryFormatError: if there is none, or it is foreign, damaged or newer.
            GalleryError: if the permissions do not allow it.
        """
        with ExitStack() as on_failure:
            file = GalleryFile(directory, access=Access.READ)
            on_failure.callback(file.close)
            if Facts(file).get("model_id") is not None:
                _check_model(file, model_id, embedding_size)
            gallery = cls(file, model_id=model_id, embedding_size=embedding_size)
            on_failure.pop_all()
        return gallery

    @classmethod
    def open_any(cls, directory: Path, *, access: Access = Access.WRITE) -> Self:
        """Open an existing gallery of any model, for maintenance.

        Args:
            directory: of the gallery.
            access: `Access.READ` to only read it; nothing in the directory is created or
                changed then, and it may be on read-only media.

        Raises:
            GalleryFormatError: if there is none, or it is foreign, damaged or newer.
            GalleryError: if the disk or the permissions do not allow it.
        """
        with ExitStack() as on_failure:
            file = GalleryFile(directory, access=access)
            on_failure.callback(file.close)
            facts = Facts(file)
            model_id, size = facts.get("model_id"), facts.get("embedding_size")
            if model_id is None or size is None:
                raise GalleryFormatError(f"the gallery {directory} is empty: enroll somebody first")
            gallery = cls(file, model_id=model_id, embedding_size=int(size))
            on_failure.pop_all()
        return gallery

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self.file.close()

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
        """A permanent UUID of the file, the same in copies and backups."""
        return self.facts.get("gallery_id") or ""

    @property
    def index_kind(self) -> str:
        """The kind of index in memory, "flat" or "int8"; results do not depend on it."""
        return self._searcher.kind

    @property
    def known_revision(self) -> int:
        """The number of the last change applied to the index; costs nothing."""
        return self._searcher.known_revision

    def revision(self) -> int:
        """Return the number of the last change by any process to people or photos."""
        return templates.revision(self.file)

    def refresh(self) -> bool:
        """Apply changes by others to the file; takes microseconds if there are none.

        Returns:
            Whether there were new changes.
        """
        return self._searcher.refresh()

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
        return self._searcher.best(embeddings, k)

    def threshold_for(self, pairwise: float, growth: Growth = TYPICAL) -> float:
        """Return the threshold for searching this gallery.

        Args:
            pairwise: the model card's threshold for two faces.
            growth: of the model.

        Returns:
            The calibrated threshold, raised if there are more people since; else `naming_threshold`
            for the number of people.
        """
        chosen, people = self.facts.get("threshold"), self.people.count()
        if chosen is None:
            return naming_threshold(pairwise, people, growth)
        before = int(self.facts.get("threshold_people") or people)
        return float(chosen) + raised(before, people, growth.per_decade)


def _decided(ranked: list[Match], *, threshold: float, margin: float) -> Match | None:
    if not ranked or ranked[0].similarity < threshold:
        return None
    if len(ranked) > 1:
        lead = ranked[0].similarity - ranked[1].similarity
        if lead < margin or lead <= TIE:
            return None
    return ranked[0]


def _check_model(file: GalleryFile, model_id: str, embedding_size: int) -> None:
    facts, directory = Facts(file), file.path.parent
    held = facts.get("model_id")
    if held != model_id:
        raise ModelMismatchError(
            f"the gallery {directory} holds embeddings of {held}, not of {model_id}: "
            f"open it with that model, or run `facewire gallery reembed`"
        )
    size = facts.get("embedding_size")
    if size != str(embedding_size):
        raise ModelMismatchError(
            f"the gallery {directory} holds embeddings of {size} numbers, not of {embedding_size}"
        )
