"""The gallery and the settings that a command works with.

Order: the defaults < the configuration file < flags. The file is that of --config, else of
FACEWIRE_CONFIG. Without both, a running service's gallery and settings are used, so that a command
changes the gallery that the page shows.
"""

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gallery import Place
from gallery.address import SCHEMES, is_address, shown
from stream.cli.common import FetchBars, complain
from stream.config import (
    DATABASE_VARIABLE,
    Config,
    EventsConfig,
    configuration_file,
    data_dir,
    load_config,
)
from stream.config_file import describe
from stream.errors import ConfigError
from stream.service_lock import RunningService, running_services

if TYPE_CHECKING:
    from recognizer import Recognizer

SYSTEM_DATA = Path("/var/lib/facewire")
"""Data directory of scripts/facewire.service."""

DEFAULT = "the default"
CHOOSE = "choose a gallery by --gallery or --config"


@dataclass(frozen=True, slots=True)
class Settings:
    """The gallery and the settings of a command.

    Attributes:
        directory: of the gallery and its events.
        place: of its people: the directory, or the address of a database.
        origin: source of the directory, for messages.
        threshold: [gallery] threshold; None if not set.
        margin: [gallery] margin; None if not set.
        recognizer: arguments of `open_recognizer`.
        events: the table [events].
        service: the running service of that gallery; None for none.
        others: the running services on other galleries.
    """

    directory: Path
    place: Place
    origin: str
    threshold: float | None
    margin: float | None
    recognizer: dict[str, Any]
    events: EventsConfig
    service: RunningService | None
    others: tuple[RunningService, ...]

    def place_to_write(self) -> Place:
        """Return where people are changed, as `to_write`."""
        self.to_write()
        return self.place

    def to_write(self) -> Path:
        """Return the directory to change, and print on stderr where people are changed.

        Raises:
            ConfigError: if only its running service specifies it, and runs as another user: files
                of this user in it would stop the service.
        """
        if self.service is not None and self.origin == _of(self.service):
            _refuse_other_user(self.service)
        complain(f"gallery {self.shown_place}, {self.origin}")
        for other in self.others:
            complain(f"note: a service runs on {other.directory} (process {other.process})")
        return self.directory

    @property
    def shown_place(self) -> str:
        """The place for messages, without the password of a database."""
        return shown(self.place if is_address(self.place) else self.directory.absolute())

    def open_recognizer(self, *, attributes: bool = False) -> "Recognizer":
        """Open a recognizer, with progress bars for the models that are fetched."""
        from recognizer import open_recognizer

        with closing(FetchBars()) as progress:
            return open_recognizer(**self.recognizer, attributes=attributes, progress=progress)


def settings_for(
    *,
    config: Path | None,
    gallery: Path | None = None,
    needs_gallery: bool = True,
    **recognizer: str | int | None,
) -> Settings:
    """Return the gallery and the settings of a command.

    Args:
        config: the flag --config.
        gallery: the flag --gallery.
        needs_gallery: whether the command uses it; if not, any service's settings are used.
        recognizer: flags that are arguments of `open_recognizer`; None if not given.

    Raises:
        ConfigError: if the file is invalid, or the gallery is ambiguous.
    """
    file = configuration_file(config)
    services = _services()
    if not needs_gallery:
        services = services[:1]
    from_file = None if file is None else load_config(file, is_served=False)
    if gallery is not None:
        _refuse_address(gallery)
        directory, origin = gallery, "of --gallery"
    elif from_file is not None:
        directory, origin = from_file.gallery_directory, f"of {file}"
        if config is None and needs_gallery:
            _refuse_other(directory, services)
    elif services:
        _refuse_several(services)
        directory, origin = services[0].directory, _of(services[0])
    else:
        directory, origin = data_dir() / "gallery", DEFAULT
    service = next((each for each in services if _is_same(each.directory, directory)), None)
    tables = from_file or load_config(None, is_served=False)
    database = "" if gallery is not None else tables.gallery.database
    if service is not None and config is None:
        of_service = _config_of(service)
        if gallery is None and not _is_of(database, of_service.gallery.database):
            database = of_service.gallery.database
        tables = of_service
    if database and origin == DEFAULT:
        origin = f"of {DATABASE_VARIABLE}"
    flags = {key: value for key, value in recognizer.items() if value is not None}
    return Settings(
        directory=directory,
        place=database or directory,
        origin=origin,
        threshold=tables.gallery.threshold,
        margin=tables.gallery.margin,
        # One thread is for a service, which runs permanently beside other programs.
        recognizer={"threads": 0, **tables.recognizer.model_dump(exclude_unset=True), **flags},
        events=tables.events,
        service=service,
        others=tuple(each for each in services if not _is_same(each.directory, directory)),
    )


def _refuse_address(gallery: Path) -> None:
    """Refuse a database as --gallery: other users of the machine could read its password."""
    if str(gallery).startswith(tuple(f"{scheme}:/" for scheme in SCHEMES)):
        raise ConfigError(
            "--gallery takes a directory: name a database by [gallery] database, or by the "
            f"environment variable {DATABASE_VARIABLE}"
        )


def _is_of(database: str, shown_address: str) -> bool:
    """Return whether an address is the one that a service publishes without its password."""
    return shown(database) == shown_address


def settings_to_measure(config: Path | None, **recognizer: str | int | None) -> dict[str, Any]:
    """Return arguments of `open_recognizer` from flags and a file, ignoring running services.

    Raises:
        ConfigError: if the file is invalid.
    """
    tables = load_config(configuration_file(config), is_served=False)
    flags = {key: value for key, value in recognizer.items() if value is not None}
    return {"threads": 0, **tables.recognizer.model_dump(exclude_unset=True), **flags}


def _services() -> list[RunningService]:
    """Return the services of this data directory; if none is set, also the system's service."""
    found = running_services(data_dir())
    if not os.environ.get("FACEWIRE_DATA"):
        found += running_services(SYSTEM_DATA)
    return found


def _refuse_other(directory: Path, services: Sequence[RunningService]) -> None:
    """Refuse the gallery of FACEWIRE_CONFIG if services run, but only on others."""
    if services and not any(_is_same(each.directory, directory) for each in services):
        raise ConfigError(
            f"a service runs on {services[0].directory} (process {services[0].process}), "
            f"FACEWIRE_CONFIG names {directory}: {CHOOSE}"
        )


def _refuse_several(services: Sequence[RunningService]) -> None:
    if len(services) > 1:
        names = " and ".join(f"{each.directory} (process {each.process})" for each in services)
        raise ConfigError(f"several services run, on {names}: {CHOOSE}")


def _refuse_other_user(service: RunningService) -> None:
    if service.user != os.geteuid():
        raise ConfigError(
            f"the service on {service.directory} runs as another user (process "
            f"{service.process}): make the change on its page, or name a gallery by --gallery"
        )


def _config_of(service: RunningService) -> Config:
    try:
        return Config.model_validate(service.settings)
    except ValidationError as error:  # written by another version
        source = f"the running service (process {service.process})"
        raise ConfigError(f"{describe(error, source)}: restart it, or name its --config") from None


def _of(service: RunningService) -> str:
    what = "demo, whose people are kept apart" if service.directory.name == "demo" else "service"
    return f"of the running {what} (process {service.process})"


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
