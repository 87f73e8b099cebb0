"""Makes a skipped test fail if skipping is forbidden: FACEWIRE_NO_SKIP=1, as set by .ci/run."""

import os

import pytest

NO_SKIP = os.environ.get("FACEWIRE_NO_SKIP") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if NO_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped where skipping is forbidden: {reason}"
    return report
