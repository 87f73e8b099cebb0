"""`facewire check`: checks that this installation and machine can run the service."""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import ifaddr

from gallery import Access, GalleryError, GalleryFormatError, Place
from gallery.address import is_address, shown
from gallery.opening import open_store
from recognizer import (
    RecognizerError,
    cgroup_cpus,
    default_cache,
    open_recognizer,
    usable_cpus,
)
from stream.config import MqttConfig, data_dir
from stream.integrations.mqtt.connection import try_connection

OUR_PACKAGES = ("stream", "recognizer", "gallery", "trainer")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        what: what was checked.
        is_fine: whether the check passed.
        detail: what was found, and what to do if the check failed.
    """

    what: str
    is_fine: bool
    detail: str


def run_checks(*, model: str, device: str, place: Place, mqtt: MqttConfig) -> list[Finding]:
    """Check what the service needs and connects to; missing models are fetched."""
    return [
        *check_database(place),
        *check_broker(mqtt),
        check_owners(packages_distributions()),
        *check_directories({"cache": default_cache(), "data": data_dir()}),
        check_processors(),
        check_addresses(ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips),
        _check_recognizer(model, device),
    ]


def check_owners(owners: Mapping[str, Sequence[str]]) -> Finding:
    """Check that no other distribution has put files into facewire's packages.

    Their four names are also names of packages on PyPI: if both are installed, one overwrites
    the files of the other without a warning.

    Args:
        owners: distributions by top-level package.
    """
    foreign = {
        package: sorted(set(owners.get(package, ())) - {"facewire"}) for package in OUR_PACKAGES
    }
    for package, others in foreign.items():
        if others:
            return Finding(
                "packages",
                False,
                f"{package} is also a package of {', '.join(others)}: "
                "install facewire in an environment of its own",
            )
    return Finding("packages", True, "nobody else owns " + ", ".join(OUR_PACKAGES))


def check_directories(directories: Mapping[str, Path]) -> Iterator[Finding]:
    """Check that directories, or their nearest existing parents, are writable."""
    for what, directory in directories.items():
        nearest = next(place for place in (directory, *directory.parents) if place.exists())
        is_writable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
        detail = str(directory) if is_writable else f"cannot write to {nearest}"
        yield Finding(what, is_writable, detail)


def check_database(place: Place) -> Iterator[Finding]:
    """Check that the database with the people, if there is one, can be reached.

    Args:
        place: of the gallery; nothing is yielded for a directory.
    """
    if not is_address(place):
        return
    try:
        with closing(open_store(place, access=Access.READ)) as store:
            yield Finding("people", True, store.place)
    except GalleryFormatError as error:
        is_empty = "there is no gallery" in str(error)
        yield Finding("people", is_empty, f"{shown(place)}, empty" if is_empty else str(error))
    except GalleryError as error:
        yield Finding("people", False, str(error))


def check_broker(config: MqttConfig) -> Iterator[Finding]:
    """Check that the MQTT broker, if one is configured, accepts this service."""
    if config.is_on:
        trouble = asyncio.run(try_connection(config))
        detail = f"the broker {config.broker} {trouble or 'is connected'}"
        yield Finding("mqtt", not trouble, detail)


def check_processors() -> Finding:
    """Say how many processors the service uses, and of how many."""
    n, there = usable_cpus(), os.cpu_count() or 1
    limit = cgroup_cpus()
    of = f" of {there}" if n < there else ""
    why = ", the limit of its container or control group" if limit == n < there else ""
    return Finding("processors", True, f"{n}{of} may be used{why}")


def check_addresses(addresses: Iterable[str | tuple[str, int, int]]) -> Finding:
    """Check that there is an address for WebRTC, which never offers loopback addresses."""
    usable = [
        address
        for address in addresses
        if isinstance(address, str) and not address.startswith("127.")
    ]
    if usable:
        return Finding("network", True, "video travels from " + ", ".join(usable))
    return Finding(
        "network", False, "there is no address but loopback: browsers would get no video"
    )


def _check_recognizer(model: str, device: str) -> Finding:
    try:
        recognizer = open_recognizer(model=model, device=device)
    except RecognizerError as error:
        return Finding("models", False, str(error))
    return Finding(
        "models", True, f"{recognizer.model_id} on {recognizer.device}, {recognizer.engine}"
    )
