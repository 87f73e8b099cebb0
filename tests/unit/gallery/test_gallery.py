import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from gallery import (
    Gallery,
    GalleryError,
    GalleryFormatError,
    Identity,
    ModelMismatchError,
    NameTakenError,
    NewPhoto,
    Place,
    UnknownIdentityError,
)

MODEL = "sface-0ba9fbfa"
SIZE = 128


def unit(*values: float) -> np.ndarray:
    row = np.zeros(SIZE, np.float32)
    row[: len(values)] = values
    return row / np.linalg.norm(row)


def source(number: int) -> str:
    return f"{number:064x}"


def enroll(gallery: Gallery, name: str, embedding: np.ndarray, number: int) -> Identity:
    identity, _ = gallery.photos.add(name, [NewPhoto(embedding, None, source(number), 0.5)])
    return identity


@pytest.fixture
def gallery(places):
    with Gallery.open(places("g"), model_id=MODEL, embedding_size=SIZE) as opened:
        yield opened


def names(matches) -> list[str | None]:
    return [m and m.identity.name for m in matches]


def test_an_empty_gallery_knows_nobody(gallery):
    assert gallery.people.summaries() == []
    assert gallery.search(np.empty((0, SIZE), np.float32), threshold=0.3) == []
    assert gallery.search(unit(1)[None], threshold=-1.0) == [None]
    assert gallery.best(unit(1)[None], k=3) == [[]]
    assert len(gallery) == 0


def test_one_person_is_found_above_the_threshold_only(gallery):
    ada = gallery.photos.add("Ada", [NewPhoto(unit(1), None, source(1), 1.0)])[0]
    probes = np.stack([unit(1), unit(0.5, 0.5), unit(0, 1)])
    found = gallery.search(probes, threshold=0.5)
    assert names(found) == ["Ada", "Ada", None]
    assert found[0].identity == ada
    assert found[0].similarity == pytest.approx(1.0)
    assert found[1].similarity == pytest.approx(0.5**0.5)


def test_an_identity_is_as_similar_as_its_best_template(gallery):
    for number, row in enumerate([unit(1), unit(0, 1), unit(0, 0, 1)]):
        enroll(gallery, "Ada", row, number)
    enroll(gallery, "Bob", unit(1, 1, 1), 9)
    [[first, second]] = gallery.best(unit(0, 1, 0.1)[None], k=5)
    assert first.identity.name == "Ada"
    assert second.identity.name == "Bob"


@pytest.mark.parametrize(("margin", "expected"), [(0.0, "Ada"), (0.15, "Ada"), (0.25, None)])
def test_the_margin_is_to_the_best_other_identity(gallery, margin, expected):
    enroll(gallery, "Ada", unit(1), 1)
    enroll(gallery, "Ada", unit(1, 0.01), 2)
    enroll(gallery, "Bob", unit(0.8, 0.6), 3)
    assert names(gallery.search(unit(1)[None], threshold=0.5, margin=margin)) == [expected]


def test_the_same_photo_under_two_names_names_nobody(gallery):
    enroll(gallery, "Ada", unit(1), 1)
    enroll(gallery, "Bob", unit(1), 1)
    assert gallery.search(unit(1)[None], threshold=0.5) == [None]


def test_probes_without_direction_match_nobody_and_leave_the_others_alone(gallery):
    enroll(gallery, "Ada", unit(1), 1)
    probes = np.stack([unit(1), unit(1), unit(1) * 0, unit(1), unit(1) * 7])
    probes[0, 3], probes[3, 3] = np.nan, np.inf
    assert names(gallery.search(probes, threshold=0.5)) == [None, "Ada", None, None, "Ada"]
    assert np.isnan(probes[0, 3]), "the caller's array was written to"


@pytest.mark.parametrize("shape", [(SIZE,), (1, SIZE + 1), (1, 2, SIZE)])
def test_probes_of_another_shape_are_refused(gallery, shape):
    with pytest.raises(ValueError, match=r"embeddings must be \(N, 128\)"):
        gallery.search(np.zeros(shape, np.float32), threshold=0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_an_embedding_without_direction_is_not_enrolled(gallery, bad):
    with pytest.raises(ValueError, match="finite and not zero"):
        enroll(gallery, "Ada", np.full(SIZE, bad, np.float32), 1)
    assert gallery.people.summaries() == []


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "x" * 201])
def test_names_that_are_none_are_refused(gallery, name):
    with pytest.raises(ValueError, match="name"):
        enroll(gallery, name, unit(1), 1)


def test_a_name_is_the_same_however_its_accents_are_written(gallery):
    one = enroll(gallery, "  Zoe\u0308  Smith", unit(1), 1)
    two = enroll(gallery, "Zo\u00eb Smith", unit(0, 1), 2)
    assert one == two
    assert gallery.people.find("Zoe\u0308 Smith") == one
    assert gallery.people.find(one.identity_id) == one


def test_the_same_source_twice_changes_nothing(gallery):
    photo = NewPhoto(unit(1), None, source(1), 0.5)
    assert gallery.photos.add("Ada", [photo, photo])[1] == [True, False]
    assert gallery.photos.add("Ada", [photo])[1] == [False]
    assert [s.n_photos for s in gallery.people.summaries()] == [1]
    assert len(gallery) == 1


def test_enrolling_nothing_makes_the_person(gallery):
    gallery.photos.add("Ada", [])
    assert [(s.identity.name, s.n_photos) for s in gallery.people.summaries()] == [("Ada", 0)]


def test_crops_come_back_as_they_went_in(gallery):
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    ada = gallery.photos.add("Ada", [NewPhoto(unit(1), crop, source(1), 0.5)])[0]
    [photo] = gallery.photos.of(ada.identity_id)
    assert photo.has_crop
    np.testing.assert_array_equal(gallery.photos.crop(photo.photo_id), crop)


def test_everything_is_there_after_opening_again(places):
    with Gallery.open(places("p"), model_id=MODEL, embedding_size=SIZE) as gallery:
        ada = enroll(gallery, "Ada", unit(1), 1)
        enroll(gallery, "Bob", unit(0, 1), 2)
        before = gallery.people.summaries()
    with Gallery.open(places("p"), model_id=MODEL, embedding_size=SIZE) as gallery:
        assert gallery.people.summaries() == before
        assert gallery.search(unit(1)[None], threshold=0.5)[0].identity == ada
    with Gallery.open_any(places("p")) as gallery:
        assert (gallery.model_id, gallery.embedding_size) == (MODEL, SIZE)
        assert gallery.people.find("Ada") == ada


def test_another_model_is_refused_by_both_names(places):
    Gallery.open(places("p"), model_id=MODEL, embedding_size=SIZE).close()
    with pytest.raises(ModelMismatchError, match=r"sface-0ba9fbfa, not of arcface-12345678"):
        Gallery.open(places("p"), model_id="arcface-12345678", embedding_size=SIZE)
    with pytest.raises(ModelMismatchError, match="128 numbers, not of 512"):
        Gallery.open(places("p"), model_id=MODEL, embedding_size=512)


def test_rename_keeps_the_identity(gallery):
    ada = enroll(gallery, "Ada", unit(1), 1)
    bob = enroll(gallery, "Bob", unit(0, 1), 2)
    gallery.search(unit(1)[None], threshold=0.5)
    assert gallery.people.rename(ada.identity_id, "Ada L.") == Identity(ada.identity_id, "Ada L.")
    assert names(gallery.search(unit(1)[None], threshold=0.5)) == ["Ada L."]
    with pytest.raises(NameTakenError, match="Bob is another person"):
        gallery.people.rename(ada.identity_id, "Bob")
    assert gallery.people.rename(bob.identity_id, "Bob") == bob


def test_merge_moves_photos_and_ends_the_first(gallery):
    ada = enroll(gallery, "Ada", unit(1), 1)
    also = enroll(gallery, "A. Lovelace", unit(0, 1), 2)
    enroll(gallery, "A. Lovelace", unit(1), 1)
    assert gallery.people.merge(also.identity_id, ada.identity_id) == ada
    assert names(gallery.search(np.stack([unit(1), unit(0, 1)]), threshold=0.5)) == ["Ada"] * 2
    assert [(s.identity, s.n_photos) for s in gallery.people.summaries()] == [(ada, 2)]
    assert len(gallery) == 2
    with pytest.raises(GalleryError, match="name two"):
        gallery.people.merge(ada.identity_id, ada.identity_id)


def test_photos_are_listed_page_by_page_and_found_by_number(gallery):
    ada = enroll(gallery, "Ada", unit(1), 1)
    enroll(gallery, "Bob", unit(0, 1), 2)
    enroll(gallery, "Ada", unit(0, 0, 1), 3)
    found, total = gallery.photos.page(offset=1, limit=5)
    assert ([name for _, name in found], total) == (["Bob", "Ada"], 3)
    of_ada, total = gallery.photos.page(offset=0, limit=1, of=ada.identity_id)
    assert ([photo for photo, _ in of_ada], total) == (gallery.photos.of(ada.identity_id)[:1], 2)
    assert gallery.photos.page(offset=9, limit=1) == ([], 3)
    assert gallery.photos.page(offset=0, limit=1, of="nobody") == ([], 0)
    photo, name, embedding = gallery.photos.find(found[1][0].photo_id)
    assert (photo, name) == found[1]
    np.testing.assert_array_equal(embedding, unit(0, 0, 1))
    for number in (0, 999, 2**70):
        assert gallery.photos.find(number) is None


def test_split_makes_a_new_person_of_some_photos(gallery):
    ada = enroll(gallery, "Ada", unit(1), 1)
    enroll(gallery, "Ada", unit(0, 1), 2)
    wrong = gallery.photos.of(ada.identity_id)[1].photo_id
    bob = gallery.photos.split(ada.identity_id, [wrong], "Bob")
    assert names(gallery.search(np.stack([unit(1), unit(0, 1)]), threshold=0.5)) == ["Ada", "Bob"]
    assert [p.photo_id for p in gallery.photos.of(bob.identity_id)] == [wrong]
    with pytest.raises(UnknownIdentityError, match="not of this person"):
        gallery.photos.split(ada.identity_id, [wrong], "Carl")
    with pytest.raises(NameTakenError):
        gallery.photos.split(bob.identity_id, [wrong], "Ada")
    assert [s.identity.name for s in gallery.people.summaries()] == ["Ada", "Bob"]


def test_removed_people_and_photos_are_not_found(gallery):
    ada = enroll(gallery, "Ada", unit(1), 1)
    enroll(gallery, "Ada", unit(0, 1), 2)
    bob = enroll(gallery, "Bob", unit(0, 0, 1), 3)
    gallery.photos.remove(gallery.photos.of(ada.identity_id)[0].photo_id)
    assert names(gallery.search(np.eye(3, SIZE, dtype=np.float32), threshold=0.5)) == [
        None,
        "Ada",
        "Bob",
    ]
    gallery.people.remove(ada.identity_id)
    assert names(gallery.search(np.eye(3, SIZE, dtype=np.float32), threshold=0.5)) == [
        None,
        None,
        "Bob",
    ]
    again = enroll(gallery, "Ada", unit(1), 1)
    assert again.identity_id != ada.identity_id
    assert gallery.people.find("Bob") == bob


@pytest.mark.parametrize("verb", ["rename", "merge", "split", "remove", "find", "remove_photo"])
def test_what_is_not_there_is_named(gallery, verb):
    calls = {
        "rename": lambda: gallery.people.rename("nobody", "x"),
        "merge": lambda: gallery.people.merge("nobody", "x"),
        "split": lambda: gallery.photos.split("nobody", [1], "x"),
        "remove": lambda: gallery.people.remove("nobody"),
        "find": lambda: gallery.people.find("nobody"),
        "remove_photo": lambda: gallery.photos.remove(77),
    }
    with pytest.raises(UnknownIdentityError, match=r"nobody|77"):
        calls[verb]()


def test_search_equals_the_obvious_loop(gallery):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((300, SIZE)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for person in range(30):
        photos = [NewPhoto(rows[i], None, source(i), 0.5) for i in range(person, 300, 30)]
        gallery.photos.add(f"p{person:02}", photos)
    gallery.people.remove(gallery.people.find("p07").identity_id)
    probes = rows[rng.permutation(300)[:50]] + 0.05 * rng.standard_normal((50, SIZE))
    probes = (probes / np.linalg.norm(probes, axis=1, keepdims=True)).astype(np.float32)
    for probe, ranked in zip(probes, gallery.best(probes, k=29), strict=True):
        expected = {
            f"p{person:02}": max(float(probe @ rows[i]) for i in range(person, 300, 30))
            for person in range(30)
            if person != 7
        }
        order = sorted(expected, key=lambda name: -expected[name])
        assert [m.identity.name for m in ranked] == order
        np.testing.assert_allclose(
            [m.similarity for m in ranked], [expected[n] for n in order], atol=1e-6
        )


def test_another_process_is_seen_after_refresh(gallery, places):
    assert not gallery.refresh()
    script = (
        "import sys, numpy as np; from pathlib import Path; from gallery import Gallery, NewPhoto\n"
        f"g = Gallery.open(sys.argv[1], model_id={MODEL!r}, embedding_size={SIZE})\n"
        f"e = np.eye(1, {SIZE}, dtype=np.float32)[0]\n"
        "g.photos.add('Ada', [NewPhoto(e, None, '0' * 64, 1.0)])\n"
    )
    subprocess.run([sys.executable, "-c", script, str(places("g"))], check=True)
    assert gallery.search(unit(1)[None], threshold=0.5) == [None]
    assert gallery.refresh()
    assert names(gallery.search(unit(1)[None], threshold=0.5)) == ["Ada"]
    assert not gallery.refresh()


def test_own_changes_need_no_refresh_and_report_none(gallery):
    enroll(gallery, "Ada", unit(1), 1)
    assert not gallery.refresh()


def test_a_reader_too_far_behind_reads_everything_again(gallery, places):
    with Gallery.open(places("g"), model_id=MODEL, embedding_size=SIZE) as other:
        ada = enroll(other, "Ada", unit(1), 1)
        enroll(other, "Bob", unit(0, 1), 2)
        other.people.remove(ada.identity_id)
        with other.store.writing() as connection:
            connection.execute("DELETE FROM journal WHERE revision < 3")
        assert gallery.refresh()
        assert len(gallery) == 1


def test_one_thread_searches_while_another_enrols_and_removes(gallery):
    stop, failures = threading.Event(), []
    enroll(gallery, "Ada", unit(1), 0)

    def look() -> None:
        while not stop.is_set():
            gallery.refresh()
            if names(gallery.search(unit(1)[None], threshold=0.9)) != ["Ada"]:
                failures.append("Ada was not found")
                return

    searcher = threading.Thread(target=look)
    searcher.start()
    for number in range(1, 60):
        identity = enroll(gallery, f"p{number}", unit(0, number, 1), number)
        if number % 3 == 0:
            gallery.people.remove(identity.identity_id)
    stop.set()
    searcher.join()
    assert not failures
    assert len(gallery) == 41


@pytest.mark.on_disk
def test_audit_tells_what_was_done_without_names(gallery):
    ada = enroll(gallery, "Ada", unit(1), 1)
    gallery.people.rename(ada.identity_id, "Ada L.")
    gallery.people.remove(ada.identity_id)
    with sqlite3.connect(Path(gallery.store.place, "gallery.sqlite3")) as connection:
        rows = connection.execute("SELECT action, identity_id, n_photos FROM audit").fetchall()
    connection.close()
    assert rows == [
        ("enroll", ada.identity_id, 1),
        ("rename", ada.identity_id, 0),
        ("remove", ada.identity_id, 1),
    ]


def test_a_person_erased_during_a_search_is_not_named(gallery, monkeypatch):
    ada = enroll(gallery, "Ada", unit(1), 1)
    index = gallery._searcher._index
    search = index.best_persons

    def search_and_erase(probes, n_persons):
        found = search(probes, n_persons)
        gallery.people.remove(ada.identity_id)
        return found

    monkeypatch.setattr(index, "best_persons", search_and_erase)
    assert gallery.search(unit(1)[None], threshold=0.5) == [None]


# -- files that are not what they should be


def open_in(place: Place) -> Gallery:
    return Gallery.open(place, model_id=MODEL, embedding_size=SIZE)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"%PDF-1.7 a letter" * 100, "is not a gallery"), (b"x", "is not a gallery")],
)
def test_a_foreign_file_is_refused_and_left_alone(tmp_path, content, message):
    path = tmp_path / "gallery.sqlite3"
    path.write_bytes(content)
    with pytest.raises(GalleryFormatError, match=message):
        open_in(tmp_path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["gallery.sqlite3"]


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "gallery.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE letters (id)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(GalleryFormatError, match="of another program"):
        open_in(tmp_path)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(tmp_path):
    open_in(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "gallery.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(GalleryFormatError, match="format 99, this version reads up to 4"):
        open_in(tmp_path)


def test_a_damaged_file_is_named_and_left_alone(tmp_path):
    with open_in(tmp_path) as gallery:
        for number in range(200):
            enroll(gallery, f"p{number}", unit(1, number), number)
    path = tmp_path / "gallery.sqlite3"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 20] = b"\xab" * (4096 * 17)
    path.write_bytes(content)
    with pytest.raises(GalleryFormatError, match=r"is damaged .* run `facewire gallery check`"):
        open_in(tmp_path)
    assert path.read_bytes() == content


def test_no_gallery_is_not_made_by_looking(tmp_path):
    with pytest.raises(GalleryFormatError, match="there is no gallery in"):
        Gallery.open_any(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GalleryError, match="cannot make the gallery"):
        open_in(tmp_path / "file")
    with pytest.raises(GalleryError, match="cannot make the gallery"):
        open_in(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("directory_mode", "file_mode", "message"),
    [
        (0o555, None, "cannot be opened or created here; check the permissions"),
        (0o555, 0o444, "is read-only for this user; change its permissions"),
        (0o700, 0o444, "cannot read the gallery .*: permission denied"),
        (0o755, 0o000, "cannot be opened or created here; check the permissions"),
    ],
)
def test_missing_rights_are_named(directory_mode, file_mode, message):
    # As another user, because root may write everywhere; below /tmp, which that user may enter.
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        directory = Path(name) / "gallery"
        directory.mkdir()
        if file_mode is not None:
            open_in(directory).close()
            (directory / "gallery.sqlite3").chmod(file_mode)
        directory.chmod(directory_mode)
        os.seteuid(65534)
        try:
            with pytest.raises(GalleryError, match=message):
                open_in(directory)
        finally:
            os.seteuid(0)


@pytest.mark.on_disk
def test_a_full_disk_loses_nothing_that_was_acknowledged(gallery):
    enroll(gallery, "Ada", unit(1), 1)
    with gallery.store.writing() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    gallery.store._writer.execute(f"PRAGMA max_page_count = {pages}")
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    with pytest.raises(GalleryError, match="the disk is full; free some space"):
        gallery.photos.add("Bob", [NewPhoto(unit(0, 1), crop, source(2), 1.0)])[0]
    assert names(gallery.search(np.eye(2, SIZE, dtype=np.float32), threshold=0.5)) == ["Ada", None]
    gallery.store._writer.execute("PRAGMA max_page_count = 1000000")
    gallery.photos.add("Bob", [NewPhoto(unit(0, 1), crop, source(2), 1.0)])[0]
    assert [s.identity.name for s in gallery.people.summaries()] == ["Ada", "Bob"]


@pytest.mark.on_disk
def test_a_lock_held_too_long_is_named(gallery):
    gallery.store._writer.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(Path(gallery.store.place, "gallery.sqlite3"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(GalleryError, match="another process is writing to it; try again"):
        enroll(gallery, "Ada", unit(1), 1)
    other.execute("ROLLBACK")
    other.close()
    enroll(gallery, "Ada", unit(1), 1)


@pytest.mark.on_disk
def test_removal_leaves_no_bytes_in_any_file(gallery):
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    ada = gallery.photos.add(
        "Ada Lovelace", [NewPhoto(unit(1, 2, 3), crop, source(0xABCDEF), 1.0)]
    )[0]
    with gallery.store.writing() as connection:
        connection.execute("UPDATE identities SET notes = 'wrote the first program'")
    for number in range(50):
        enroll(gallery, f"p{number}", unit(0, 1, number), number)
    traces = [
        b"Ada Lovelace",
        b"first program",
        source(0xABCDEF).encode(),
        unit(1, 2, 3).tobytes(),
    ]

    def files() -> bytes:
        return b"".join(p.read_bytes() for p in Path(gallery.store.place).iterdir())

    before = files()
    assert all(t in before for t in traces)
    assert before.count(b"IHDR") >= 1
    gallery.people.remove(ada.identity_id)
    after = files()
    assert [t for t in traces if t in after] == []
    assert b"IHDR" not in after


# -- many people, a page at a time


def test_names_are_sorted_by_alphabet_whatever_their_case_and_accents(gallery):
    names = ["zoe", "Ärzu", "Bob", "adam", "Émile", "Zoë", "eve", "Anna", "Ωmega"]
    for number, name in enumerate(names):
        enroll(gallery, name, unit(1, number), number)
    wanted = ["adam", "Anna", "Ärzu", "Bob", "Émile", "eve", "zoe", "Zoë", "Ωmega"]
    assert [each.identity.name for each in gallery.people.summaries()] == wanted
    assert [each.identity.name for each in gallery.people.page(limit=20).people] == wanted


def test_pages_hold_everybody_once_though_people_come_and_go(gallery, places):
    for number in range(10):
        enroll(gallery, f"p{number}", unit(1, number), number)
    first = gallery.people.page(limit=4)
    assert (len(first.people), first.total) == (4, 10)
    gallery.people.remove("p3")  # the one that the page ended with
    with open_in(places("g")) as elsewhere:
        enroll(elsewhere, "p45", unit(99), 99)
    found, cursor = list(first.people), first.cursor
    while cursor is not None:
        page = gallery.people.page(limit=4, cursor=cursor)
        found, cursor = found + list(page.people), page.cursor
    names = [each.identity.name for each in found]
    assert names == ["p0", "p1", "p2", "p3", "p4", "p45", "p5", "p6", "p7", "p8", "p9"]
    assert all(each.n_photos == 1 for each in found)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["Émile Zola", "Grace Hopper"]),
        ("ZOLA", ["Émile Zola"]),
        ("emile", ["Émile Zola"]),
        ("émile  z", ["Émile Zola"]),
        ("o", ["Émile Zola", "Grace Hopper"]),
        ("nobody", []),
        ("%", []),
    ],
)
def test_people_are_searched_for_by_any_part_of_their_names(gallery, text, names):
    enroll(gallery, "Grace Hopper", unit(1), 1)
    enroll(gallery, "Émile Zola", unit(2), 2)
    page = gallery.people.page(limit=10, search=text)
    assert [each.identity.name for each in page.people] == names
    assert (page.total, page.cursor) == (len(names), None)


@pytest.mark.parametrize("cursor", ["?", "a", "_w", "ünicode"])
def test_a_cursor_that_is_none_is_refused(gallery, cursor):
    with pytest.raises(ValueError, match="not a cursor"):
        gallery.people.page(limit=1, cursor=cursor)


def test_people_are_changed_by_name_as_by_id(gallery):
    for number, name in enumerate(["Ada", "Bob", "Cay", "Dan"]):
        enroll(gallery, name, unit(1, number), number)
    gallery.people.rename("Ada", "Ada Lovelace")
    assert gallery.people.merge("Bob", "ada lovelace").name == "Ada Lovelace"
    gallery.people.remove("Cay")
    (photo, *_) = gallery.photos.of(gallery.people.find("Dan").identity_id)
    with pytest.raises(UnknownIdentityError, match="of that person"):
        gallery.photos.remove(photo.photo_id, of="Ada Lovelace")
    gallery.photos.remove(photo.photo_id, of="Dan")
    assert [(each.identity.name, each.n_photos) for each in gallery.people.summaries()] == [
        ("Ada Lovelace", 2),
        ("Dan", 0),
    ]
