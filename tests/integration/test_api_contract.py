"""schemathesis against the real service: answers conform to its OpenAPI document."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import service

pytestmark = pytest.mark.integration

TESTS = Path(__file__).parents[1]
TOKEN = "correct horse battery"


# Minutes on a busy machine.
@pytest.mark.timeout(1600)
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    config = tmp_path / "facewire.toml"
    config.write_text(
        "[compreface]\nenabled = true\n[deepstack]\nenabled = true\n"
        '[[cameras]]\nname = "demo"\nurl = "demo:"\ntarget_fps = 2\n'
    )
    arguments = [f"--config={config}", f"--gallery={tmp_path / 'people'}"]
    with service("contract", tmp_path / "data", *arguments, token=TOKEN) as running:
        result = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                f"--config-file={TESTS / 'schemathesis.toml'}",
                "run",
                f"{running.url}openapi.json",
                f"--header=Authorization: Bearer {TOKEN}",
                f"--header=x-api-key: {TOKEN}",
                "--phases=coverage,fuzzing",
                "--max-examples=1",
                "--workers=2",
                "--request-timeout=300",
                "--seed=1",
                "--generation-deterministic",
                "--no-color",
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks",
                "PYTHONPATH": str(TESTS.parent),
            },
            capture_output=True,
            text=True,
            timeout=1500,
        )
        assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
