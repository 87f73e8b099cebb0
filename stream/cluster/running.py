"""`facewire cluster start` and `stop`: Ray on this machine, and what runs on it."""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from stream.cluster import actors
from stream.errors import ClusterError

NICENESS = {"RAY_worker_niceness": "0"}
"""Ray runs its actors, and so the services, behind all other programs (15) without it."""

CONNECT_S = 3.0
START_S = 120.0
"""How long Ray's answers are waited for, seconds."""


def start_ray(*, join: str, port: int, site: str) -> None:
    """Start Ray on this machine, without its dashboard and without reports to its makers.

    Args:
        join: address of the first machine, HOST:PORT; empty if this is it.
        port: of the first machine.
        site: where this machine is; empty for nowhere in particular.

    Raises:
        ClusterError: if it does not start.
    """
    where = [f"--address={join}"] if join else ["--head", f"--port={port}"]
    where += ["--include-dashboard=false"] if not join else []
    if site:
        where.append(f'--resources={{"{actors.SITE}{site}": 1}}')
    done = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *where],
        env={**NICENESS, **os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [each for each in (done.stdout + done.stderr).splitlines() if each.strip()]
        raise ClusterError(f"Ray does not start: {lines[-1] if lines else done.returncode}")


def ray_address() -> str:
    """Return the address of Ray on this machine, or of RAY_ADDRESS; empty if it does not answer.

    Ray itself tries for minutes where its first machine is lost.
    """
    folder = os.environ.get("RAY_TMPDIR", "/tmp")  # as Ray's own
    address = os.environ.get("RAY_ADDRESS", "")
    if address in ("", "auto"):
        try:
            address = Path(folder, "ray", "ray_current_cluster").read_text("utf-8").strip()
        except OSError:
            return ""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, ValueError):
        return ""
    return address


@contextmanager
def connected() -> Iterator[None]:
    """Connect to Ray.

    Raises:
        ClusterError: if it does not run here.
    """
    address = ray_address()
    if not address:
        raise ClusterError(
            "Ray does not run on this machine, or its first machine does not answer: start it by "
            "facewire cluster start"
        )
    try:
        ray.init(
            address=address,
            namespace=actors.NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except ConnectionError as error:
        raise ClusterError(
            f"Ray on {address} cannot be used: give this machine the RAY_AUTH_TOKEN of the others, "
            "or see its log"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def start(options: "actors.Options", given: Mapping[str, object] | None = None) -> list[str]:
    """Start the coordinator if there is none, and wait for the keepers of all machines.

    Args:
        options: of all services.
        given: those that a user named, by option.

    Returns:
        What is wrong, one line each.

    Raises:
        ClusterError: if the coordinator does not answer, or runs with other values of these.
    """
    with connected():
        there = actors.find_coordinator()
        if there is not None and (others := different(_answer(there.options), given or {})):
            raise ClusterError(
                f"the cluster runs with other values of {', '.join(others)}: facewire cluster "
                "stop, then start it again"
            )
        handle = actors.start_coordinator(options)
        until = time.monotonic() + START_S
        while not _answer(handle.keeps_all) and time.monotonic() < until:
            time.sleep(0.2)
        return troubles()


def different(kept: "actors.Options", given: Mapping[str, object]) -> list[str]:
    """Return which given options have another value in a cluster that runs."""
    there = {"--cpus": kept.cpus, "--gpus": kept.gpus}
    return [
        option
        for option, value in given.items()
        if (
            there[option] != value if option in there else f"{option}={value}" not in kept.arguments
        )
    ]


def troubles() -> list[str]:
    """Return what is wrong with a running cluster, one line each; Ray must be connected."""
    handle = actors.find_coordinator()
    return [] if handle is None else list(_answer(handle.troubles))


def _answer(method: Any) -> Any:
    try:
        return ray.get(method.remote(), timeout=START_S)
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"the coordinator does not answer ({type(error).__name__}): see Ray's log"
        ) from error


def stop() -> bool:
    """Stop the services of all machines and the coordinator; return False if there is none."""
    with connected():
        handle = actors.find_coordinator()
        if handle is None:
            return False
        _answer(handle.stop)
        ray.kill(handle, no_restart=True)
    return True
