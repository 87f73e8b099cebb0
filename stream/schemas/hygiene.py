"""What harms recognition in a gallery, and its calibration, as JSON."""

import math
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from gallery.calibration import Calibration
from gallery.hygiene import Finding, Hygiene, Kind
from stream.schemas.faces import similarity
from stream.schemas.people import IdentityJson, identity_json

BINS = 80


class FoundPhotoJson(TypedDict):
    """A photo of a finding; its crop is at identities/{identity_id}/photos/{photo_id}.jpg."""

    identity_id: str
    photo_id: int
    quality: float
    has_crop: bool


class MendJson(TypedDict):
    """A request that mends a finding; `path` is relative to the service's address."""

    action: str
    method: str
    path: str
    body: dict[str, Any] | None


class FindingJson(TypedDict):
    """One thing to look at; `mend` lists the recommended request first."""

    id: str
    kind: str
    detail: str
    people: list[IdentityJson]
    photos: list[FoundPhotoJson]
    similarity: float | None
    command: str
    mend: list[MendJson]


class HygieneLimitsJson(TypedDict):
    """Levels of the findings: cosines, and a quality in [0, 1]."""

    own: float
    alike: float
    redundant: float
    quality: float


class HygieneJson(TypedDict):
    """What harms recognition; `total` counts the findings, of which some are listed."""

    model_id: str
    n_people: int
    n_photos: int
    total: int
    is_sampled: bool
    limits: HygieneLimitsJson
    findings: list[FindingJson]


class AlikeJson(TypedDict):
    """Two very similar people."""

    name_a: str
    name_b: str
    similarity: float


class HistogramJson(TypedDict):
    """Counts of similarities between N + 1 edges."""

    edges: list[float]
    genuine: list[int]
    impostor: list[int]


class CalibrationJson(TypedDict):
    """The threshold for a gallery's own people; `tar` is null if nobody has two photos."""

    far: float
    threshold: float
    threshold_interval: list[float]
    tar: float | None
    stranger_rate: float
    impostors: int
    genuine: int
    people: int
    photos: int
    alike: list[AlikeJson]
    in_use: float
    histogram: HistogramJson


def hygiene_json(
    found: Hygiene, model_id: str, *, limit: int | None = None, options: Sequence[str] = ()
) -> HygieneJson:
    """Return the findings of a gallery as JSON.

    Args:
        found: in the gallery.
        model_id: of the gallery.
        limit: how many findings are listed, the first ones; None for all.
        options: of the commands that mend them, such as --gallery; none for the usual gallery.
    """
    levels = found.limits
    return {
        "model_id": model_id,
        "n_people": found.n_people,
        "n_photos": found.n_photos,
        "total": len(found.findings),
        "is_sampled": found.is_sampled,
        "limits": {
            "own": levels.own,
            "alike": levels.alike,
            "redundant": levels.redundant,
            "quality": levels.quality,
        },
        "findings": [_finding_json(each, options) for each in found.findings[:limit]],
    }


def _finding_json(found: Finding, options: Sequence[str]) -> FindingJson:
    return {
        "id": found.finding_id,
        "kind": str(found.kind),
        "detail": _detail(found),
        "people": [identity_json(person) for person in found.people],
        "photos": [
            {
                "identity_id": photo.identity_id,
                "photo_id": photo.photo_id,
                "quality": round(photo.quality, 3),
                "has_crop": photo.has_crop,
            }
            for photo in found.photos
        ],
        "similarity": None if found.similarity is None else similarity(found.similarity),
        "command": _command(found, options),
        "mend": _mends(found),
    }


def calibration_json(result: Calibration, *, in_use: float) -> CalibrationJson:
    """Return a calibration as JSON, with the threshold that is used now."""
    both = np.concatenate([result.genuine, result.impostor])
    edges = np.linspace(float(both.min()), float(both.max()), BINS + 1)
    return {
        "far": result.far,
        "threshold": similarity(result.threshold),
        "threshold_interval": [similarity(result.threshold_low), similarity(result.threshold_high)],
        "tar": None if math.isnan(result.tar) else result.tar,
        "stranger_rate": result.stranger_rate,
        "impostors": len(result.impostor),
        "genuine": len(result.genuine),
        "people": result.n_people,
        "photos": result.n_photos,
        "alike": [
            {"name_a": pair.name_a, "name_b": pair.name_b, "similarity": pair.similarity}
            for pair in result.alike
        ],
        "in_use": similarity(in_use),
        "histogram": {
            "edges": [similarity(float(edge)) for edge in edges],
            "genuine": [int(n) for n in np.histogram(result.genuine, edges)[0]],
            "impostor": [int(n) for n in np.histogram(result.impostor, edges)[0]],
        },
    }


def _detail(found: Finding) -> str:
    photo, names = found.photos[0], [person.name for person in found.people]
    if found.kind is Kind.UNLIKE:
        like = f"; it looks like {names[1]} ({found.like:.2f})" if len(names) > 1 else ""
        return (
            f"photo {photo.photo_id} of {names[0]} is unlike the others "
            f"(similarity {found.similarity:.2f}){like}"
        )
    if found.kind is Kind.ALIKE:
        return f"{names[0]} and {names[1]} may be one person (similarity {found.similarity:.2f})"
    if found.kind is Kind.REDUNDANT:
        return (
            f"photo {photo.photo_id} of {names[0]} adds nothing to photo "
            f"{found.photos[1].photo_id} (similarity {found.similarity:.2f})"
        )
    return f"photo {photo.photo_id} of {names[0]} is poor (quality {photo.quality:.2f})"


def _command(found: Finding, options: Sequence[str]) -> str:
    names = [person.name for person in found.people]
    photo_id = str(found.photos[0].photo_id)
    if found.kind is Kind.ALIKE:
        verb, words = "merge", names
    elif found.kind is Kind.UNLIKE and len(names) > 1:
        verb, words = "split", [*names, photo_id]
    else:
        verb, words, options = "remove", names[:1], ["--photo", photo_id, *options]
    if any(word.startswith("-") for word in words):
        words = ["--", *words]
    return shlex.join(["facewire", "gallery", verb, *options, *words])


def _mends(found: Finding) -> list[MendJson]:
    own = f"api/identities/{found.people[0].identity_id}"
    if found.kind is Kind.ALIKE:
        body = {"merge_into": found.people[1].identity_id}
        return [{"action": "merge", "method": "PATCH", "path": own, "body": body}]
    photo_id = found.photos[0].photo_id
    remove: MendJson = {
        "action": "remove_photo",
        "method": "DELETE",
        "path": f"{own}/photos/{photo_id}",
        "body": None,
    }
    if found.kind is Kind.UNLIKE and len(found.people) > 1:
        body_of_move = {"photo_ids": [photo_id], "name": found.people[1].name}
        return [
            {
                "action": "move_photo",
                "method": "POST",
                "path": f"{own}/split",
                "body": body_of_move,
            },
            remove,
        ]
    return [remove]
