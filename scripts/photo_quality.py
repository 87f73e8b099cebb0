"""Measure recognition after enrolling one degraded photo: 40 people, another photo as probe.

    python scripts/photo_quality.py LFW [--people 40] [--turned] [--model sface]

LFW is a folder of people with two or more photos each, such as LFW's. For each kind of degradation
all people are enrolled in a new gallery from one degraded photo, with the usual enrollment checks,
and identified by another, good photo. A photo that is enrolled but does not identify its person
should have been rejected: at least 95 % of the enrolled should be recognized. With --turned the
degradation is a quarter turn. The last line counts good photos that are rejected.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from gallery import Gallery
from recognizer import Image, Recognizer, open_recognizer, read_image
from stream.enrollment.enrollment import EnrolReport, enroll_images, upload_item

MARGIN = 0.05  # minimum lead of the best similarity, as in `identify`
Damage = Callable[[Image], Image]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="LFW")
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--turned", action="store_true", help="turn photos instead")
    parser.add_argument("--model", default="sface")
    arguments = parser.parse_args()
    people = [sorted(p.glob("*.jpg")) for p in sorted(arguments.folder.iterdir()) if p.is_dir()]
    pairs = [(photos[0], photos[1]) for photos in people if len(photos) > 1]
    recognizer = open_recognizer(model=arguments.model)
    damages = TURNS if arguments.turned else DAMAGES
    print(f"{'damage':24} enrolled recognized wrong  refused because")
    enrolled = recognized = 0
    for name, damage in damages.items():
        report, right, wrong = _run(recognizer, pairs[: arguments.people], damage)
        reasons = Counter(str(each.reason) for each in report.rejected)
        why = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
        print(f"{name:24} {len(report.enrolled):8} {right:10} {wrong:5}  {why}", flush=True)
        enrolled += len(report.enrolled)
        recognized += right
    print(f"{recognized} of {enrolled} enrolled are recognized: {recognized / enrolled:.1%}")
    everything = [path for photos in people for path in photos]
    refused = _refused(recognizer, everything)
    print(f"{len(refused)} of {len(everything)} good photos are refused: {dict(refused)}")


def _run(
    recognizer: Recognizer, pairs: list[tuple[Path, Path]], damage: Damage
) -> tuple[EnrolReport, int, int]:
    """Return the enrollment report, and the numbers of recognized and misidentified people."""
    with tempfile.TemporaryDirectory() as directory, _gallery(recognizer, directory) as gallery:
        items = [
            upload_item(str(photo), photo.parent.name, _png(damage(read_image(photo))))
            for photo, _ in pairs
        ]
        report = enroll_images(recognizer, gallery, items)
        names = {each.identity.name for each in report.enrolled}
        right = wrong = 0
        threshold = gallery.threshold_for(recognizer.threshold)
        for _, probe in pairs:
            if probe.parent.name not in names:
                continue
            faces = recognizer.recognize([read_image(probe)], any_way_up=True)[0]
            face = max(faces, key=lambda each: float(np.ptp(each.box[::2])))
            (match,) = gallery.search(face.embedding[None], threshold=threshold, margin=MARGIN)
            right += match is not None and match.identity.name == probe.parent.name
            wrong += match is not None and match.identity.name != probe.parent.name
        return report, right, wrong


def _refused(recognizer: Recognizer, photos: list[Path]) -> Counter[str]:
    with tempfile.TemporaryDirectory() as directory, _gallery(recognizer, directory) as gallery:
        # each as a separate person, so that only the photo itself is checked
        items = [
            upload_item(str(photo), f"{photo.stem} {number}", photo.read_bytes())
            for number, photo in enumerate(photos)
        ]
        report = enroll_images(recognizer, gallery, items)
        own = ("other_person", "unlike_others", "duplicate")
        return Counter(str(e.reason) for e in report.rejected if str(e.reason) not in own)


def _gallery(recognizer: Recognizer, directory: str) -> Gallery:
    return Gallery.open(
        Path(directory), model_id=recognizer.model_id, embedding_size=recognizer.embedding_size
    )


def _png(image: Image) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return data.tobytes()


def _rounded(image: np.ndarray) -> Image:
    return np.asarray(np.rint(image).clip(0, 255), np.uint8)


def _gaussian_noise(image: Image, deviation: float) -> Image:
    noise = np.random.default_rng(0).normal(0, deviation, image.shape)
    return _rounded(image + noise)


def _salt_and_pepper(image: Image, share: float) -> Image:
    dice = np.random.default_rng(0).random(image.shape[:2])
    spoiled = image.copy()
    spoiled[dice < share / 2] = 0
    spoiled[dice > 1 - share / 2] = 255
    return spoiled


def _posterized(image: Image, levels: int) -> Image:
    step = 255 / (levels - 1)
    return _rounded(np.rint(image / step) * step)


def _bilevel(image: Image) -> Image:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.repeat(np.where(gray > np.median(gray), 255, 0).astype(np.uint8)[..., None], 3, 2)


def _halftone(image: Image) -> Image:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) * 16 + 8
    tiled = np.tile(bayer, (gray.shape[0] // 4 + 1, gray.shape[1] // 4 + 1))
    dots = np.where(gray > tiled[: gray.shape[0], : gray.shape[1]], 255, 0)
    return np.repeat(dots.astype(np.uint8)[..., None], 3, 2)


def _jpeg(image: Image, quality: int) -> Image:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def _blurred(image: Image, deviation: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigmaX=deviation), np.uint8)


def _shaken(image: Image, length: int) -> Image:
    return np.asarray(cv2.blur(image, (length, 1)), np.uint8)


def _coarse(image: Image, by: int) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // by, height // by), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _exposed(image: Image, gain: float) -> Image:
    return _rounded(image * gain)


DAMAGES: dict[str, Damage] = {
    "none": lambda image: image,
    **{f"gaussian noise {d}": partial(_gaussian_noise, deviation=d) for d in (10, 20, 40, 60, 90)},
    **{f"salt and pepper {s:.0%}": partial(_salt_and_pepper, share=s) for s in (0.03, 0.1, 0.25)},
    **{f"posterized to {n}": partial(_posterized, levels=n) for n in (8, 4, 3, 2)},
    "bilevel": _bilevel,
    "halftone": _halftone,
    **{f"jpeg quality {q}": partial(_jpeg, quality=q) for q in (20, 10, 5, 2)},
    **{f"blurred {d}": partial(_blurred, deviation=d) for d in (1, 2, 3, 4, 6)},
    **{f"shaken {n} px": partial(_shaken, length=n) for n in (5, 9, 15)},
    **{f"coarse by {n}": partial(_coarse, by=n) for n in (2, 4, 6, 8)},
    **{f"dark {g}": partial(_exposed, gain=g) for g in (0.4, 0.2, 0.1, 0.05)},
    **{f"overexposed {g}": partial(_exposed, gain=g) for g in (1.5, 2.5, 4)},
}
TURNS: dict[str, Damage] = {
    f"turned by {90 * turns}": partial(np.rot90, k=turns) for turns in (0, 1, 2, 3)
}


if __name__ == "__main__":
    main()
