"""Compare ways to make one embedding of a track: which accepts most at FAR 1e-4 on poor images.

    python scripts/track_templates.py PEOPLE STRANGERS [--people 60] [--frames 4]

PEOPLE is a folder of photos, PEOPLE/NAME/PHOTO.jpg, STRANGERS one of aligned 112x112 crops of other
people, STRANGERS/NAME/CROP.jpg. Each photo becomes a track of some frames, differently turned,
sized, moved and degraded, which is compared with the photos as they are. Half of the strangers are
further people to compare with, the others the cohort of adaptive s-norm (Matejka et al. 2017).
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import Detections, Floats, Image, Quality, Recognizer, open_recognizer, read_image
from recognizer.models.measuring import main_face
from stream.bench import degradations
from stream.bench.degradations import Degraded, Floats64
from stream.bench.quality import (
    SAME_BOX,
    PersonPhoto,
    choose_photos,
    generator,
    mapped,
    overlaps_of,
    rates,
)

COHORT_TOP = 100  # most similar members of the cohort, for the mean and the deviation
SAME_PHOTO = 0.95  # similarity from which two photos are copies of one
LEAST = 0.01  # weight of a crop without quality, as in stream/recognition/voting.py


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One frame of a track: embeddings of the crop and of its mirror image, (D,) each."""

    plain: Floats
    mirrored: Floats
    quality: Quality


Track = Sequence[Look]


def far(image: Image, box: Floats, rng: np.random.Generator) -> Degraded:
    """Show a face of 12 to 30 pixels."""
    return degradations.small(image, box, rng, face_px=rng.uniform(12, 30))


def blurred(image: Image, box: Floats, rng: np.random.Generator) -> Degraded:
    """Show a face out of focus or in motion."""
    if rng.random() < 0.5:
        return degradations.blurred(image, box, rng, share=rng.uniform(0.01, 0.09))
    return degradations.moved(image, box, rng, share=rng.uniform(0.05, 0.35))


def dark(image: Image, box: Floats, rng: np.random.Generator) -> Degraded:
    """Show a face at 4 to 12 percent of the light."""
    return degradations.exposed(image, box, rng, gain=rng.uniform(0.04, 0.12), noise=4.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("people", type=Path, metavar="PEOPLE")
    parser.add_argument("strangers", type=Path, metavar="STRANGERS")
    parser.add_argument("--people", type=int, dest="limit", help="so many, chosen at random")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--model", default="sface")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    recognizer = open_recognizer(model=arguments.model, threads=arguments.threads, min_face_px=12)
    photos = choose_photos(arguments.people, limit=arguments.limit)
    photos, boxes, clean = _as_they_are(recognizer, photos)
    names, crops = _strangers(arguments.strangers, {photo.person for photo in photos})
    strangers = np.concatenate(
        [recognizer.embed(np.stack(crops[i : i + 8])) for i in range(0, len(crops), 8)]
    )
    is_cohort = np.isin(names, np.unique(names)[::2])
    people = np.array([photo.person for photo in photos])
    trial = _Trial(
        np.concatenate([clean, strangers[~is_cohort]]),
        people[:, None] == np.concatenate([people, names[~is_cohort]])[None, :],
        clean,
        strangers[is_cohort],
    )
    print(trial.size)
    print(f"{'':10} {'template':26} TAR at FAR 1e-2, 1e-3, 1e-4")
    print(f"{'as is':10} {'one photo':26} {trial.line(clean)}")
    print(f"{'as is':10} {'one photo, s-norm':26} {trial.line(clean, is_normalized=True)}")
    for degrade in (far, blurred, dark):
        tracks = [
            _track(recognizer, photo, box, degrade, arguments.frames)
            for photo, box in zip(photos, boxes, strict=True)
        ]
        for name, line in _lines(trial, tracks):
            print(f"{degrade.__name__:10} {name:26} {line}", flush=True)


def _lines(trial: "_Trial", tracks: Sequence[Track]) -> list[tuple[str, str]]:
    def pooled(weigh: Callable[[Look], float], *, flip: bool = False) -> Floats:
        return np.stack([_pooled(track, weigh, trial.size_of_embedding, flip) for track in tracks])

    def best(track: Track) -> Track:
        return sorted(track, key=lambda look: -look.quality.overall)[:1]

    bests = [_pooled(best(track), _by_quality, trial.size_of_embedding) for track in tracks]
    return [
        ("frame of best quality", trial.line(np.stack(bests))),
        ("most similar frame", trial.line_of_most_similar(tracks)),
        ("the same or by quality", trial.line_of_most_similar(tracks, pooled(_by_quality))),
        ("mean", trial.line(pooled(lambda look: 1.0))),
        ("by quality (as built)", trial.line(pooled(_by_quality))),
        ("by its square root", trial.line(pooled(lambda look: _by_quality(look) ** 0.5))),
        ("by quality, flipped", trial.line(pooled(_by_quality, flip=True))),
        ("by quality, s-norm", trial.line(pooled(_by_quality), is_normalized=True)),
        (
            "by quality, flipped, s-norm",
            trial.line(pooled(_by_quality, flip=True), is_normalized=True),
        ),
    ]


class _Trial:
    """Templates, and which of them are of a probe's person.

    Args:
        templates: (T, D).
        is_same: (P, T) bool.
        clean: (P, D) of the probes' photos, which are no templates for themselves.
        cohort: (C, D) of people who are neither.
    """

    def __init__(
        self, templates: Floats, is_same: NDArray[np.bool_], clean: Floats, cohort: Floats
    ) -> None:
        is_copy = clean @ templates.T > SAME_PHOTO
        self._templates, self._cohort = templates, cohort
        self._genuine, self._impostor = is_same & ~is_copy, ~is_same & ~is_copy
        self.size_of_embedding = templates.shape[1]

    @property
    def size(self) -> str:
        counts = self._genuine.sum(), self._impostor.sum(), len(self._cohort)
        return "{} genuine, {} impostor pairs, cohort of {}".format(*counts)

    def line(self, probes: Floats, *, is_normalized: bool = False) -> str:
        scores = probes @ self._templates.T
        if is_normalized:
            of_probes, of_templates = self._moments(probes), self._moments(self._templates)
            scores = (scores - of_probes[0][:, None]) / of_probes[1][:, None] / 2 + (
                scores - of_templates[0]
            ) / of_templates[1] / 2
        return self._rates(scores)

    def line_of_most_similar(self, tracks: Sequence[Track], pooled: Floats | None = None) -> str:
        scores = np.full(self._genuine.shape, np.nan, np.float32)
        for row, track in enumerate(tracks):
            if track:
                looks = np.stack([look.plain for look in track])
                if pooled is not None:
                    looks = np.concatenate([looks, pooled[row : row + 1]])
                scores[row] = (looks @ self._templates.T).max(axis=0)
        return self._rates(scores)

    def _moments(self, embeddings: Floats) -> tuple[Floats64, Floats64]:
        """Return mean and deviation of the similarities to the nearest of the cohort."""
        nearest = np.sort(embeddings @ self._cohort.T, axis=1)[:, -COHORT_TOP:]
        return nearest.mean(axis=1), nearest.std(axis=1)

    def _rates(self, scores: Floats) -> str:
        found = rates(scores[self._genuine], scores[self._impostor])
        return " ".join(f"{rate.tar:.4f}" for rate in found)


def _by_quality(look: Look) -> float:
    return max(look.quality.overall, LEAST)


def _pooled(track: Track, weigh: Callable[[Look], float], size: int, flip: bool = False) -> Floats:
    """Return the weighted mean of a track's embeddings, (D,) of unit length; NaN without any."""
    if not track:
        return np.full(size, np.nan, np.float32)
    total = np.zeros(size)
    for look in track:
        embedding = look.plain + look.mirrored if flip else look.plain
        total = total + weigh(look) * embedding / np.linalg.norm(embedding)
    return np.asarray(total / np.linalg.norm(total), np.float32)


def _as_they_are(
    recognizer: Recognizer, photos: Sequence[PersonPhoto]
) -> tuple[list[PersonPhoto], list[Floats], Floats]:
    """Return the photos that show a face, its boxes, and its embeddings."""
    shown, boxes, embeddings = [], [], []
    for photo in photos:
        image = read_image(photo.path)
        (found,) = recognizer.detect([image])
        row = main_face(found, image)
        if row >= 0:
            crops = recognizer.align(image, found.landmarks[row : row + 1])
            shown.append(photo)
            boxes.append(found.boxes[row])
            embeddings.append(recognizer.embed(crops)[0])
    return shown, boxes, np.stack(embeddings)


def _strangers(folder: Path, known: set[str]) -> tuple[NDArray[np.str_], list[Image]]:
    files = sorted(folder.glob("*/*"))
    chosen = [file for file in files if file.parent.name not in known]
    return np.array([file.parent.name for file in chosen]), [read_image(file) for file in chosen]


def _track(
    recognizer: Recognizer,
    photo: PersonPhoto,
    box: Floats,
    degrade: Callable[[Image, Floats, np.random.Generator], Degraded],
    n_frames: int,
) -> list[Look]:
    """Return what is seen of a face in some frames, without those in which it is not detected."""
    image = read_image(photo.path)
    crops, qualities = [], []
    for number in range(n_frames):
        rng = generator(number, degrade.__name__, photo)
        frame, place = _moved(image, box, rng)
        degraded = degrade(frame, place, rng)
        (found,) = recognizer.detect([degraded.image])
        expected = mapped(place[None], degraded.matrix)
        overlaps = overlaps_of(expected, found.boxes, degraded.image.shape[:2])[0]
        if not len(found) or overlaps.max() < SAME_BOX:
            continue
        row = int(overlaps.argmax())
        one = Detections(*(x[row : row + 1] for x in (found.boxes, found.landmarks, found.scores)))
        (crop,), (quality,) = recognizer.align_and_judge(degraded.image, one)
        crops.append(crop)
        qualities.append(quality)
    if not crops:
        return []
    plain = recognizer.embed(np.stack(crops))
    mirrored = recognizer.embed(np.stack(crops)[:, :, ::-1])
    return [Look(*each) for each in zip(plain, mirrored, qualities, strict=True)]


def _moved(image: Image, box: Floats, rng: np.random.Generator) -> tuple[Image, Floats]:
    """Return another frame of the same face: turned, nearer or farther, and aside a little."""
    center = ((box[:2] + box[2:]) / 2).tolist()
    turn = cv2.getRotationMatrix2D(center, rng.uniform(-8, 8), rng.uniform(0.9, 1.1))
    matrix = np.asarray(turn, np.float64)
    matrix[:, 2] += rng.uniform(-3, 3, 2)
    height, width = image.shape[:2]
    moved = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    place = mapped(box[None], matrix)[0]
    return np.asarray(moved, np.uint8), place.astype(np.float32)


if __name__ == "__main__":
    main()
