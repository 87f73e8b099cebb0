"""Two networks connected only to this machine, as behind two NATs (Linux, as root)."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

MIDDLE = "10.77.0.1"
"""This machine's address that both networks reach."""

HOSTS = {"viewer": "10.77.1.2", "service": "10.77.2.2"}
"""The address of the one host of each network."""


def why_unavailable() -> str:
    """Return why such networks cannot be created here; empty if they can."""
    if not shutil.which("ip"):
        return "no network namespaces: apt-get install iproute2"
    name = f"facewire-{os.getpid()}-probe"
    made = _ip("netns", "add", name, check=False)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.strip()}"
    link = f"fwp{os.getpid()}"
    linked = _ip(
        "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name, check=False
    )
    if not linked.returncode:
        _ip("link", "del", link)
    _ip("netns", "del", name)
    return f"no links between namespaces here: {linked.stderr.strip()}" * bool(linked.returncode)


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=check)


def inside(place: str) -> list[str]:
    """Return the command prefix for running a command in a network."""
    return ["ip", "netns", "exec", _namespace(place)]


def _namespace(place: str) -> str:
    return f"facewire-{os.getpid()}-{place}"


@contextmanager
def networks() -> Iterator[None]:
    """Create both networks; nothing is forwarded between them."""
    with ExitStack() as stack:
        _ip("address", "replace", f"{MIDDLE}/32", "dev", "lo")
        stack.callback(_ip, "address", "del", f"{MIDDLE}/32", "dev", "lo", check=False)
        for number, (place, host) in enumerate(HOSTS.items()):
            namespace, link = _namespace(place), f"fw{number}x{os.getpid()}"
            gateway = host.rpartition(".")[0] + ".1"
            _ip("netns", "add", namespace)
            stack.callback(_ip, "netns", "del", namespace, check=False)
            _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            stack.callback(_ip, "link", "del", link, check=False)
            _ip("address", "add", f"{gateway}/24", "dev", link)
            _ip("link", "set", link, "up")
            for arguments in (
                ("address", "add", f"{host}/24", "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
                ("route", "add", f"{MIDDLE}/32", "via", gateway),
            ):
                _ip("-n", namespace, *arguments)
        yield


@contextmanager
def relayed(host: str, port: int) -> Iterator[int]:
    """Forward TCP connections to a host of a network; yields the port of `MIDDLE`."""
    opened: list[socket.socket] = []

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                opened.append(near)
                with suppress(OSError):  # the service may not listen yet
                    far = socket.create_connection((host, port), timeout=60)
                    far.settimeout(None)
                    opened.append(far)
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=copy, args=pair, daemon=True).start()
                    continue
                near.close()

    with socket.create_server((MIDDLE, 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for each in opened:
                each.close()


def script(path: Path, place: str, program: Path) -> Path:
    """Write a script that runs a program in a network, for callers that need a single path."""
    path.write_text(f'#!/bin/sh\nexec {" ".join(inside(place))} "{program}" "$@"\n')
    path.chmod(0o755)
    return path
