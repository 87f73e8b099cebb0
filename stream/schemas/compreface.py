"""Answers in CompreFace's form; what was not asked for is left out."""

from typing import NotRequired

from typing_extensions import TypedDict


class CompreFaceErrorJson(TypedDict):
    """Why a request was refused, with CompreFace's number for it."""

    message: str
    code: int


class SubjectJson(TypedDict):
    """A person."""

    subject: str


class SubjectsJson(TypedDict):
    """All people, by name."""

    subjects: list[str]


class UpdatedJson(TypedDict):
    """That a person was renamed or merged."""

    updated: bool


class DeletedJson(TypedDict):
    """How many people or photos were erased."""

    deleted: int


class ExampleJson(TypedDict):
    """A photo of a person."""

    image_id: str
    subject: str


class ExamplesJson(TypedDict):
    """Some of the photos, oldest first."""

    faces: list[ExampleJson]
    page_number: int
    page_size: int
    total_pages: int
    total_elements: int


class AgeJson(TypedDict):
    """Years between which a person is, and how often that is right."""

    probability: float
    high: int
    low: int


class GenderJson(TypedDict):
    """`female` or `male`, and how certain that is."""

    probability: float
    value: str


class PoseJson(TypedDict):
    """How a head is turned, degrees."""

    pitch: float
    roll: float
    yaw: float


class BoxJson(TypedDict):
    """Where a face is, pixels of the photo, and how certain that is."""

    probability: float
    x_max: int
    y_max: int
    x_min: int
    y_min: int


class SimilarJson(TypedDict):
    """A person, with a similarity in [0, 1] of which 0.5 is the threshold of a match."""

    subject: str
    similarity: float


class FaceOfCompreFaceJson(TypedDict):
    """A face of a photo."""

    box: BoxJson
    age: NotRequired[AgeJson]
    gender: NotRequired[GenderJson]
    pose: NotRequired[PoseJson]
    embedding: NotRequired[list[float]]
    landmarks: NotRequired[list[list[int]]]
    execution_time: NotRequired[dict[str, float]]


class RecognizedJson(FaceOfCompreFaceJson):
    """A face, with the most similar people: the nearest is listed, however far it is."""

    subjects: list[SimilarJson]


class VerifiedJson(FaceOfCompreFaceJson):
    """A face, compared with a photo of a person."""

    subject: str
    similarity: float


class MatchedJson(FaceOfCompreFaceJson):
    """A face, compared with that of the other photo."""

    similarity: float


class DetectionJson(TypedDict):
    """The faces of a photo, the largest first."""

    result: list[FaceOfCompreFaceJson]
    plugins_versions: NotRequired[dict[str, str]]


class RecognitionJson(TypedDict):
    """The faces of a photo, the largest first, with who they are."""

    result: list[RecognizedJson]
    plugins_versions: NotRequired[dict[str, str]]


class VerificationJson(TypedDict):
    """The faces of a photo, the largest first, compared with a photo of a person."""

    result: list[VerifiedJson]
    plugins_versions: NotRequired[dict[str, str]]


class ComparisonJson(TypedDict):
    """The one face of a photo, and those of another."""

    source_image_face: FaceOfCompreFaceJson
    face_matches: list[MatchedJson]
    plugins_versions: NotRequired[dict[str, str]]


class ComparisonsJson(TypedDict):
    """The faces of two photos, compared."""

    result: list[ComparisonJson]


class RecognizedEmbeddingJson(TypedDict):
    """An embedding, with the most similar people."""

    embedding: list[float]
    similarities: list[SimilarJson]


class RecognizedEmbeddingsJson(TypedDict):
    """Embeddings, with who they are."""

    result: list[RecognizedEmbeddingJson]


class ComparedEmbeddingJson(TypedDict):
    """An embedding, compared with another."""

    embedding: list[float]
    similarity: float


class ComparedEmbeddingsJson(TypedDict):
    """Embeddings, compared with another."""

    result: list[ComparedEmbeddingJson]


class LimitsJson(TypedDict):
    """The largest photo and the largest request, bytes."""

    clientMaxFileSize: int
    clientMaxBodySize: int
