"""What can go wrong in `trainer`.

TrainerError
├── RecipeError         a key or value of a recipe is wrong
├── RecordError         a RecordIO set or a verification file is damaged, foreign or unsafe
├── DataError           not enough data: a missing folder, too few people or pairs
├── CheckpointError     a checkpoint is missing, damaged, or of another network or recipe
├── TrainingError       the run must stop: NaN, out of memory, a full disk
└── ExportError         a file cannot be exported, or its embeddings differ from the checkpoint's
"""


class TrainerError(Exception):
    """Any expected failure of this package; the message is one line for the user."""


class RecipeError(TrainerError):
    """Raised when a key or value of a recipe is wrong; the message names the key."""


class RecordError(TrainerError):
    """Raised when a RecordIO set or verification file is damaged, foreign or unsafe."""


class DataError(TrainerError):
    """Raised when there is not enough data, or a file or folder is missing."""


class CheckpointError(TrainerError):
    """Raised when a checkpoint is missing, damaged, or of another network or recipe."""


class TrainingError(TrainerError):
    """Raised when a run must stop; the last good checkpoint is intact."""


class ExportError(TrainerError):
    """Raised when a file cannot be exported, or its embeddings differ from the checkpoint's."""
