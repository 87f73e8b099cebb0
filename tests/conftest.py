"""What holds for all tests.

A skipped test fails if skipping is forbidden: FACEWIRE_NO_SKIP=1, as set by .ci/run. A process that
a test starts writes a traceback when it ends by a fault. The longest files come first, so that
none is left over where several processes share them.
"""

import os
from collections.abc import Iterator

import pytest

from tests.postgres_server import Server, postgres_server

os.environ.setdefault("PYTHONFAULTHANDLER", "1")

LONGEST = (
    "test_cluster.py",
    "test_written_commands.py",
    "test_trainer_processes.py",
    "test_trainer.py",
    "test_trainer_adapt.py",
    "test_trainer_commands.py",
    "test_converted_backbones.py",
    "test_recognizer.py",
    "test_trainer_onnx_models.py",
    "test_which_gallery.py",
    "test_enrolment.py",
    "test_people.py",
    "test_http_edge.py",
    "test_cli.py",
    "test_many_people.py",
    "test_scripts.py",
)
"""Files of tests that take half a minute of a processor and more, the longest first."""

NO_SKIP = os.environ.get("FACEWIRE_NO_SKIP") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where skipping is forbidden: {reason}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Return a running PostgreSQL server, one for all tests."""
    with postgres_server() as server:
        yield server
