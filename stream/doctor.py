"""`facewire check`: checks that this installation and machine can run the service."""

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
    """The result of one check.

    Attributes:
        what: what was checked.
        is_fine: whether the check passed.
        detail: what was found, and what to do if the check failed.
    """

    what: str
    is_fine: bool
    detail: str


def run_checks(*, model: str, device: str) -> list[Finding]:
    """Check packages, directories, network and models; missing models are fetched."""
    return [
        check_owners(packages_distributions()),
        *check_directories({"cache": default_cache(), "data": data_dir()}),
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
