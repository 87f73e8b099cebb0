"""Text files that only their owner may read, replaced as one step."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replace a file by a text that is on the disk afterwards; private from the first byte on.

    Raises:
        OSError: if it cannot be written; the file is then as before.
    """
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
