"""detect, compare, identify: faces in images."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.common import (
    EXPECTED_FAILURE,
    AsJson,
    ConfigFile,
    DeviceName,
    GalleryDirectory,
    GenderAgeModel,
    MinFace,
    ModelSpec,
    Threads,
    complain,
    finite,
    print_json,
    say,
)
from stream.cli.settings import settings_for
from stream.errors import StreamError

if TYPE_CHECKING:
    from gallery import Match
    from recognizer import Face, Image, Photo, Recognizer

GREEN = (0, 200, 83)
MAX_COPIES = 100_000  # with the same name in one folder
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE...", show_default=False, help="Image files.")
]


def detect(
    images: Images,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Write copies with the faces marked; no file is overwritten.",
        ),
    ] = None,
    min_face_px: MinFace = None,
    ga_model: GenderAgeModel = None,
    device: DeviceName = None,
    threads: Threads = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Detect faces in images, with gender and age.

    Example: facewire detect party.jpg --out marked/
    """
    from stream.schemas.faces import face_json

    settings = settings_for(
        config=config,
        needs_gallery=False,
        device=device,
        threads=threads,
        min_face_px=min_face_px,
        gender_age_model=ga_model,
    )
    recognizer = settings.open_recognizer(attributes=True)
    document = []
    reader = _Reader(images)
    for path, photo in reader:
        (faces,) = recognizer.recognize([photo.image], any_way_up=True)
        marked = None
        if out is not None:
            try:
                marked = _write_marked(path, out, photo.image, faces)
            except StreamError as error:
                reader.refuse(error)
        faces = tuple(face.enlarged(photo.scale) for face in faces)
        document.append(
            {
                "image": str(path),
                "faces": [face_json(face) for face in faces],
                **({} if marked is None else {"marked": str(marked)}),
            }
        )
        if not as_json:
            say(f"{path}: {_count(faces)}")
            for face in faces:
                say(f"  {_describe(face)}")
            if marked is not None:
                say(f"  marked: {marked}")
    if as_json:
        print_json(document)
    reader.finish()


def identify(
    images: Images,
    gallery: GalleryDirectory = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            callback=finite,
            show_default=False,
            help="Minimum similarity; else as configured, or by model and number of people.",
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=0, max=20, help="How many nearest people to list for each face.")
    ] = 0,
    min_face_px: MinFace = None,
    ga_model: GenderAgeModel = None,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Identify the people in images.

    Examples: facewire identify party.jpg
              facewire identify stranger.jpg --candidates 5
    """
    from gallery import Gallery, GalleryFormatError
    from gallery.address import is_address
    from stream.enrollment.naming import limits_for
    from stream.schemas.faces import identified_json

    settings = settings_for(
        config=config,
        gallery=gallery,
        model=model,
        device=device,
        threads=threads,
        min_face_px=min_face_px,
        gender_age_model=ga_model,
    )
    place = settings.place
    if not is_address(place) and not settings.directory.is_dir():
        raise GalleryFormatError(f"there is no gallery {place}: enroll a person first")
    recognizer = settings.open_recognizer(attributes=True)
    document = []
    reader = _Reader(images)
    with Gallery.open_to_read(
        place, model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    ) as people:
        limits = limits_for(recognizer, people)
        margin = limits.margin if settings.margin is None else settings.margin
        if threshold is None:
            threshold = settings.threshold
        if threshold is None:
            threshold = people.threshold_for(limits.pair, limits)
        for path, photo in reader:
            (faces,) = recognizer.recognize([photo.image], any_way_up=True)
            probes = _stacked(faces, recognizer)
            matches = people.search(probes, threshold=threshold, margin=margin)
            nearest = people.best(probes, k=candidates) if candidates else [[]] * len(faces)
            faces = tuple(face.enlarged(photo.scale) for face in faces)
            incomplete = people.unsearched()
            if incomplete:
                complain(incomplete)
            document.append(identified_json(str(path), faces, matches, nearest, incomplete))
            if not as_json:
                say(f"{path}: {_count(faces)}")
                for face, match, ranked in zip(faces, matches, nearest, strict=True):
                    who = _who(match) if match else "unknown"
                    say(f"  {who}, {_describe(face)}")
                    if ranked:
                        say(f"    nearest: {', '.join(_who(each) for each in ranked)}")
    if as_json:
        print_json(document)
    reader.finish()


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", show_default=False, help="An image.")],
    b: Annotated[Path, typer.Argument(metavar="B", show_default=False, help="Another.")],
    min_face_px: MinFace = None,
    ga_model: GenderAgeModel = None,
    model: ModelSpec = None,
    device: DeviceName = None,
    threads: Threads = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare the faces of two images: the same person or different people.

    Example: facewire compare passport.jpg visitor.jpg
    """
    import numpy as np

    from stream.enrollment.photo_checks import EnrolLimits, wanted_face
    from stream.schemas.faces import face_json
    from stream.schemas.faces import similarity as rounded

    settings = settings_for(
        config=config,
        needs_gallery=False,
        model=model,
        device=device,
        threads=threads,
        min_face_px=min_face_px,
        gender_age_model=ga_model,
    )
    recognizer = settings.open_recognizer(attributes=True)
    threshold = recognizer.threshold if settings.threshold is None else settings.threshold
    reader = _Reader((a, b))
    chosen = []
    for path, photo in reader:
        (faces,) = recognizer.recognize([photo.image], any_way_up=True)
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        scores = np.array([face.score for face in faces], np.float32)
        height, width = photo.image.shape[:2]
        wanted = wanted_face(boxes, scores, (height, width), EnrolLimits())
        if isinstance(wanted, int):
            chosen.append(faces[wanted].enlarged(photo.scale))
        else:
            reader.refuse(f"{path}: {wanted[1]}")
    reader.finish()
    first, second = chosen
    similarity = float(first.embedding @ second.embedding)
    distance = float(np.linalg.norm(first.embedding - second.embedding))
    same = similarity >= threshold
    if as_json:
        print_json(
            {
                "similarity": rounded(similarity),
                "distance": round(distance, 6),
                "same": same,
                "threshold": threshold,
                "model": recognizer.model_id,
                "a": face_json(first),
                "b": face_json(second),
            }
        )
        return
    say(f"{a}: {_looks(first)}")
    say(f"{b}: {_looks(second)}")
    say(f"similarity {similarity:.4f}, distance {distance:.4f}")
    verdict = "the same person" if same else "different people"
    source = recognizer.model_id if settings.threshold is None else "the configuration"
    say(f"{verdict} (threshold {threshold} of {source})")


class _Reader:
    """Reads images one by one; reports unusable ones and goes on."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = paths
        self._is_complete = True

    def __iter__(self) -> Iterator[tuple[Path, "Photo"]]:
        from recognizer import ImageError, read_photo

        for path in self._paths:
            try:
                photo = read_photo(path)
            except ImageError as error:
                self.refuse(error)
                continue
            yield path, photo

    def refuse(self, reason: object) -> None:
        """Report what is wrong with an image."""
        complain(reason)
        self._is_complete = False

    def finish(self) -> None:
        """End the command, with a failure if an image was refused."""
        if not self._is_complete:
            raise typer.Exit(EXPECTED_FAILURE)


def _stacked(faces: "tuple[Face, ...]", recognizer: "Recognizer") -> Any:
    import numpy as np

    rows = [face.embedding for face in faces]
    return np.array(rows, np.float32).reshape(-1, recognizer.embedding_size)


def _who(match: "Match") -> str:
    return f"{match.identity.name} {match.similarity:.3f}"


def _count(faces: "tuple[Face, ...]") -> str:
    return {0: "no face", 1: "1 face"}.get(len(faces), f"{len(faces)} faces")


def _looks(face: "Face") -> str:
    return f"{face.gender}, about {face.age:.0f} years"


def _describe(face: "Face") -> str:
    x1, y1, x2, y2 = (round(float(v)) for v in face.box)
    return f"{_looks(face)}, at ({x1}, {y1}) to ({x2}, {y2}), score {face.score:.3f}"


def _write_marked(path: Path, out: Path, image: "Image", faces: "tuple[Face, ...]") -> Path:
    """Write a copy with the faces marked, under a name that is free; return where it is.

    Raises:
        StreamError: if it cannot be written.
    """
    import cv2

    from recognizer import write_file

    marked = image.copy()
    width = max(1, round(max(image.shape[:2]) / 400))  # visible from thumbnails to posters
    for face in faces:
        x1, y1, x2, y2 = (round(float(v)) for v in face.box)
        cv2.rectangle(marked, (x1, y1), (x2, y2), GREEN, width)
        for x, y in face.landmarks:
            cv2.circle(marked, (round(float(x)), round(float(y))), width, GREEN, -1)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(marked, cv2.COLOR_RGB2BGR))
    for number in range(1, MAX_COPIES + 1):
        target = out / (f"{path.stem}.jpg" if number == 1 else f"{path.stem}-{number}.jpg")
        if os.path.lexists(target):
            continue
        try:
            write_file(target, data.tobytes())
        except FileExistsError:  # another process made it just now, or the folder is a file
            if not out.is_dir():
                break
        except OSError as error:
            raise StreamError(f"cannot write {target}: {(error.strerror or '').lower()}") from error
        else:
            return target
    raise StreamError(f"cannot write to {out}: no name like {path.stem}.jpg is free there")
