"""Storage and search of face embeddings by identity."""

from gallery.address import Place
from gallery.errors import (
    ErasedIdentityError,
    GalleryBusyError,
    GalleryDamagedError,
    GalleryError,
    GalleryFormatError,
    GalleryFullError,
    InvalidNameError,
    ModelMismatchError,
    NameTakenError,
    UnknownIdentityError,
)
from gallery.gallery import Gallery
from gallery.identities import Identity, IdentitySummary, Match, NewPhoto, PeoplePage, Photo, Target
from gallery.names import MAX_INTEGER, MAX_NAME_LENGTH, clean_name, escaped, is_text, name_key
from gallery.store import Access
from gallery.thresholds import naming_threshold

__all__ = [
    "MAX_INTEGER",
    "MAX_NAME_LENGTH",
    "Access",
    "ErasedIdentityError",
    "Gallery",
    "GalleryBusyError",
    "GalleryDamagedError",
    "GalleryError",
    "GalleryFormatError",
    "GalleryFullError",
    "Identity",
    "IdentitySummary",
    "InvalidNameError",
    "Match",
    "ModelMismatchError",
    "NameTakenError",
    "NewPhoto",
    "PeoplePage",
    "Photo",
    "Place",
    "Target",
    "UnknownIdentityError",
    "clean_name",
    "escaped",
    "is_text",
    "name_key",
    "naming_threshold",
]
