import sqlite3

import numpy as np
import pytest

from gallery import (
    Gallery,
    InvalidNameError,
    NameTakenError,
    NewPhoto,
    UnknownIdentityError,
    clean_name,
    escaped,
    name_key,
    schema,
)
from gallery.check import check
from tests.unit.gallery.conftest import MODEL, SIZE


def photo(number: int) -> NewPhoto:
    row = np.random.default_rng(number).standard_normal(SIZE).astype(np.float32)
    return NewPhoto(row, None, f"{number:064x}", 0.5)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("Grace Hopper", "Grace Hopper"),
        ("  Grace \t Hopper\n", "Grace Hopper"),
        ("Ame\u0301lie", "Am\u00e9lie"),
        ("\u674e\u5c0f\u9f99", "\u674e\u5c0f\u9f99"),
        ("\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u200c\u062e\u0648"),
        ("Robin \U0001fae8", "Robin \U0001fae8"),  # of Unicode 15: later than Python 3.11's
        ("\U0001f468\u200d\U0001f467", "\U0001f468\u200d\U0001f467"),
        ("a" * 200, "a" * 200),
        ("e\u0301" * 200, "\u00e9" * 200),
    ],
)
def test_a_name_has_one_form(name: str, stored: str):
    assert clean_name(name) == stored
    assert clean_name(stored) == stored


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "cannot be empty"),
        (" \t\n\u2003", "cannot be empty"),
        ("a" * 201, "at most 200 characters, got 201"),
        ("a" + "\u0301\u0316" * 500_000, "at most 200 characters"),
        ("caf\udce9", "must be UTF-8"),
        ("\ud83d\ude00", "must be UTF-8"),
        ("a\x00b", r"control character U\+0000"),
        ("a\x1b[31mb", r"control character U\+001B"),
        ("a\x9bb", r"control character U\+009B"),
        ("\u202eanna", r"direction character U\+202E"),
        ("an\u2066na", r"direction character U\+2066"),
        ("anna\u200f", r"direction character U\+200F"),
        ("an\u200bna", r"invisible character U\+200B"),
        ("\ufeffanna", r"invisible character U\+FEFF"),
        ("\u200d\u200c", "invisible characters alone"),
        ("\u3164", "invisible characters alone"),
        ("\u2800 \u2800", "invisible characters alone"),
        ("\ufe0f", "invisible characters alone"),
        ("a\ue000", r"private-use character U\+E000"),
        ("a\uffff", r"noncharacter U\+FFFF"),
        ("a\ufdd0", r"noncharacter U\+FDD0"),
        ("a\U0010ffff", r"noncharacter U\+10FFFF|private-use"),
    ],
)
def test_what_is_no_name_is_refused_in_printable_ascii(name: str, reason: str):
    with pytest.raises(InvalidNameError, match=reason) as caught:
        clean_name(name)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "others",
    [
        ("Anna", "anna", "ANNA", "\uff21\uff4e\uff4e\uff41", "An\u200dna"),
        ("Stra\u00dfe", "STRASSE", "strasse"),
        ("\u03a3\u03af\u03c3\u03c5", "\u03c3\u03af\u03c2\u03c5"),
        ("\u00c5sa", "A\u030asa", "\u00e5sa", "\u212bsa"),
        ("Henry \u2163", "henry iv"),
        ("\uac00", "\u1100\u1161"),
    ],
)
def test_names_that_are_the_same_to_people_have_one_key(others: tuple[str, ...]):
    assert len({name_key(clean_name(name)) for name in others}) == 1


def test_other_names_have_other_keys():
    names = ("Anna", "Ana", "Änna", "Anna 2", "Hanna", "\u0410nna")
    assert len({name_key(name) for name in names}) == len(names)


@pytest.fixture
def gallery(places):
    with Gallery.open(places("people"), model_id=MODEL, embedding_size=SIZE) as opened:
        yield opened


def test_anna_in_any_form_is_one_person(gallery):
    anna, _ = gallery.photos.add("Anna", [photo(1)])
    for number, name in enumerate(("anna", "ANNA", "\uff21nna"), 2):
        assert gallery.photos.add(name, [photo(number)])[0] == anna
        assert gallery.people.find(name) == anna
    assert [each.n_photos for each in gallery.people.summaries()] == [4]
    bob, _ = gallery.photos.add("Bob", [photo(9)])
    with pytest.raises(NameTakenError, match="Anna is another person already"):
        gallery.people.rename(bob.identity_id, "aNNa")
    [first, *_] = gallery.photos.of(anna.identity_id)
    with pytest.raises(NameTakenError, match="Anna is another person already"):
        gallery.photos.split(anna.identity_id, [first.photo_id], "anna")
    assert gallery.people.rename(anna.identity_id, "ANNA").name == "ANNA"


def two_annas(directory):
    """Make a gallery as the version before made it: Anna and anna are two people."""
    with Gallery.open(directory, model_id=MODEL, embedding_size=SIZE) as gallery:
        gallery.photos.add("Anna", [photo(1)])
        gallery.photos.add("other", [photo(2)])
    connection = sqlite3.connect(directory / schema.FILE_NAME, isolation_level=None)
    connection.executescript(
        "DROP INDEX identities_by_name_key; ALTER TABLE identities DROP COLUMN name_key;"
        "UPDATE identities SET name = 'anna' WHERE name = 'other'; PRAGMA user_version = 3;"
    )
    connection.close()


def test_an_older_gallery_keeps_both_and_takes_no_third(tmp_path, caplog):
    two_annas(tmp_path)
    report = check(tmp_path)
    assert report.problems == ()
    assert report.notes == (
        "Anna and anna are the same name except for case, width or invisible characters: "
        "merge them, or rename all but one",
    )
    [record] = caplog.records
    assert "1 people of the gallery" in record.message
    assert "nna" not in record.message
    with Gallery.open(tmp_path, model_id=MODEL, embedding_size=SIZE) as gallery:
        assert [each.identity.name for each in gallery.people.summaries()] == ["Anna", "anna"]
        upper, lower = gallery.people.find("Anna"), gallery.people.find("anna")
        assert upper != lower
        assert gallery.photos.add("anna", [photo(3)])[0] == lower
        with pytest.raises(NameTakenError, match="ANNA is ambiguous: Anna, anna"):
            gallery.photos.add("ANNA", [photo(4)])
        with pytest.raises(NameTakenError, match="ANNA is ambiguous: Anna, anna"):
            gallery.people.find("ANNA")
        assert len(gallery.people.summaries()) == 2
        gallery.people.merge(lower.identity_id, upper.identity_id)
        assert gallery.people.find("ANNA") == upper


def test_an_older_name_is_found_as_it_is_and_imported_without_what_is_refused_now(tmp_path):
    from gallery import exchange, importing

    with Gallery.open(tmp_path / "old", model_id=MODEL, embedding_size=SIZE) as gallery:
        gallery.photos.add("Noa", [photo(1)])
        with gallery.store.writing() as connection:
            connection.execute("UPDATE identities SET name = ?", ("Noa\u200f",))
        assert gallery.people.find("Noa\u200f") == gallery.people.find("noa")
        exchange.export_people(gallery, tmp_path / "out")
    with Gallery.open(tmp_path / "new", model_id=MODEL, embedding_size=SIZE) as gallery:
        importing.import_people(gallery, tmp_path / "out")
        assert [each.identity.name for each in gallery.people.summaries()] == ["Noa"]


def test_an_export_of_both_comes_back_whole(tmp_path):
    from gallery import exchange, importing

    two_annas(tmp_path / "old")
    with Gallery.open_any(tmp_path / "old") as gallery:
        exchange.export_people(gallery, tmp_path / "out")
    with Gallery.open(tmp_path / "new", model_id=MODEL, embedding_size=SIZE) as gallery:
        assert importing.import_people(gallery, tmp_path / "out").n_people == 2
        assert importing.import_people(gallery, tmp_path / "out").n_people == 0
        gallery.people.remove(gallery.people.find("anna").identity_id)
        gallery.people.rename(gallery.people.find("Anna").identity_id, "Berta")
    with Gallery.open(tmp_path / "third", model_id=MODEL, embedding_size=SIZE) as gallery:
        gallery.photos.add("aNNA", [photo(7)])
        (clash, _) = importing.import_people(gallery, tmp_path / "out").clashes
        assert (clash.name, clash.became) == ("Anna", None)
        assert len(gallery.people.summaries()) == 1


@pytest.mark.parametrize("number", [2**63, 2**64, 10**40, 0, -1, -(2**63) - 1])
def test_no_number_is_too_large_to_be_unknown(gallery, number: int):
    identity, _ = gallery.photos.add("Anna", [photo(1)])
    assert gallery.photos.crop(number) is None
    for change in (
        lambda: gallery.photos.remove(number),
        lambda: gallery.photos.split(identity.identity_id, [number], "Berta"),
    ):
        with pytest.raises(UnknownIdentityError, match=f"photo {number}"):
            change()
    assert [each.identity.name for each in gallery.people.summaries()] == ["Anna"]


@pytest.mark.parametrize("who", ["", "\ud800", "caf\udce9", "x" * 10_000, "a\x00b", "\u200b"])
def test_nobody_is_called_by_what_is_no_name(gallery, who: str):
    identity, _ = gallery.photos.add("Anna", [photo(1)])
    for change in (
        lambda: gallery.people.find(who),
        lambda: gallery.people.remove(who),
        lambda: gallery.people.merge(identity.identity_id, who),
        lambda: gallery.people.merge(who, identity.identity_id),
    ):
        with pytest.raises(UnknownIdentityError) as caught:
            change()
        str(caught.value).encode()
    for change in (
        lambda: gallery.photos.add(who, [photo(2)]),
        lambda: gallery.people.rename(identity.identity_id, who),
    ):
        with pytest.raises(InvalidNameError):
            change()
    assert gallery.people.present([who]) == {}
    assert len(gallery.photos.embeddings(who)) == 0
    assert len(gallery.people.summaries()) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Zo\u00eb \U0001fae8 \u674e", "Zo\u00eb \U0001fae8 \u674e"),
        ("caf\udce9.jpg", r"caf\xe9.jpg"),
        ("a\nb\x1b[31m", r"a\x0ab\x1b[31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("\U0010fffe", r"\U0010fffe"),
    ],
)
def test_what_cannot_be_shown_is_escaped(text: str, shown: str):
    assert escaped(text) == shown
    escaped(text).encode()
