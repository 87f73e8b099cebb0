"""The commands of a cluster on PostgreSQL; Ray is in tests/integration/test_cluster.py."""

import json
import sys
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from stream.cli.main import app
from stream.cluster.database import ClusterDatabase
from stream.cluster.placing import Machine
from stream.errors import CameraExistsError, ClusterError, ConfigError, UnknownCameraError
from stream.replication.database import SharedLog
from tests.postgres_server import ENCODED, PASSWORD, Server

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, ["cluster", *words])


@pytest.fixture
def database(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterDatabase]:
    address = postgres.new_database()
    monkeypatch.setenv("FACEWIRE_DATABASE", address)
    database = ClusterDatabase(address)
    yield database
    database.close()
    postgres.drop(address)


def test_a_camera_is_added_placed_shown_and_removed(
    run: Run, database: ClusterDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # on a busy machine these commands take longer than a machine may be silent
    monkeypatch.setattr("stream.cluster.database.DEAD_S", 600.0)
    added = run("add", "door", "rtsp://user:secret@192.0.2.7/live")
    assert added.stdout.splitlines() == [
        "camera door is wanted; where it runs: facewire cluster status",
        "no machine runs now: facewire cluster start",
    ]
    assert run("add", "dock", "demo:", "--site", "warehouse").exit_code == 0
    assert isinstance(run("add", "door", "demo:").exception, CameraExistsError)
    shared = SharedLog(database._address)
    number = shared.enter(None, ["session"], "one").node
    shared.close()
    database.announce(number, Machine("one", None, 4.0, 0.25, 0.0))
    assert database.coordinate("me", "one")
    assert database.place("me", {"door": "one"}) == {"door": 1}
    status = run("status", "--json")
    assert status.exit_code == 1  # of one camera
    document = json.loads(status.stdout)
    assert document["problem"] == ""
    door, dock = document["cameras"]
    assert 0 <= door.pop("since_s") < 300
    assert door == {"camera": "door", "site": None, "node": "one", "generation": 1, "problem": ""}
    assert dock["problem"] == "no machine of site warehouse runs"
    assert "secret" not in status.stdout + run("status").stdout
    (node,) = json.loads(run("nodes", "--json").stdout)
    assert 0 <= node.pop("silent_s") < 300
    assert node == {
        "node": "one",
        "site": None,
        "cores": 4.0,
        "load": 0.25,
        "cameras": 1,
        "is_running": True,
    }
    assert "runs" in run("nodes").stdout
    assert isinstance(run("nodes", "--forget", "one").exception, ClusterError)
    database.gone("one")
    assert "has stopped" in run("nodes").stdout
    assert "has stopped" not in run("nodes", "--forget", "one").stdout
    assert run("remove", "dock").stdout == "camera dock is removed\n"
    assert isinstance(run("remove", "dock").exception, UnknownCameraError)


def test_a_cluster_without_a_coordinator_says_so(run: Run, database: ClusterDatabase) -> None:
    status = run("status")
    assert status.exit_code == 1
    assert "no coordinator has run yet: facewire cluster start" in status.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "a b", "demo:"), "a camera must be NAME=URL"),
        (("add", "door", "gopher://192.0.2.7"), "gopher"),
        (("add", "door", "demo:", "--site", "a b"), "site 'a b' must be"),
        (("start", "--join", "nowhere"), "--join 'nowhere' must be HOST:PORT"),
        (
            ("start", "--join", "192.0.2.1:6379", "--host", "0.0.0.0", "--cpus", "2"),
            "--host, --cpus with --join would do nothing: what is given",
        ),
    ],
)
def test_wrong_values_are_refused_in_one_line(
    run: Run, database: ClusterDatabase, words: tuple[str, ...], message: str
) -> None:
    error = run(*words).exception
    assert isinstance(error, ClusterError | ConfigError)
    assert message in str(error)
    assert "\n" not in str(error)


def test_it_needs_a_database_that_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEWIRE_DATABASE", raising=False)
    assert "set FACEWIRE_DATABASE" in str(run("status").exception)
    monkeypatch.setenv("FACEWIRE_DATABASE", f"postgresql://us:{ENCODED}@127.0.0.1:9/none")
    error = str(run("add", "door", "demo:").exception)
    assert error.startswith("cannot reach the database postgresql://us@127.0.0.1:9/none: ")
    assert PASSWORD not in error
    assert ENCODED not in error


def test_only_options_that_are_given_and_differ_are_refused_by_a_cluster_that_runs() -> None:
    pytest.importorskip("ray")
    from stream.cluster.actors import Options
    from stream.cluster.running import different

    kept = Options(("--port=8080", "--host=127.0.0.1"), 1.0, 0.0)
    assert different(kept, {}) == []
    assert different(kept, {"--port": 8080, "--host": "127.0.0.1", "--cpus": 1.0}) == []
    given = {"--port": 80, "--host": "0.0.0.0", "--cpus": 2.0, "--gpus": 1.0}
    assert different(kept, given) == ["--port", "--host", "--cpus", "--gpus"]
    assert different(Options((), 1.0, 0.0), {"--host": "0.0.0.0"}) == ["--host"]


@pytest.mark.parametrize(("package", "words"), [("ray", ("start",)), ("psycopg", ("status",))])
def test_without_the_extra_the_next_step_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, package: str, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FACEWIRE_DATABASE", "postgresql://us@127.0.0.1:9/none")
    # what is imported in this test replaces them, and later tests need the present ones
    for name in {"stream.cluster", "gallery.postgresql"} & sys.modules.keys():
        monkeypatch.setattr(name, sys.modules[name])
    for name in [
        each for each in sys.modules if each.startswith(("stream.cluster", "gallery.post"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install '.[cluster]'" in str(run(*words).exception)
