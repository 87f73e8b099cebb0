"""What only a server can do: go away, freeze, serve several machines; and its address."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from gallery import (
    Access,
    Gallery,
    GalleryBusyError,
    GalleryError,
    GalleryFormatError,
    NewPhoto,
)
from gallery.address import shown
from gallery.errors import GalleryUnreachableError
from gallery.opening import open_store
from gallery.people_copy import PeopleCopy
from gallery.postgresql.schema import MIGRATIONS
from gallery.postgresql.versions import LOCK
from gallery.store import Connection
from tests.postgres_server import ENCODED, PASSWORD, Server, postgres_server
from tests.unit.gallery.conftest import MODEL, SIZE, people

ROW = np.eye(1, SIZE, dtype=np.float32)[0]


def opened(address: str, *, wait_s: float = 10.0, copy: PeopleCopy | None = None) -> Gallery:
    return Gallery.open(address, model_id=MODEL, embedding_size=SIZE, wait_s=wait_s, copy=copy)


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.01)


@pytest.fixture
def address(postgres: Server) -> str:
    return postgres.new_database()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Return a server that the test may stop."""
    with postgres_server() as server:
        yield server


def test_who_is_enrolled_in_one_process_is_named_in_another(address: str) -> None:
    """The other one polls nothing but its own connection, which the server notifies."""
    script = (
        "import sys, numpy as np; from gallery import Gallery, NewPhoto\n"
        f"g = Gallery.open(sys.argv[1], model_id={MODEL!r}, embedding_size={SIZE})\n"
        "print('open', flush=True)\n"
        "while g.search(np.eye(1, 128, dtype=np.float32), threshold=0.9) == [None]: g.refresh()\n"
        "print(g.search(np.eye(1, 128, dtype=np.float32), threshold=0.9)[0].identity.name)\n"
    )
    with (
        opened(address) as here,
        subprocess.Popen(
            [sys.executable, "-c", script, address], stdout=subprocess.PIPE, text=True
        ) as other,
    ):
        assert other.stdout.readline() == "open\n"
        here.photos.add("Ada", [NewPhoto(ROW, None, "0" * 64, 1.0)])
        assert other.stdout.read() == "Ada\n"


def test_a_wrong_password_is_refused_with_where_to_put_the_right_one(own_server: Server) -> None:
    address = own_server.new_database()
    wrong = address.replace(ENCODED, "wrong-one")
    with (
        pytest.raises(GalleryError, match=r"authentication failed.*check its user") as caught,
        opened(wrong),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert "wrong-one" not in str(caught.value)


def test_names_go_on_while_the_server_is_away_and_changes_arrive_later(own_server: Server) -> None:
    address = own_server.new_database()
    with people(address, 5, 2) as gallery, opened(address, wait_s=0.5) as elsewhere:
        probe = gallery.photos.embeddings("Pérson 1")[:1]
        own_server.stop()
        for _ in range(3):
            with pytest.raises(GalleryUnreachableError, match="cannot reach") as caught:
                gallery.photos.add("Late", [NewPhoto(ROW, None, "0" * 64, 1.0)])
            assert "\n" not in str(caught.value)
            assert ENCODED not in str(caught.value)
            assert PASSWORD not in str(caught.value)
            with pytest.raises(GalleryUnreachableError, match="once it is back"):
                gallery.refresh()
            assert gallery.search(probe, threshold=0.5)[0].identity.name == "Pérson 1"
        own_server.start()
        elsewhere.photos.add("Late", [NewPhoto(ROW, None, "0" * 64, 1.0)])
        elsewhere.people.rename("Pérson 1", "Ada")
        assert gallery.refresh()
        assert gallery.search(probe, threshold=0.5)[0].identity.name == "Ada"
        assert gallery.search(ROW[None], threshold=0.5)[0].identity.name == "Late"
        gallery.people.remove("Late")
        assert "Ada" in [each.identity.name for each in gallery.people.summaries()]


def test_a_search_of_many_goes_on_while_the_server_is_away_or_frozen(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gallery.index.FLAT_ROWS", 5)
    address = own_server.new_database()
    with people(address, 5, 2) as gallery:
        assert gallery.index_kind == "int8"
        probe = gallery.photos.embeddings("Pérson 1")[:1]
        own_server.freeze()
        try:
            assert gallery.search(probe, threshold=0.5)[0].identity.name == "Pérson 1"
        finally:
            own_server.thaw()
        own_server.stop()
        assert gallery.search(probe, threshold=0.5)[0].identity.name == "Pérson 1"


def test_a_frozen_server_is_not_waited_for_forever(
    own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gallery.postgresql.store.WRITE_SILENCE_S", 0.2)
    monkeypatch.setattr("gallery.postgresql.store.READ_SILENCE_S", 0.2)
    address = own_server.new_database()
    with people(address, 2, 2) as gallery, opened(address, wait_s=0.1) as second:
        own_server.freeze()
        try:
            with pytest.raises(GalleryUnreachableError, match=r"not answered|timeout"):
                second.people.remove("Pérson 1")
            with pytest.raises(GalleryUnreachableError, match="has not answered for"):
                second.people.count()
        finally:
            own_server.thaw()
        assert gallery.people.count() == 2


def test_one_writer_of_all_machines_writes_at_a_time(address: str) -> None:
    with opened(address, wait_s=0.05) as gallery:
        with psycopg.connect(address) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            assert gallery.store.is_locked()
            with pytest.raises(GalleryBusyError, match="another process is writing"):
                gallery.photos.add("Ada", [NewPhoto(ROW, None, "0" * 64, 1.0)])
        assert not gallery.store.is_locked()
        gallery.photos.add("Ada", [NewPhoto(ROW, None, "0" * 64, 1.0)])


def spoil(gallery: Gallery, identity_id: str, then: Callable[[Connection], object]) -> None:
    with gallery.store.writing() as connection:
        connection.execute("INSERT INTO removed VALUES (?, 1.0)", (identity_id,))
        then(connection)


def test_a_failed_write_leaves_nothing(address: str) -> None:
    with opened(address) as gallery:
        with pytest.raises(ZeroDivisionError):
            spoil(gallery, "a", lambda _: 1 / 0)
        with pytest.raises(GalleryError, match="syntax error") as caught:
            spoil(gallery, "b", lambda connection: connection.execute("NONSENSE"))
        assert "\n" not in str(caught.value)
        assert gallery.people.removed(["a", "b"]) == set()


def test_what_has_no_gallery_is_not_changed_by_reading(address: str) -> None:
    for access in (Access.READ, Access.WRITE):
        with pytest.raises(GalleryFormatError, match="there is no gallery in postgresql://"):
            open_store(address, access=access)
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT to_regnamespace('facewire')").fetchone() == (None,)


def test_a_gallery_is_read_without_rights_to_change_it(address: str) -> None:
    people(address, 2, 2).close()
    with Gallery.open_to_read(address, model_id=MODEL, embedding_size=SIZE) as gallery:
        assert len(gallery) == 4
        with pytest.raises(GalleryError, match="open for reading only"):
            gallery.people.remove("Pérson 1")
    with psycopg.connect(address) as connection:
        connection.execute("UPDATE facewire.versions SET version = 99")
    with pytest.raises(GalleryFormatError, match=f"format 99, .* up to {len(MIGRATIONS)}"):
        opened(address)


def test_a_person_erased_here_is_gone_from_all_tables(address: str) -> None:
    with people(address, 3, 3) as gallery:
        gallery.people.remove("Pérson 1")
        with gallery.store.reading() as connection:
            counts = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("identities", "photos", "crops")
            ]
    assert counts == [2, 6, 4]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("postgresql://ada:secret@db/faces", "postgresql://ada@db/faces"),
        ("postgres://ada:secret@[::1]:5433/f", "postgresql://ada@[::1]:5433/f"),
        ("postgresql:///f?host=/run&password=secret", "postgresql:///f?host=%2Frun"),
        (
            "postgresql://db/f?sslmode=require&sslpassword=secret",
            "postgresql://db/f?sslmode=require",
        ),
        ("postgresql://secret%40@db/faces", "postgresql://secret%40@db/faces"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, public: str) -> None:
    assert shown(address) == public


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:se@cret@db/faces",
        "postgresql://ada:secret@db:port/faces",
        "postgresql://ada:secret@[zz/faces",
        "postgresql://ada:sec ret@db/faces",
        "postgresql://ada:secret\n@db/faces",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(GalleryError, match="cannot be read: write postgresql") as caught:
        open_store(address, access=Access.CREATE)
    assert "cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((ENCODED, "wrong%2Fpass"), "password authentication failed"),
        (("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
        (("127.0.0.1", "127.0.0.1:1"), "cannot be read|refused"),
        (("?x", "?"), "invalid URI query parameter|cannot be read"),
    ],
)
def test_a_server_that_refuses_is_named_without_the_password(
    postgres: Server, change: tuple[str, str], message: str
) -> None:
    address = (postgres.address("postgres") + "?xyz=1").replace(*change).removesuffix("?xyz=1")
    with pytest.raises(GalleryError, match=message) as caught:
        open_store(address, access=Access.CREATE)
    assert not any(word in str(caught.value) for word in (PASSWORD, ENCODED, "wrong"))
    assert "\n" not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # what is imported in this test replaces it, and later tests need the present one
    monkeypatch.setattr("gallery.postgresql", sys.modules["gallery.postgresql"])
    for name in list(sys.modules):
        if name.startswith(("psycopg", "gallery.postgresql")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(GalleryError, match=r"needs psycopg: pip install '.\[cluster\]'"):
        open_store("postgresql://db/faces", access=Access.READ)


def test_the_same_people_are_named_from_both_stores(address: str, tmp_path: Path) -> None:
    probes = np.random.default_rng(1).standard_normal((200, SIZE)).astype(np.float32)
    with people(tmp_path, 30, 4, spread=0.2) as one, people(address, 30, 4, spread=0.2) as other:
        for here, there in zip(one.best(probes, 3), other.best(probes, 3), strict=True):
            assert [(m.identity.name, m.similarity) for m in here] == [
                (m.identity.name, m.similarity) for m in there
            ]
