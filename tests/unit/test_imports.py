"""What each package may import of others' libraries; pyproject.toml holds the order of our own."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gallery
import recognizer
import stream
import trainer

PACKAGES = {
    package.__name__: Path(package.__path__[0])
    for package in (recognizer, gallery, trainer, stream)
}

# What each may import beside itself and the standard library.
ALLOWED = {
    "recognizer": {
        *("numpy", "cv2", "openvino", "onnxruntime", "onnx", "platformdirs"),
        *("joblib", "lz4"),  # MTCNN's published weights
        *("PIL", "pi_heif"),  # photo files
        "google",  # protobuf, whose errors onnx raises
    },
    "gallery": {
        *("numpy", "faiss", "cv2"),  # cv2 packs the stored crops
        "psycopg",  # PostgreSQL, where the extra `cluster` is installed
    },
    "trainer": {
        *("recognizer", "torch", "numpy", "cv2", "onnx", "pydantic", "typer", "rich"),
        *("matplotlib", "tensorboardX"),  # charts, TensorBoard's files
    },
    "stream": {
        *("recognizer", "gallery", "numpy", "cv2", "scipy"),
        *(
            "av",
            "aiomqtt",
            "aiortc",
            "aioice",
            "cryptography",
            "ifaddr",
            "fastapi",
            "starlette",
            "uvicorn",
            "websockets",
        ),
        "pylibsrtp",  # aiortc's SRTP, for streams to Janus
        "h11",  # what uvicorn reads HTTP with
        "python_multipart",  # what Starlette reads forms with
        "httpx2",  # cameras over HTTP, and the addresses of webhooks
        *("prometheus_client", "pydantic", "platformdirs", "typer", "rich"),
        "matplotlib",  # the chart of bench quality, where it is installed
        "ray",  # machines of a cluster, where the extra `cluster` is installed
        "apprise",  # notifications, where the extra `notify` is installed
        "typing_extensions",  # pydantic wants its TypedDict before Python 3.12
    },
}
CONCURRENCY = {"asyncio", "threading", "concurrent", "multiprocessing"}
# A lock is what a synchronous library needs to be called from any thread; it starts none.
# The trainer's jobs spread over processes: nothing live runs beside them.
MAY = {"gallery": {"threading"}, "trainer": {"concurrent", "multiprocessing"}}


def imports_of(source: str) -> Iterator[str]:
    """Yield the top-level name of every import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield (node.module or "").partition(".")[0]


FILES = [
    pytest.param(name, path, id=str(path.relative_to(directory.parent)))
    for name, directory in PACKAGES.items()
    for path in sorted(directory.rglob("*.py"))
]


def test_finds_imports_anywhere():
    source = "import a.b\nfrom c.d import e\ndef f():\n    import g\n"
    assert list(imports_of(source)) == ["a", "c", "g"]


def test_walks_every_package():
    assert {param.values[0] for param in FILES} == set(PACKAGES)


@pytest.mark.parametrize(("package", "path"), FILES)
def test_imports_only_what_its_wall_lets_in(package: str, path: Path):
    imported = set(imports_of(path.read_text("utf-8")))
    foreign = imported - ALLOWED[package] - sys.stdlib_module_names - {package}
    assert not foreign, f"{package} may not import {sorted(foreign)}"


@pytest.mark.parametrize(("package", "path"), FILES)
def test_concurrency_stays_in_stream(package: str, path: Path):
    if package == "stream":
        return
    imported = set(imports_of(path.read_text("utf-8")))
    assert imported & CONCURRENCY <= MAY.get(package, set())


def test_serving_loads_nothing_of_an_extra():
    """Importing the command and the service must not drag torch in through anything else."""
    import subprocess

    code = (
        "import stream.cli.main, stream.server, sys; "
        "sys.exit(not {'torch', 'ray', 'psycopg'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
