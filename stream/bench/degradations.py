"""Photos made worse in reproducible ways: small, dark, foggy, blurred, turned, cut.

Every function takes an (H, W, 3) uint8 RGB image, the box of its face and a random generator, and
returns the worse image with the map that leads from pixels of one to pixels of the other. What
depends on size is relative to the face's, so that photos of any size become equally bad.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recognizer import Floats, Image

Floats64 = NDArray[np.float64]

SENSOR_NOISE = 4.0  # standard deviation in gray levels, of a camera at high gain
INFRARED_MIX = (0.7, 0.2, 0.1)  # R, G, B: skin is as bright in near infrared as in red light
INFRARED_EDGE = 0.35  # light of the lamp at a frame's corner, its center has 1


@dataclass(frozen=True, slots=True, eq=False)
class Degraded:
    """A photo made worse.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        matrix: (2, 3) float64, from pixels of the photo to pixels of `image`.
    """

    image: Image
    matrix: Floats64


Degradation = Callable[[Image, Floats, np.random.Generator], Degraded]

SAME = np.eye(2, 3)


def _as_is(image: Image, box: Floats, rng: np.random.Generator) -> Degraded:
    return Degraded(image, SAME)


def small(image: Image, box: Floats, rng: np.random.Generator, *, face_px: float) -> Degraded:
    """Shrink the whole photo until its face has that width; a smaller one stays."""
    height, width = image.shape[:2]
    scale = min(1.0, face_px / max(float(box[2] - box[0]), 1.0))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shrunk = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Degraded(shrunk, np.diag([size[0] / width, size[1] / height, 1.0])[:2])


def exposed(
    image: Image, box: Floats, rng: np.random.Generator, *, gain: float, noise: float = 0.0
) -> Degraded:
    """Give it a share of the light, and noise of a standard deviation in gray levels."""
    return Degraded(_rounded(image * gain + _noise(rng, image, noise)), SAME)


def _gray(image: Image, box: Floats, rng: np.random.Generator) -> Degraded:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return Degraded(np.repeat(gray[..., None], 3, axis=2), SAME)


def _infrared(image: Image, box: Floats, rng: np.random.Generator) -> Degraded:
    """Light it by the infrared lamp of a night camera: gray, darker toward the corners, noisy."""
    height, width = image.shape[:2]
    gray = image @ np.array(INFRARED_MIX)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - (1 - INFRARED_EDGE) * (x**2 + y**2) / 2
    seen = gray * light + rng.normal(0, SENSOR_NOISE, gray.shape)
    return Degraded(np.repeat(_rounded(seen)[..., None], 3, axis=2), SAME)


def _backlit(image: Image, box: Floats, rng: np.random.Generator) -> Degraded:
    """Put the head in the dark, before a bright background."""
    height, width = image.shape[:2]
    center = (box[:2] + box[2:]) / 2
    radii = np.maximum(0.9 * (box[2:] - box[:2]), 1)
    y, x = np.ogrid[:height, :width]
    distance = np.hypot((x - center[0]) / radii[0], (y - center[1]) / radii[1])
    share = np.clip(2 * (distance - 0.75), 0, 1)[..., None]  # of the background's light
    seen = image * (0.15 + 0.55 * share) + 110 * share + rng.normal(0, 2.0, image.shape)
    return Degraded(_rounded(seen), SAME)


def _foggy(
    image: Image, box: Floats, rng: np.random.Generator, *, contrast: float, lift: float
) -> Degraded:
    return Degraded(_rounded(image * contrast + lift + rng.normal(0, 1.0, image.shape)), SAME)


def blurred(image: Image, box: Floats, rng: np.random.Generator, *, share: float) -> Degraded:
    """Put it out of focus: a Gaussian whose deviation is a share of the face's width."""
    sigma = max(share * float(box[2] - box[0]), 0.3)
    return Degraded(np.asarray(cv2.GaussianBlur(image, (0, 0), sigmaX=sigma), np.uint8), SAME)


def moved(image: Image, box: Floats, rng: np.random.Generator, *, share: float) -> Degraded:
    """Move it in a straight line, of a random direction, while the shutter is open."""
    length = max(share * float(box[2] - box[0]), 1.0)
    angle = rng.uniform(0, np.pi)
    side = int(np.ceil(length)) // 2 * 2 + 3
    center = np.array([side // 2, side // 2], np.float64)
    reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    ends = [np.round(16 * (center + sign * reach)).astype(int).tolist() for sign in (-1, 1)]
    kernel = np.zeros((side, side), np.uint8)
    cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    weights = kernel / kernel.sum(dtype=np.float64)
    moved = cv2.filter2D(image, -1, weights, borderType=cv2.BORDER_REPLICATE)
    return Degraded(np.asarray(moved, np.uint8), SAME)


def _jpeg(image: Image, box: Floats, rng: np.random.Generator, *, quality: int) -> Degraded:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return Degraded(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8), SAME)


def _turned(image: Image, box: Floats, rng: np.random.Generator, *, degrees: float) -> Degraded:
    """Turn it clockwise about its face."""
    height, width = image.shape[:2]
    center = ((box[:2] + box[2:]) / 2).astype(np.float64)
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    if degrees % 180 == 90:
        height, width = width, height
    matrix = cv2.getRotationMatrix2D(center.tolist(), -degrees, 1.0)
    if degrees % 90 == 0:  # no pixel is lost: about the photo's own middle
        matrix = cv2.getRotationMatrix2D(middle.tolist(), -degrees, 1.0)
        matrix[:, 2] += np.array([(width - 1) / 2, (height - 1) / 2]) - middle
    turned = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return Degraded(np.asarray(turned, np.uint8), np.asarray(matrix, np.float64))


def _cut(
    image: Image,
    box: Floats,
    rng: np.random.Generator,
    *,
    shares: tuple[float, float, float, float],
    face_px: int | None = None,
) -> Degraded:
    """Cut the photo at shares of its face: left, top, right, bottom; 0 and 1 are the box's sides.

    With `face_px` what is left is enlarged or shrunk until the face has that width.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = (
        float(box[axis] + share * (box[2 + axis] - box[axis]))
        for share, axis in zip(shares, (0, 1, 0, 1), strict=True)
    )
    x1, x2 = np.clip(np.rint([left, right]), 0, width).astype(int)
    y1, y2 = np.clip(np.rint([top, bottom]), 0, height).astype(int)
    part = np.ascontiguousarray(image[y1:y2, x1:x2])
    if not part.size:  # the face lies outside of its photo
        return Degraded(image, SAME)
    matrix = np.array([[1.0, 0, -x1], [0, 1, -y1]])
    if face_px is None:
        return Degraded(part, matrix)
    scale = face_px / max(float(box[2] - box[0]), 1.0)
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    sized = np.asarray(cv2.resize(part, size, interpolation=how), np.uint8)
    ratio = np.array([[size[0] / part.shape[1]], [size[1] / part.shape[0]]])
    return Degraded(sized, matrix * ratio)


def _noise(rng: np.random.Generator, image: Image, sigma: float) -> Floats64 | float:
    return rng.normal(0, sigma, image.shape) if sigma else 0.0


def _rounded(image: NDArray[np.floating[Any]]) -> Image:
    return np.asarray(np.rint(image).clip(0, 255), np.uint8)


DEGRADATIONS: Mapping[str, Degradation] = {
    "as-is": _as_is,
    **{f"{n}px": partial(small, face_px=n) for n in (48, 32, 24, 16, 12)},
    "dark-50": partial(exposed, gain=0.5, noise=2.0),
    "dark-25": partial(exposed, gain=0.25, noise=SENSOR_NOISE),
    "dark": partial(exposed, gain=0.12, noise=SENSOR_NOISE),
    "dark-6": partial(exposed, gain=0.06, noise=SENSOR_NOISE),
    "bright-160": partial(exposed, gain=1.6),
    "bright-250": partial(exposed, gain=2.5),
    "gray": _gray,
    "infrared": _infrared,
    "backlit": _backlit,
    "fog": partial(_foggy, contrast=0.35, lift=120.0),
    "fog-dense": partial(_foggy, contrast=0.12, lift=180.0),
    "blur": partial(blurred, share=0.04),
    "motion": partial(moved, share=0.15),
    "jpeg-20": partial(_jpeg, quality=20),
    **{f"turned-{n}": partial(_turned, degrees=n) for n in (30, 60, 90, 180)},
    "large": partial(_cut, shares=(-0.1, -0.1, 1.1, 1.1), face_px=400),
    "filling": partial(_cut, shares=(0.08, 0.08, 0.92, 0.92), face_px=400),
    "cut-left": partial(_cut, shares=(0.25, -9, 9, 9)),
    "cut-top": partial(_cut, shares=(-9, 0.2, 9, 9)),
    "cut-bottom": partial(_cut, shares=(-9, -9, 9, 0.85)),
}
"""All degradations by name; the first is the photo itself.

`dark-N` and `bright-N` are exposed at N percent, `dark` at 12; `large` is a face in a frame that is
hardly larger, `filling` one that is larger than its frame; `cut-*` have a part of the face beyond
the frame's border."""
