"""`facewire bench quality`: who is still found and recognized when photos get worse."""

import statistics
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer import Detections, Floats, Image, ImageError, Recognizer, read_image
from recognizer.models.measuring import main_face
from stream.bench.degradations import DEGRADATIONS, Degradation, Floats64
from stream.enrollment.folders import read_people_folder
from stream.errors import StreamError

FARS = (1e-2, 1e-3, 1e-4)
IMPOSTORS_PER_ERROR = 10  # a rate is measured only where at least so many impostors would pass
SAME_BOX = 0.3  # intersection over union from which a detected box is the photo's face


@dataclass(frozen=True, slots=True)
class PersonPhoto:
    """A photo file and the person it shows."""

    path: Path
    person: str


@dataclass(frozen=True, slots=True)
class Rate:
    """The share of genuine pairs accepted where at most `far` of the impostor pairs are.

    Attributes:
        far: allowed share of impostor pairs.
        tar: accepted share of genuine pairs; one without a detected face is not accepted.
        threshold: similarity above which a pair is accepted.
    """

    far: float
    tar: float
    threshold: float


@dataclass(frozen=True, slots=True)
class DegradationFigures:
    """The figures of one degradation.

    Attributes:
        name: of the degradation.
        undetected: share of the photos whose face was not detected.
        false_faces: detected boxes a photo that are none of its faces.
        tar: share of genuine pairs accepted at the model's threshold.
        far: share of impostor pairs accepted at the model's threshold.
        accuracy: mean of the shares of genuine and of impostor pairs judged right at the model's
            threshold. A pair with an undetected face is judged wrong.
        tar_at_far: degraded photos against the photos as they are, at the FARs that the number
            of pairs allows.
        tar_at_far_degraded: degraded photos against each other.
        ms: median time to detect, align and embed, milliseconds a photo.
    """

    name: str
    undetected: float
    false_faces: float
    tar: float
    far: float
    accuracy: float
    tar_at_far: tuple[Rate, ...]
    tar_at_far_degraded: tuple[Rate, ...]
    ms: float


@dataclass(frozen=True, slots=True)
class QualityFigures:
    """The results of one run.

    Attributes:
        model: id of the embedding model.
        engine: name and version of the runtime.
        device: "cpu" or "cuda".
        min_face_px: side of the smallest face to find, pixels.
        any_way_up: whether the four orientations were tried, as with photos.
        seed: of the noise and of the choice of people.
        people: how many.
        photos: how many could be read.
        genuine: pairs of one person, degraded against as they are.
        impostors: pairs of two people.
        unreadable: why photos were left out.
        degradations: in the order of `DEGRADATIONS`.
    """

    model: str
    engine: str
    device: str
    min_face_px: int
    any_way_up: bool
    seed: int
    people: int
    photos: int
    genuine: int
    impostors: int
    unreadable: tuple[str, ...]
    degradations: tuple[DegradationFigures, ...]


def choose_photos(directory: Path, *, limit: int | None = None, seed: int = 0) -> list[PersonPhoto]:
    """Return the photos of a folder with a folder for each person, by person and name.

    Args:
        directory: DIRECTORY/NAME/PHOTO.
        limit: take so many people, chosen at random; None for all.
        seed: of the choice.

    Raises:
        StreamError: if it is no such folder, or its photos make no pairs.
    """
    items = read_people_folder(directory).items
    people = sorted({item.name for item in items})
    if limit is not None and limit < len(people):
        chosen = np.random.default_rng(seed).choice(len(people), limit, replace=False)
        people = [people[index] for index in np.sort(chosen)]
    wanted = set(people)
    photos = [PersonPhoto(Path(item.label), item.name) for item in items if item.name in wanted]
    if len(people) < 2 or len(photos) == len(people):
        raise StreamError(
            f"{directory} holds {len(photos)} photos of {len(people)} people: two people and a "
            f"second photo of one are needed ({directory}/NAME/PHOTO.jpg)"
        )
    return photos


def chosen_degradations(only: str | None) -> dict[str, Degradation]:
    """Return degradations by names with commas between them; all if None.

    Raises:
        StreamError: if there is no such degradation.
    """
    if only is None:
        return dict(DEGRADATIONS)
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        if name not in DEGRADATIONS:
            raise StreamError(f"no degradation {name!r}: one of {', '.join(DEGRADATIONS)}")
    if not names:
        raise StreamError(f"no degradation is named: one of {', '.join(DEGRADATIONS)}")
    return {name: each for name, each in DEGRADATIONS.items() if name in names}


def bench_quality(
    recognizer: Recognizer,
    photos: Sequence[PersonPhoto],
    degradations: Mapping[str, Degradation],
    *,
    min_face_px: int,
    any_way_up: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> QualityFigures:
    """Measure detection and verification of photos after each degradation.

    The face of a photo is the largest near its middle, found in the photo as it is. A degraded
    photo's face counts as detected where a box overlaps the place that this one has there. A photo
    that shows no face as it is counts as undetected throughout, and is no template.

    Args:
        recognizer: detects and embeds.
        photos: of at least two people.
        degradations: by name.
        min_face_px: of the recognizer, noted in the result.
        any_way_up: as in `Recognizer.detect`.
        seed: of the noise.
        progress: called with photos done and photos in all.

    Raises:
        StreamError: if fewer than two photos can be read.
    """
    tell = progress or (lambda done, of: None)
    total = len(photos) * (1 + sum(name != "as-is" for name in degradations))
    done = 0
    readable, probes, unreadable = [], [], []
    for photo in photos:
        try:
            image = read_image(photo.path)
        except ImageError as error:
            unreadable.append(str(error))
        else:
            readable.append(photo)
            probes.append(_read_clean(recognizer, image, any_way_up=any_way_up))
        tell(done := done + 1, total)
    people = np.array([photo.person for photo in readable])
    is_same = people[:, None] == people[None, :]
    np.fill_diagonal(is_same, val=False)
    if not is_same.any() or len(set(people)) < 2:
        raise StreamError(
            f"{len(readable)} photos of {len(set(people))} people could be read: two people and "
            "a second photo of one are needed"
        )
    templates = np.stack([probe.embedding for probe in probes])
    figures = []
    for name, degrade in degradations.items():
        degraded = probes
        if name != "as-is":
            degraded = []
            for photo, clean in zip(readable, probes, strict=True):
                rng = generator(seed, name, photo)
                degraded.append(
                    _read_degraded(recognizer, photo, clean, degrade, rng, any_way_up=any_way_up)
                )
                tell(done := done + 1, total)
        figures.append(_figures(name, degraded, templates, is_same, recognizer.threshold))
    n = len(readable)
    return QualityFigures(
        model=recognizer.model_id,
        engine=recognizer.engine,
        device=recognizer.device,
        min_face_px=min_face_px,
        any_way_up=any_way_up,
        seed=seed,
        people=len(set(people)),
        photos=n,
        genuine=int(is_same.sum()),
        impostors=int(n * (n - 1) - is_same.sum()),
        unreadable=tuple(unreadable),
        degradations=tuple(figures),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """What was found in an image.

    Attributes:
        embedding: (D,) float32 of its face; NaN where it was not detected.
        box: (4,) float32 of the face; NaN where it was not detected.
        boxes: (N, 4) float32 of all faces.
        false_faces: boxes that are no face of the photo as it is.
        ms: detection, alignment and embedding.
    """

    embedding: Floats
    box: Floats
    boxes: Floats
    false_faces: int
    ms: float


def _read_clean(recognizer: Recognizer, image: Image, *, any_way_up: bool) -> _Probe:
    started = time.perf_counter()
    (found,) = recognizer.detect([image], any_way_up=any_way_up)
    row = main_face(found, image)
    embedding = _embedding(recognizer, image, found, row)
    ms = 1e3 * (time.perf_counter() - started)
    box = found.boxes[row] if row >= 0 else np.full(4, np.nan, np.float32)
    return _Probe(embedding, box, found.boxes, 0, ms)


def _read_degraded(
    recognizer: Recognizer,
    photo: PersonPhoto,
    clean: _Probe,
    degrade: Degradation,
    rng: np.random.Generator,
    *,
    any_way_up: bool,
) -> _Probe:
    if np.isnan(clean.box).any():
        return clean
    degraded = degrade(read_image(photo.path), clean.box, rng)
    started = time.perf_counter()
    (found,) = recognizer.detect([degraded.image], any_way_up=any_way_up)
    expected = mapped(np.concatenate([clean.box[None], clean.boxes]), degraded.matrix)
    overlaps = overlaps_of(expected, found.boxes, degraded.image.shape[:2])
    row = int(overlaps[0].argmax()) if len(found) else -1
    if row >= 0 and overlaps[0, row] < SAME_BOX:
        row = -1
    embedding = _embedding(recognizer, degraded.image, found, row)
    ms = 1e3 * (time.perf_counter() - started)
    n_false = int((overlaps.max(axis=0) < SAME_BOX).sum())
    box = found.boxes[row] if row >= 0 else np.full(4, np.nan, np.float32)
    return _Probe(embedding, box, found.boxes, n_false, ms)


def _embedding(recognizer: Recognizer, image: Image, found: Detections, row: int) -> Floats:
    if row < 0:
        return np.full(recognizer.embedding_size, np.nan, np.float32)
    embedding: Floats = recognizer.embed(recognizer.align(image, found.landmarks[row : row + 1]))[0]
    return embedding


def generator(seed: int, name: str, photo: PersonPhoto) -> np.random.Generator:
    """Return a generator that depends on the photo and the degradation, not on the others."""
    file = f"{photo.person}/{photo.path.name}".encode(errors="surrogateescape")
    return np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(file)])


def mapped(boxes: Floats, matrix: Floats64) -> Floats64:
    """Return where boxes (N, 4) lie in the degraded image, upright and of their own shape."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    return np.asarray(np.concatenate([centers - halves, centers + halves], axis=1), np.float64)


def overlaps_of(expected: Floats64, found: Floats, size: tuple[int, int]) -> Floats64:
    """Return the (E, F) intersections over union; a face beyond the border may end at it."""
    height, width = size
    limits = np.array([width, height, width, height])
    whole = _ious(expected, found.astype(np.float64))
    return np.maximum(whole, _ious(expected.clip(0, limits), found.clip(0, limits)))


def _ious(one: Floats64, other: Floats64) -> Floats64:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (one, other)]
    joined = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(shared / np.maximum(joined, 1e-9), np.float64)


def _figures(
    name: str,
    probes: Sequence[_Probe],
    templates: Floats,
    is_same: NDArray[np.bool_],
    threshold: float,
) -> DegradationFigures:
    embeddings = np.stack([probe.embedding for probe in probes])
    undetected = np.isnan(embeddings).any(axis=1)
    is_other = ~is_same
    np.fill_diagonal(is_other, val=False)
    is_template = ~np.isnan(templates).any(axis=1)
    crossed = embeddings @ templates.T
    genuine = crossed[is_same & is_template]
    impostor = crossed[is_other & is_template]
    half = np.triu(np.ones_like(is_same))
    among = embeddings @ embeddings.T
    with np.errstate(invalid="ignore"):  # NaN compares false: neither accepted nor rejected
        accepted = _share(genuine >= threshold)
        rejected = _share(impostor < threshold)
        far = _share(impostor >= threshold)
    return DegradationFigures(
        name=name,
        undetected=float(undetected.mean()),
        false_faces=statistics.fmean(probe.false_faces for probe in probes),
        tar=accepted,
        far=far,
        accuracy=(accepted + rejected) / 2,
        tar_at_far=tuple(rates(genuine, impostor)),
        tar_at_far_degraded=tuple(rates(among[is_same & half], among[is_other & half])),
        ms=statistics.median(probe.ms for probe in probes),
    )


def _share(is_true: NDArray[np.bool_]) -> float:
    return float(is_true.mean()) if is_true.size else 0.0


def rates(genuine: Floats, impostor: Floats) -> list[Rate]:
    """Return TAR at those of `FARS` that the number of impostor pairs allows.

    Args:
        genuine: similarities of pairs of one person; NaN, not accepted, where a face was not
            detected.
        impostor: similarities of pairs of two people; NaN is left out.
    """
    ordered = np.sort(impostor[~np.isnan(impostor)])[::-1]
    found = []
    for far in FARS:
        if len(ordered) * far < IMPOSTORS_PER_ERROR * (1 - 1e-9) or not len(genuine):
            continue
        threshold = float(ordered[int(np.floor(far * len(ordered) + 1e-9))])
        with np.errstate(invalid="ignore"):
            found.append(Rate(far, float((genuine > threshold).mean()), threshold))
    return found


def quality_chart(result: QualityFigures) -> bytes:
    """Return the figures as a PNG: undetected faces, and TAR at each FAR.

    Raises:
        StreamError: if matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    names = [each.name for each in result.degradations]
    places = np.arange(len(names))
    figure = Figure(figsize=(max(6.4, 0.45 * len(names) + 2), 6.4), dpi=100, layout="tight")
    above, below = figure.subplots(2, sharex=True)
    above.bar(places, [100 * each.undetected for each in result.degradations], color="tab:red")
    above.set_ylabel("undetected, %")
    above.set_title(f"{result.model}, {result.photos} photos of {result.people} people")
    for far in FARS:
        points = [
            (place, rate.tar)
            for place, each in enumerate(result.degradations)
            for rate in each.tar_at_far
            if rate.far == far
        ]
        if points:
            x, y = zip(*points, strict=True)
            below.plot(x, y, "o", label=f"FAR {far:g}")
    below.set_ylim(0, 1.02)
    below.set_ylabel("TAR")
    below.grid(visible=True)
    if below.lines:
        below.legend(loc="lower right")
    below.set_xticks(places, names, rotation=90)
    png = BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def require_matplotlib() -> None:
    """Refuse where matplotlib is missing.

    Raises:
        StreamError: if it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise StreamError("--plot needs matplotlib: pip install matplotlib") from None
