"""What can go wrong in `recognizer`.

RecognizerError
├── ImageError              a photo cannot be read
├── DeviceError             the wanted device or engine is not usable here
└── ModelFileError          a model file is missing, damaged, foreign, or cannot be fetched
    └── ModelCardError      a model card is missing or wrong
"""


class RecognizerError(Exception):
    """Any expected failure of this package; the message is one line for the user."""


class ImageError(RecognizerError):
    """Raised when a photo cannot be read; use another file."""


class DeviceError(RecognizerError):
    """Raised when the requested device or engine is not usable on this machine."""


class ModelFileError(RecognizerError):
    """Raised when a model file is missing, damaged or foreign, or cannot be fetched."""


class ModelCardError(ModelFileError):
    """Raised when a model file lacks metadata that inference needs."""
