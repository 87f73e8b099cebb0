"""Where a Ctrl-C comes that no handler of Python's could end without a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"
START = """
import os, signal, stream.cli.entry
signal.signal(signal.SIGINT, stream.cli.entry._exit)
"""


@pytest.mark.parametrize(
    "code",
    [
        f"try:\n    {INTERRUPT}\nfinally:\n    print('closed')",
        "try:\n    import interrupted\nexcept BaseException:\n    print('turned into another')",
        f"class Late:\n    def __del__(self):\n        {INTERRUPT}\nLate()\nprint('lost')",
    ],
    ids=["anywhere", "import", "callback"],
)
def test_ctrl_c_is_neither_lost_nor_a_traceback(code: str, tmp_path: Path, request) -> None:
    (tmp_path / "interrupted.py").write_text(f"import os, signal\n{INTERRUPT}\n")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(tmp_path)!r})\n{START}{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    is_caught = request.node.callspec.id == "anywhere"
    said = "closed\n" if is_caught else ""
    assert (done.returncode, done.stdout, done.stderr) == (130, said, "")
