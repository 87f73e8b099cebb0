"""What can go wrong in `gallery`.

GalleryError
├── GalleryFormatError      the directory holds no gallery that this version can read
├── ModelMismatchError      a probe or an embedding comes from another model than the gallery's
└── UnknownIdentityError    no identity of that id or name
"""


class GalleryError(Exception):
    """Any expected failure of this package; the message is one line for the user."""


class GalleryFormatError(GalleryError):
    """Raised when a directory or file is no gallery, is damaged, or is of a newer version."""


class ModelMismatchError(GalleryError):
    """Raised when an embedding comes from another model than the gallery's."""


class UnknownIdentityError(GalleryError):
    """Raised when no identity has the asked id or name."""
