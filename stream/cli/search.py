"""search: where the face of a photo was seen before."""

import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gallery import is_text
from stream.cli.common import (
    AsJson,
    ConfigFile,
    DeviceName,
    GalleryDirectory,
    MinFace,
    ModelSpec,
    Threads,
    complain,
    counted,
    finite,
    print_json,
    say,
)
from stream.cli.events import OfCamera, Since, Until, moment
from stream.cli.settings import settings_for
from stream.errors import EventLogError, StreamError

if TYPE_CHECKING:
    from stream.events.search import Found


def search(
    photo: Annotated[
        Path,
        typer.Argument(
            metavar="PHOTO", show_default=False, help="A photo; its largest face is searched for."
        ),
    ],
    camera: OfCamera = None,
    since: Since = None,
    until: Until = None,
    min_similarity: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            callback=finite,
            show_default=False,
            help="Minimum similarity; else that of a match, by model and number of people.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the most similar.")] = 20,
    gallery: GalleryDirectory = None,
    min_face_px: MinFace = None,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Find when and where the face of a photo was seen before; a service may run meanwhile.

    Examples: facewire search visitor.jpg
              facewire search visitor.jpg --camera door --since 3d --json
    """
    from gallery import Gallery
    from recognizer import read_photo
    from stream.enrollment.naming import threshold_for
    from stream.enrollment.searched_face import searched_face
    from stream.events.schema import FILE_NAME
    from stream.events.search import SightingReader, foreign_notice, scan
    from stream.events.search_index import Filter
    from stream.schemas.search import search_json

    if camera is not None and not is_text(camera):
        raise typer.BadParameter("--camera must be UTF-8 text")
    now = time.time()
    only = Filter(camera, moment("--since", since, now), moment("--until", until, now))
    settings = settings_for(
        config=config,
        gallery=gallery,
        model=model,
        device=device,
        threads=threads,
        min_face_px=min_face_px,
    )
    directory = settings.directory
    if not (directory / FILE_NAME).exists():
        raise EventLogError(f"no sightings in {directory} yet: facewire serve writes them")
    read = read_photo(photo)
    recognizer = settings.open_recognizer(attributes=False)
    face = searched_face(recognizer, read)
    if face is None:
        raise StreamError(f"{photo}: no face found: give a photo that shows a face")
    if min_similarity is None:
        min_similarity = settings.threshold
    if min_similarity is None:
        with Gallery.open_to_read(
            settings.place, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
        ) as people:
            min_similarity = threshold_for(recognizer, people)
    reader = SightingReader(
        directory, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    )
    with closing(reader), counted("searching") as progress:
        total = reader.count()
        matches, n_foreign = scan(
            reader,
            face.probe,
            limit=limit,
            min_similarity=min_similarity,
            only=only,
            progress=lambda n: progress(n, total),
        )
    if n_foreign:
        complain(foreign_notice(n_foreign))
    if as_json:
        print_json(search_json(face, matches))
        return
    if len(face.faces) > 1:
        complain(f"{photo} shows {len(face.faces)} faces: the largest is searched for")
    for match in matches:
        say(_line(match))
    if not matches:
        complain(_nothing(total, min_similarity, is_filtered=only != Filter()))


def _line(match: "Found") -> str:
    event = match.event
    at = datetime.fromisoformat(event.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    who = event.name or "Unknown face"
    return f"{at}  {event.camera:<12}  {match.similarity:.3f}  {who}  (event {event.id})"


def _nothing(total: int, min_similarity: float, *, is_filtered: bool) -> str:
    """Return why nothing was found, and what to try next."""
    if not total:
        return "no sightings are stored yet: facewire serve stores one with each face it follows"
    elsewhere = ", without --camera, --since and --until" if is_filtered else ""
    return (
        f"no sighting is as similar as {min_similarity:.2f} to this face: try a lower "
        f"--min-similarity{elsewhere}"
    )
