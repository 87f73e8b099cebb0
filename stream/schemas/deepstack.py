"""Answers in the form of DeepStack and CodeProject.AI."""

from typing import NotRequired

from typing_extensions import TypedDict


class DeepStackErrorJson(TypedDict):
    """Why a request was refused."""

    success: bool
    error: str
    code: int


class DeepStackFaceJson(TypedDict):
    """A face of a photo; of `recognize` with who it is, `unknown` for nobody."""

    userid: NotRequired[str]
    confidence: float
    x_min: int
    y_min: int
    x_max: int
    y_max: int


class DeepStackFacesJson(TypedDict):
    """The faces of a photo, the largest first."""

    success: bool
    code: int
    predictions: list[DeepStackFaceJson]


class DeepStackMessageJson(TypedDict):
    """That it was done."""

    success: bool
    code: int
    message: str


class DeepStackNamesJson(TypedDict):
    """All people by name."""

    success: bool
    code: int
    faces: list[str]


class DeepStackSimilarityJson(TypedDict):
    """How similar the faces of two photos are, in [0, 1]; 0.5 is the threshold of a match."""

    success: bool
    code: int
    similarity: float
