"""facewire import: people of other programs, over HTTP and from folders."""

import functools
import json
import pickle
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import recognizer
from gallery import Gallery
from stream.cli.importing import KEY_VARIABLE
from stream.cli.main import app
from stream.errors import StreamError
from tests.e2e.harness import await_address
from tests.fake_programs import (
    COMPREFACE_KEY,
    Answers,
    FakeCompreFace,
    FakeFrigate,
    Reply,
    Request,
    served,
)
from tests.shared_data import photos

pytestmark = pytest.mark.integration

OBAMA = ("obama.jpg", "obama2.jpg", "obama3.jpg")


@pytest.fixture(scope="module")
def opened() -> recognizer.Recognizer:
    return recognizer.open_recognizer()


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened) -> None:
    monkeypatch.setenv("FACEWIRE_DATA", str(tmp_path / "data"))
    for variable in (KEY_VARIABLE, "FACEWIRE_FRIGATE_USER", "FACEWIRE_FRIGATE_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(recognizer, "open_recognizer", lambda **settings: opened)


def photo(name: str) -> bytes:
    return (photos() / name).read_bytes()


@functools.cache
def as_webp(name: str) -> bytes:
    file = BytesIO()
    image = Image.open(photos() / name).convert("RGB")
    image.thumbnail((500, 500))
    image.save(file, "WEBP", quality=90, method=0)
    return file.getvalue()


def run(*arguments: str, status: int = 0) -> tuple[str, str]:
    """Run a command; returns stdout and stderr."""
    result = CliRunner().invoke(app, ["import", *arguments])
    if isinstance(result.exception, StreamError):  # main prints it
        assert status == 1, result.exception
        assert "\n" not in str(result.exception)
        return result.stdout, f"{result.stderr}{result.exception}\n"
    assert result.exit_code == status, (result.stdout, result.stderr, result.exception)
    return result.stdout, result.stderr


def report_of(*arguments: str, status: int = 0) -> dict:
    return json.loads(run(*arguments, "--json", status=status)[0])


def people(tmp_path: Path) -> dict[str, int]:
    with Gallery.open_any(tmp_path / "data" / "gallery") as gallery:
        return {each.identity.name: each.n_photos for each in gallery.people.summaries()}


def subjects() -> dict[str, list[bytes]]:
    return {
        "Barack Obama": [photo(name) for name in OBAMA],
        "Grace Hopper": [photo("grace_hopper.jpg"), b"", b"no photo"],
        "Joe/../Biden": [photo("biden.jpg")],
        "a\x01b": [photo("biden.jpg")],
        "Nobody": [],
    }


def test_people_of_compreface_are_added_once(tmp_path: Path, monkeypatch) -> None:
    program = FakeCompreFace(subjects(), largest_page=3)
    with served(program) as url:
        monkeypatch.setenv(KEY_VARIABLE, COMPREFACE_KEY)
        first = report_of("compreface", url, status=1)
        again = report_of("compreface", f"{url}/api/v1/", status=1)
    assert people(tmp_path) == {"Barack Obama": 3, "Grace Hopper": 1, "Joe/../Biden": 1}
    assert (first["taken"], first["already_there"]) == (5, 0)
    assert first["people"][0] == {
        "name": "Barack Obama",
        "taken": 3,
        "already_there": 0,
        "refused": 0,
    }
    reasons = [each["detail"] for each in first["rejected"]]
    assert "control character" in reasons[0]
    assert any("keeps no image" in reason for reason in reasons)
    assert any("not a JPEG" in reason for reason in reasons)
    assert first["without_photo"] == ["Nobody"]
    assert (again["taken"], again["already_there"]) == (0, 5)
    pages = [each.query["page"] for each in program.asked if each.path.endswith("/faces")]
    assert pages == ["0", "1", "2"] * 2


def test_a_dry_run_reports_the_same_and_adds_nobody(tmp_path: Path) -> None:
    known = tmp_path / "people"
    (known / "Barack Obama").mkdir(parents=True)
    (known / "Barack Obama" / "1.jpg").write_bytes(photo("obama.jpg"))
    run("deepface", str(known))
    with served(FakeCompreFace(subjects())) as url:
        report = report_of("compreface", url, COMPREFACE_KEY, "--dry-run", status=1)
        text, _ = run("compreface", url, COMPREFACE_KEY, "--dry-run", status=1)
    assert (report["taken"], report["already_there"], report["dry_run"]) == (4, 1, True)
    assert "a dry run: the gallery has not changed" in text
    assert people(tmp_path) == {"Barack Obama": 1}


@pytest.mark.parametrize("key", ["0" * 36, "not-a-uuid", COMPREFACE_KEY[:-1] + "0"])
def test_a_wrong_key_is_one_line_without_it(key: str) -> None:
    with served(FakeCompreFace(subjects())) as url:
        _, said = run("compreface", url, key, status=1)
    assert "refuses the key" in said
    assert key not in said


def test_a_missing_key_and_a_wrong_address_are_one_line() -> None:
    assert KEY_VARIABLE in run("compreface", "http://127.0.0.1:9", status=1)[1]
    for url in ("ftp://host", "host:8000", "http://", "x" * 5000, "http://a b"):
        said = run("compreface", url, COMPREFACE_KEY, status=1)[1]
        assert "the address of CompreFace must" in said
    assert "cannot be reached" in run("compreface", "http://127.0.0.1:9", "k", status=1)[1]
    assert "that is no key" in run("compreface", "http://127.0.0.1:9", "k\n", status=1)[1]


def page(**changed: object) -> Answers:
    """Answer as CompreFace does, with one subject and odd lists of examples."""

    def answers(request: Request) -> Reply:
        if request.path.endswith("/subjects"):
            return Reply(200, {"subjects": ["Ada"]})
        return Reply(200, {"faces": [], "total_pages": 1, "total_elements": 0, **changed})

    return answers


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        (lambda request: Reply(200, b"<html>hello</html>"), "no CompreFace API there"),
        (lambda request: Reply(200, []), "no CompreFace API there"),
        (lambda request: Reply(200, b"[" * 100_000), "no CompreFace API there"),
        (lambda request: Reply(200, {"subjects": [1]}), "no CompreFace API there"),
        (lambda request: Reply(302, b"", {"location": "http://elsewhere"}), "another address"),
        (lambda request: Reply(503, b""), "answers 503"),
        (lambda request: Reply(200, b" " * (33 * 2**20)), "an answer of more than"),
        (lambda request: Reply(200, b"x", {"content-encoding": "gzip"}), "compressed"),
        (page(faces={}), "no CompreFace API there"),
        (page(faces=[{"subject": "Ada"}]), "no CompreFace API there"),
        (page(total_elements=7), "lists 0 of 7 examples"),
    ],
)
def test_odd_answers_are_one_line(answers: Answers, line: str) -> None:
    with served(answers) as url:
        assert line in run("compreface", url, COMPREFACE_KEY, status=1)[1]


def test_an_endless_list_of_pages_ends() -> None:
    same = [{"subject": "Ada", "image_id": "1"}]
    with served(page(faces=same, total_pages=10**9, total_elements=1)) as url:
        report = report_of("compreface", url, COMPREFACE_KEY, status=1)
    assert len(report["rejected"]) == 1


def test_ids_that_lead_elsewhere_are_not_asked_for() -> None:
    asked = []
    odd = ["../../subjects", "", "a/b", "%2e%2e", "x" * 65, "a?b"]
    faces = [{"subject": "Ada", "image_id": each} for each in odd]
    answers = page(faces=faces, total_elements=len(odd))

    def noting(request: Request) -> Reply:
        asked.append(request.path)
        return answers(request)

    with served(noting) as url:
        report = report_of("compreface", url, COMPREFACE_KEY, status=1)
    assert [each["detail"] for each in report["rejected"]] == ["not an id of an image"] * len(odd)
    assert len(asked) == 2


def test_what_was_added_stays_when_the_program_goes_away(tmp_path: Path) -> None:
    many = {"Barack Obama": [as_webp(name) for name in OBAMA]}
    many |= {f"Person {number:02}": [as_webp("biden.jpg")] for number in range(25)}
    program = FakeCompreFace(many, largest_page=100)
    n_images = 0

    def dying(request: Request) -> Reply:
        nonlocal n_images
        if request.path.endswith("/img"):
            n_images += 1
            if n_images > 20:
                raise ConnectionError("the process has ended")
        return program(request)

    with served(dying) as url:
        report = report_of("compreface", url, COMPREFACE_KEY, status=1)
        _, said = run("compreface", url, COMPREFACE_KEY, status=1)
    assert not report["is_complete"]
    assert people(tmp_path)["Barack Obama"] == 3
    last = said.splitlines()[-1]
    assert "when CompreFace runs again, repeat the command for the rest" in last
    assert n_images < 60, "it does not ask for the rest"


def library() -> dict[str, dict[str, bytes]]:
    return {
        "Barack Obama": {f"a-{number}.webp": as_webp(name) for number, name in enumerate(OBAMA)},
        "Grace Hopper": {"größe #1?.webp": as_webp("grace_hopper.jpg"), "../x": b"", "bad": b"no"},
        "..": {"a.webp": as_webp("biden.jpg")},
        "a/b": {"a.webp": as_webp("biden.jpg")},
        "train": {"1.webp": as_webp("biden.jpg")},
    }


@pytest.mark.parametrize("login", [None, ("admin", "correct-horse")])
def test_people_of_a_running_frigate_are_added_once(tmp_path: Path, login, monkeypatch) -> None:
    program = FakeFrigate(library(), login=login)
    if login:
        monkeypatch.setenv("FACEWIRE_FRIGATE_USER", login[0])
        monkeypatch.setenv("FACEWIRE_FRIGATE_PASSWORD", login[1])
    with served(program) as url:
        first = report_of("frigate", url, status=1)
        again = report_of("frigate", f"{url}/api/", status=1)
    assert people(tmp_path) == {"Barack Obama": 3, "Grace Hopper": 1}
    assert (first["taken"], again["taken"], again["already_there"]) == (4, 0, 4)
    assert [each["image"] for each in first["rejected"]] == [
        "Grace Hopper/../x",
        "..",
        "a/b",
        "Grace Hopper/bad",
    ]
    assert sum(each.path == "/api/login" for each in program.asked) == (2 if login else 0)


def test_a_login_that_is_missing_or_wrong_is_one_line(monkeypatch) -> None:
    program = FakeFrigate(library(), login=("admin", "correct-horse"))
    with served(program) as url:
        assert "asks for a login" in run("frigate", url, status=1)[1]
        with_password = url.replace("//", "//admin:wrong-horse@")
        said = run("frigate", with_password, status=1)[1]
    assert "refuses the login" in said
    assert "wrong-horse" not in said


def test_what_is_not_frigate_is_one_line() -> None:
    with served(lambda request: Reply(200, b"<html>")) as url:
        assert "no face library of Frigate there" in run("frigate", url, status=1)[1]
    with served(FakeFrigate({})) as url:
        assert "is empty" in run("frigate", url, status=1)[1]
    assert "address of Frigate must" in run("frigate", "http://a:b:c", status=1)[1]


def test_frigates_media_directory_is_read(tmp_path: Path) -> None:
    faces = tmp_path / "media" / "clips" / "faces"
    for name in ("Barack Obama", "train"):
        (faces / name).mkdir(parents=True)
        (faces / name / "a.webp").write_bytes(as_webp("obama.jpg"))
    for directory in (tmp_path / "media", faces.parent, faces):
        report = report_of("frigate", str(directory))
        assert report["taken"] + report["already_there"] == 1
        assert report["skipped"] == 1
    assert people(tmp_path) == {"Barack Obama": 1}


def test_double_takes_storage_is_read(tmp_path: Path) -> None:
    train = tmp_path / "double-take" / ".storage" / "train" / "obama"
    train.mkdir(parents=True)
    for name in OBAMA:
        (train / name).write_bytes(photo(name))
    (train / "cut.jpg").write_bytes(photo("obama.jpg")[:1000])
    for directory in (tmp_path / "double-take", train.parents[1], train.parent):
        report = report_of("double-take", str(directory), status=1)
        assert report["taken"] + report["already_there"] == 3
        assert [each["reason"] for each in report["rejected"]] == ["unreadable"]
    assert people(tmp_path) == {"obama": 3}


class Trap:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickles_of_deepface_are_not_read(tmp_path: Path) -> None:
    database, trap = tmp_path / "my_db", tmp_path / "unpickled"
    (database / "Barack Obama").mkdir(parents=True)
    (database / "Barack Obama" / "1.jpg").write_bytes(photo("obama.jpg"))
    for place in (database, database / "Barack Obama"):
        (place / "representations_vgg_face.pkl").write_bytes(pickle.dumps(Trap(trap)))
    report = report_of("deepface", str(database))
    assert (report["taken"], report["rejected"], report["skipped"]) == (1, [], 2)
    assert not trap.exists()


@pytest.mark.parametrize("program", ["frigate", "double-take", "deepface"])
@pytest.mark.parametrize("place", ["missing", "file", "empty", "/dev/zero", "\udce9", "x" * 300])
def test_what_is_no_such_folder_is_one_line(program: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    _, said = run(program, str(tmp_path / place), status=1)
    assert said.count("\n") == 1


def test_people_of_our_own_compreface_service_are_added_once(tmp_path: Path) -> None:
    token, theirs = "correct-horse-battery", tmp_path / "theirs"
    config = tmp_path / "theirs.toml"
    config.write_text(
        f'[gallery]\ndirectory = "{theirs}"\n[compreface]\nenabled = true\n[server]\nport = 0\n'
        f'token = "{token}"\n'
    )
    folder = tmp_path / "people" / "Barack Obama"
    folder.mkdir(parents=True)
    for name in OBAMA:
        (folder / name).write_bytes(photo(name))
    run("deepface", str(folder.parent), "--gallery", str(theirs))
    log = tmp_path / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "facewire", "serve", "--config", config],
            stdout=out,
            stderr=out,
        )
    try:
        url = await_address(process, log)
        first = report_of("compreface", url, token, "--gallery", str(tmp_path / "ours"))
        again = report_of("compreface", url, token, "--gallery", str(tmp_path / "ours"))
        _, said = run("compreface", url, f"{token}-x", status=1)
    finally:
        process.terminate()
        process.wait()
    assert (first["taken"], again["taken"], again["already_there"]) == (3, 0, 3)
    assert "refuses the key" in said
