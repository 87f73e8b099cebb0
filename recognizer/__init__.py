"""Images in, faces out."""

from recognizer.cache import default_cache
from recognizer.card import ModelCard, read_card, write_card
from recognizer.detect.flow import FaceFlow, Picture
from recognizer.detect.scan import NOBODY, Known, LiveScan
from recognizer.embed.attributes import Attributes
from recognizer.engines.cpus import cgroup_cpus, usable_cpus
from recognizer.errors import (
    DeviceError,
    ImageError,
    ModelCardError,
    ModelFileError,
    RecognizerError,
)
from recognizer.faces import Detections, Face, Floats, Followed, Image
from recognizer.files import read_file, refuse_special, write_file
from recognizer.geometry.pyramid import Octaves
from recognizer.geometry.quality import Quality, head_poses
from recognizer.models.fetch import Progress, fetch, fetch_photos
from recognizer.models.library import add_model, convert_checkpoint
from recognizer.models.manifest import ModelEntry, list_models
from recognizer.photos.photos import Photo, decode_image, decode_photo, read_image, read_photo
from recognizer.recognizer import Recognizer, open_recognizer
from recognizer.similarities import SimilarityLimits

__all__ = [
    "NOBODY",
    "Attributes",
    "Detections",
    "DeviceError",
    "Face",
    "FaceFlow",
    "Floats",
    "Followed",
    "Image",
    "ImageError",
    "Known",
    "LiveScan",
    "ModelCard",
    "ModelCardError",
    "ModelEntry",
    "ModelFileError",
    "Octaves",
    "Photo",
    "Picture",
    "Progress",
    "Quality",
    "Recognizer",
    "RecognizerError",
    "SimilarityLimits",
    "add_model",
    "cgroup_cpus",
    "convert_checkpoint",
    "decode_image",
    "decode_photo",
    "default_cache",
    "fetch",
    "fetch_photos",
    "head_poses",
    "list_models",
    "open_recognizer",
    "read_card",
    "read_file",
    "read_image",
    "read_photo",
    "refuse_special",
    "usable_cpus",
    "write_card",
    "write_file",
]
