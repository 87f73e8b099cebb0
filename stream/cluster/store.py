"""The cameras of a machine of a cluster, whose settings are in the database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gallery import GalleryError
from gallery.postgresql.connections import is_about_values
from stream.cameras.store import PUSHED, CameraStore
from stream.cluster.database import ClusterDatabase
from stream.config import CameraConfig
from stream.errors import CameraExistsError, CameraStoreError


@dataclass(eq=False)
class ClusterStore(CameraStore):
    """The cameras that are placed on this machine; edits change what the cluster wants.

    Settings of cameras that a browser or encoder sends stay in the file, as everywhere.

    Attributes:
        address: of the database.
        node: this machine.
        site: of this machine, for cameras that are added here; None if it has none.
    """

    address: str = ""
    node: str = ""
    site: str | None = None

    @classmethod
    def of_node(cls, directory: Path, *, address: str, node: str, site: str | None) -> Self:
        """Return the store of a machine, without a camera; see `CameraStore.open` for errors."""
        store = cls.open(directory, ())
        store.address, store.node, store.site = address, node, site
        return store

    def reconfigure(self, configured: Sequence[CameraConfig]) -> None:
        """Take the cameras that are placed on this machine now."""
        super().reconfigure(())
        self.configured = {camera.name: camera for camera in configured}

    def cameras(self) -> list[CameraConfig]:
        """Return the placed cameras."""
        return list(self.configured.values())

    def put(self, camera: CameraConfig) -> None:
        """Store a camera that was changed here, or added, which is placed here at once.

        Raises:
            CameraExistsError: if another machine has one of that name.
            CameraStoreError: if the database cannot be reached.
        """
        if camera.url.startswith(PUSHED):
            super().put(camera)
            return
        with self._database() as database:
            if camera.name in self.configured:
                is_stored = database.change(camera.name, camera)
            else:
                is_stored = database.want(camera, self.site, node=self.node)
        if not is_stored:
            raise CameraExistsError(camera.name)
        self.configured[camera.name] = camera

    def remove(self, name: str) -> None:
        """Store that no machine is to run a camera; see `put` for errors."""
        if name not in self.configured:
            super().remove(name)
            return
        with self._database() as database:
            database.unwant(name)
        self.configured.pop(name, None)

    def rename(self, name: str, camera: CameraConfig) -> None:
        """Store a camera that was named `name`; see `put` for errors."""
        if name not in self.configured:
            super().rename(name, camera)
            return
        with self._database() as database:
            try:
                database.change(name, camera)
            except GalleryError as error:
                if is_about_values(error):  # another machine has a camera of that name
                    raise CameraExistsError(camera.name) from error
                raise
        self.configured = {
            each.name: each
            for each in (camera if old == name else kept for old, kept in self.configured.items())
        }

    @contextmanager
    def _database(self) -> Iterator[ClusterDatabase]:
        database = ClusterDatabase(self.address)
        try:
            yield database
        except GalleryError as error:
            raise CameraStoreError(f"cannot save the cameras: {error}") from error
        finally:
            database.close()
