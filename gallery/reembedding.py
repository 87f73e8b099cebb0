"""Conversion of a gallery to another model, from its stored crops."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery.address import Place
from gallery.blobs import Embedding, decode_crop
from gallery.errors import GalleryError
from gallery.facts import PUT_FACT, Facts
from gallery.opening import open_store
from gallery.store import Access

BATCH = 32  # crops per call: larger batches are not faster per crop

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(N, 112, 112, 3) uint8 RGB crops to (N, D) float32 unit vectors."""


@dataclass(frozen=True, slots=True)
class ReembedReport:
    """Result of a conversion.

    Attributes:
        old_model_id: of the replaced embeddings.
        model_id: of the new embeddings.
        n_photos: number of photos embedded again.
        n_dropped: number of photos without a crop, dropped on request.
    """

    old_model_id: str
    model_id: str
    n_photos: int
    n_dropped: int


def reembed(
    place: Place,
    embed: Embed,
    *,
    model_id: str,
    embedding_size: int,
    drop_without_crop: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ReembedReport:
    """Replace all embeddings by those of another model, in one transaction.

    A service that has the gallery open with the old model reports the mismatch and must be
    restarted. A calibrated threshold, which is of the old model, is removed.

    Args:
        place: directory or address of the gallery.
        embed: the new model.
        model_id: its id.
        embedding_size: its D.
        drop_without_crop: whether to erase photos without a crop, which cannot be embedded
            again.
        progress: called with the number of finished photos, and of all.

    Raises:
        GalleryError: if there are photos without a crop, or the store cannot be written.
    """
    store = open_store(place, access=Access.WRITE)
    try:
        with store.reading() as connection:
            total, without = connection.execute(
                "SELECT count(*), count(*) - count(png)"
                " FROM photos LEFT JOIN crops USING (photo_id)"
            ).fetchone()
            photo_ids = [row[0] for row in connection.execute("SELECT photo_id FROM crops")]
        if without and not drop_without_crop:
            raise GalleryError(
                f"{without} of {total} photos keep no crop and cannot be embedded again: "
                "enroll those people again, or drop their photos (--drop-without-crop)"
            )
        old_model_id = Facts(store).get("model_id") or ""
        with store.writing() as connection:
            for start in range(0, len(photo_ids), BATCH):
                some = photo_ids[start : start + BATCH]
                crops = [
                    decode_crop(
                        connection.execute(
                            "SELECT png FROM crops WHERE photo_id = ?", (photo_id,)
                        ).fetchone()[0]
                    )
                    for photo_id in some
                ]
                embeddings = embed(np.stack(crops))
                connection.executemany(
                    "UPDATE photos SET embedding = ?, model_id = ? WHERE photo_id = ?",
                    [(Embedding.of(e), model_id, p) for e, p in zip(embeddings, some, strict=True)],
                )
                if progress is not None:
                    progress(start + len(some), len(photo_ids))
            connection.execute(
                "DELETE FROM photos WHERE photo_id NOT IN (SELECT photo_id FROM crops)"
            )
            connection.execute("DELETE FROM facts WHERE key LIKE 'threshold%'")
            connection.executemany(
                PUT_FACT,
                [("model_id", model_id), ("embedding_size", str(embedding_size))],
            )
        store.truncate_log()
    finally:
        store.close()
    return ReembedReport(old_model_id, model_id, len(photo_ids), without)
