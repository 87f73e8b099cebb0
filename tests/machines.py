"""Several machines on one database: services with a configuration of their own each."""

from contextlib import AbstractContextManager
from pathlib import Path

from tests.e2e.harness import RunningService, service
from tests.ports import HeldPort


class Machines:
    """Starts machines on one database, each on a port of its own."""

    def __init__(self, directory: Path, address: str) -> None:
        self._directory = directory
        self._address = address
        self._ports: dict[str, HeldPort] = {}

    def port(self, name: str) -> int:
        if name not in self._ports:
            self._ports[name] = HeldPort()
        return self._ports[name].port

    def start(
        self, name: str, *arguments: str, token: str = "", viewer_token: str = ""
    ) -> AbstractContextManager[RunningService]:
        """Return a running service; a second one of the same name continues the first."""
        port = self.port(name)
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        file = directory / "facewire.toml"
        file.write_text(
            f'[gallery]\ndatabase = "{self._address}"\n'
            f'[cluster]\nurl = "http://127.0.0.1:{port}"\nname = "{name}"\n'
        )
        return service(
            f"front-{name}",
            directory,
            f"--config={file}",
            *arguments,
            port=port,
            token=token,
            viewer_token=viewer_token,
        )

    def close(self) -> None:
        for port in self._ports.values():
            port.close()
