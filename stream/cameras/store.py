"""The cameras that people change while the service runs, kept in a file of their own.

The file lies over the configuration and holds, for each camera that was added, changed or removed,
the camera as it is now (null where it was removed) and as it was configured then (null where it was
not). A camera whose configuration is edited afterwards is as it is configured: the last edit wins.
"""

import codecs
import errno
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from gallery.private_files import keep_private
from recognizer import read_file
from stream.config import CameraConfig
from stream.config_file import MAX_BYTES, describe
from stream.errors import CameraStoreError, CameraStoreFullError

FILE_NAME = "cameras.json"

PUSHED = "browser:"
"""How the URL of a camera begins that a browser or encoder sends: only its settings are kept."""


class Edit(BaseModel):
    """What became of one camera.

    Attributes:
        name: the camera's.
        configured: as the configuration had it at the time of the edit.
        camera: as it is to be.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    configured: CameraConfig | None
    camera: CameraConfig | None

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        if any(
            each is not None and each.name != self.name for each in (self.configured, self.camera)
        ):
            raise ValueError("an edit and its camera must have the same name")
        return self


def _edited_once(edits: list[Edit]) -> list[Edit]:
    for name, n_edits in Counter(edit.name for edit in edits).items():
        if n_edits > 1:
            raise ValueError(f"camera {name} is in it {n_edits} times")
    return edits


EDITS = TypeAdapter(Annotated[list[Edit], AfterValidator(_edited_once)])


@dataclass(slots=True, eq=False)
class CameraStore:
    """The cameras of a service: configured ones under the edits that were made since.

    Attributes:
        path: the file.
        configured: by name, as configured today.
        edits: by name, those that still hold.
        dormant: by name, those of cameras that are not configured now, such as while the service
            runs with others for a test: they hold again once the camera is configured as it was.
    """

    path: Path
    configured: dict[str, CameraConfig]
    edits: dict[str, Edit]
    dormant: dict[str, Edit] = field(default_factory=dict)

    @classmethod
    def open(cls, directory: Path, configured: Sequence[CameraConfig]) -> Self:
        """Read the file of a directory; there need not be one.

        Raises:
            CameraStoreError: if the file is unreadable or damaged.
        """
        path = directory / FILE_NAME
        keep_private(path)  # passwords of cameras are in it
        try:
            text = read_file(path, max_bytes=MAX_BYTES)
            edits = EDITS.validate_json(text.removeprefix(codecs.BOM_UTF8))
        except FileNotFoundError:
            edits = []
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise CameraStoreError(f"cannot read {path}: {why}") from error
        except ValidationError as error:
            # Not chained: the text may hold a password.
            raise CameraStoreError(
                f"{describe(error, f'{path} is damaged or of another version')}: move it away to "
                "begin with the configured cameras"
            ) from None
        store = cls(path, {}, {edit.name: edit for edit in edits})
        store.reconfigure(configured)
        return store

    def reconfigure(self, configured: Sequence[CameraConfig]) -> None:
        """Take another configuration; an edit holds while its camera's part of it is the same."""
        self.configured = {camera.name: camera for camera in configured}
        known = {**self.dormant, **self.edits}
        self.edits = {
            name: edit
            for name, edit in known.items()
            if edit.configured == self.configured.get(name)
        }
        self.dormant = {name: edit for name, edit in known.items() if name not in self.configured}
        for name in self.edits:
            self.dormant.pop(name, None)

    def cameras(self) -> list[CameraConfig]:
        """Return every camera as it is to be: the configured ones first, then the added."""
        edited = [
            self.edits[name].camera if name in self.edits else camera
            for name, camera in self.configured.items()
        ]
        added = [edit.camera for name, edit in self.edits.items() if name not in self.configured]
        return [
            camera
            for camera in (*edited, *added)
            if camera is not None and not camera.url.startswith(PUSHED)
        ]

    def pushed(self, name: str) -> CameraConfig | None:
        """Return the settings of a camera that a browser or encoder sends, if some are kept."""
        edit = self.edits.get(name)
        camera = None if edit is None else edit.camera
        return camera if camera is not None and camera.url.startswith(PUSHED) else None

    def put(self, camera: CameraConfig) -> None:
        """Keep a camera that was added or changed.

        Raises:
            CameraStoreError: if the disk does not take it.
        """
        self._keep({camera.name: camera})

    def remove(self, name: str) -> None:
        """Keep that a camera was removed; see `put` for errors."""
        self._keep({name: None})

    def rename(self, name: str, camera: CameraConfig) -> None:
        """Keep a camera that was called `name` so far, in one step; see `put` for errors."""
        self._keep({name: None, camera.name: camera})

    def _keep(self, cameras: Mapping[str, CameraConfig | None]) -> None:
        edits = dict(self.edits)
        for name, camera in cameras.items():
            configured = self.configured.get(name)
            if camera == configured:
                edits.pop(name, None)
            else:
                edits[name] = Edit(name=name, configured=configured, camera=camera)
        dormant = {name: edit for name, edit in self.dormant.items() if name not in cameras}
        self._write([*edits.values(), *dormant.values()])
        self.edits, self.dormant = edits, dormant

    def _write(self, edits: list[Edit]) -> None:
        text = json.dumps(EDITS.dump_python(edits, mode="json"), indent=2) + "\n"
        try:
            is_readable = EDITS.validate_json(text) == edits
        except ValidationError:
            is_readable = False
        if not is_readable:  # the next start could not read it
            raise CameraStoreError("cannot save the camera: one of its values cannot be written")
        part = self.path.with_suffix(".part")
        try:
            # Passwords of cameras are in it: nobody else may read it, from the first byte on.
            part.unlink(missing_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = CameraStoreFullError if is_full else CameraStoreError
            raise kind(f"cannot save the cameras to {self.path}: {error.strerror}") from error
