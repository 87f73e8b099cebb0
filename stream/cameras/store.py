"""Storage of the cameras that are edited while the service runs, in a separate file.

The file overrides the configuration and holds, for each camera that was added, changed or removed,
its settings (null if removed) and its configuration at that time (null if not configured). If the
configuration of a camera is edited afterwards, the configuration applies: the last edit wins.
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

from gallery import replacing
from gallery.private_files import keep_private
from recognizer import read_file
from stream.config import CameraConfig
from stream.config_file import MAX_BYTES, describe
from stream.errors import CameraStoreError, CameraStoreFullError

FILE_NAME = "cameras.json"

PUSHED = "browser:"
"""How the URL of a camera begins that a browser or encoder sends: only its settings are kept."""


class Edit(BaseModel):
    """An edit of one camera.

    Attributes:
        name: of the camera.
        configured: its configuration at the time of the edit.
        camera: its settings after the edit.
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
    """The cameras of a service: the configured ones with later edits applied.

    Attributes:
        path: the file.
        configured: current configuration, by name.
        edits: edits in effect, by name.
        dormant: edits of cameras that are not configured now, by name, such as while the service
            runs with others for a test: applied again once the camera is configured as before.
    """

    path: Path
    configured: dict[str, CameraConfig]
    edits: dict[str, Edit]
    dormant: dict[str, Edit] = field(default_factory=dict)

    @classmethod
    def open(cls, directory: Path, configured: Sequence[CameraConfig]) -> Self:
        """Return the store of a directory; a missing file is an empty store.

        Raises:
            CameraStoreError: if the file is unreadable or damaged.
        """
        replacing.finish(directory)
        path = directory / FILE_NAME
        keep_private(path)  # it holds passwords of cameras
        try:
            text = read_file(path, max_bytes=MAX_BYTES)
            edits = EDITS.validate_json(text.removeprefix(codecs.BOM_UTF8))
        except FileNotFoundError:
            edits = []
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise CameraStoreError(f"cannot read {path}: {why}") from error
        except ValidationError as error:
            # Not chained: the message may hold a password.
            raise CameraStoreError(
                f"{describe(error, f'{path} is damaged or of another version')}: move it away to "
                "begin with the configured cameras"
            ) from None
        store = cls(path, {}, {edit.name: edit for edit in edits})
        store.reconfigure(configured)
        return store

    def reconfigure(self, configured: Sequence[CameraConfig]) -> None:
        """Apply another configuration; edits stay for cameras with unchanged configuration."""
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
        """Return every camera with edits applied: the configured ones first, then the added."""
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
        """Return the stored settings of a camera that a browser or encoder sends, if any."""
        edit = self.edits.get(name)
        camera = None if edit is None else edit.camera
        return camera if camera is not None and camera.url.startswith(PUSHED) else None

    def put(self, camera: CameraConfig) -> None:
        """Store a camera that was added or changed.

        Raises:
            CameraStoreError: if it cannot be written.
        """
        self._keep({camera.name: camera})

    def remove(self, name: str) -> None:
        """Store that a camera was removed; see `put` for errors."""
        self._keep({name: None})

    def rename(self, name: str, camera: CameraConfig) -> None:
        """Store a camera that was named `name`, in one step; see `put` for errors."""
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
            # It holds passwords of cameras: private to this user from the first byte on.
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
