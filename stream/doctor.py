"""`facewire check`: whether this installation and machine have what serving needs."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import ifaddr

from recognizer import RecognizerError, default_cache, open_recognizer
from stream.config import data_dir

OUR_PACKAGES = ("stream", "recognizer", "gallery", "trainer")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: what was looked at.
        is_fine: whether it is as it should be.
        detail: what was found, and what to do where it is not fine.
    """

    what: str
    is_fine: bool
    detail: str


def run_checks(*, model: str, device: str) -> list[Finding]:
    """Look at packages, directories, network and models; the latter are fetched if missing."""
    return [
        check_owners(packages_distributions()),
        *check_directories({"cache": default_cache(), "data": data_dir()}),
        check_addresses(ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips),
        _check_recognizer(model, device),
    ]


def check_owners(owners: Mapping[str, Sequence[str]]) -> Finding:
    """Look whether another distribution has put its files into one of our packages.

    The four are also names of packages on PyPI: installed beside facewire, one overwrites the
    other's files without a word.

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
    """Look whether directories, or the nearest ones above that exist, can be written to."""
    for what, directory in directories.items():
        nearest = next(place for place in (directory, *directory.parents) if place.exists())
        is_writable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
        detail = str(directory) if is_writable else f"cannot write to {nearest}"
        yield Finding(what, is_writable, detail)


def check_addresses(addresses: Iterable[str | tuple[str, int, int]]) -> Finding:
    """Look for an address that WebRTC can use: loopback ones are never offered."""
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
