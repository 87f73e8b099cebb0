"""A machine's service is found again by whoever comes next to the process that started it."""

import threading
from pathlib import Path

import pytest

from stream.cluster.service_process import ServiceProcess
from stream.service_lock import running_services
from tests.e2e.harness import PATIENCE_S

pytestmark = pytest.mark.integration


def test_a_service_is_found_before_and_after_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path))

    def process() -> ServiceProcess:
        return ServiceProcess(tmp_path, tmp_path / "gallery", ["--port=0"], {})

    first, second, third = process(), process(), process()
    assert not first.find()
    first.start()
    try:
        assert second.find()
        assert second.pid == first.pid
        with pytest.raises(OSError, match="another one starts"):
            second.start()
        pause = threading.Event()
        for _ in range(round(PATIENCE_S / 0.1)):
            if second.url() and second.answers():
                break
            pause.wait(0.1)
        assert second.answers()
        (announced,) = running_services(tmp_path)
        assert third.find()
        assert third.pid == announced.process == first.pid
    finally:
        first.kill()
    assert not third.is_running
    assert not process().find()
    third.start()
    assert third.pid != first.pid
    third.kill()
    for each in (first, second, third):
        each.close()
