import csv
import json
import runpy
import zipfile
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from gallery import Gallery
from gallery.templates import revision
from recognizer import open_recognizer, read_image
from stream.cli.main import app
from stream.enrollment.enrollment import (
    EnrolItem,
    enroll_images,
    photo_item,
    upload_item,
)
from stream.enrollment.folders import read_people_folder
from stream.enrollment.photo_checks import EnrolLimits, Reason
from stream.errors import EnrolmentError
from tests.shared_data import photos, shared_data

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def recognizer():
    return open_recognizer()


@pytest.fixture
def gallery(tmp_path, recognizer):
    with Gallery.open(
        tmp_path / "gallery",
        model_id=recognizer.model_id,
        embedding_size=recognizer.embedding_size,
    ) as opened:
        yield opened


def picture(name: str) -> np.ndarray:
    return read_image(photos() / name)


def encoded(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def reasons(report) -> list[Reason]:
    return [r.reason for r in report.rejected]


def spoiled(how: str) -> bytes:
    image = picture("obama.jpg")
    if how == "no face":
        return encoded(np.full((300, 300, 3), 127, np.uint8))
    if how == "two people":
        other = picture("biden.jpg")
        height = min(image.shape[0], other.shape[0])
        return encoded(np.hstack([image[:height], other[:height]]))
    if how == "blurred":
        return encoded(cv2.GaussianBlur(image, (0, 0), sigmaX=image.shape[1] / 40))
    if how == "dark":
        return encoded((image * 0.12).astype(np.uint8))
    if how == "cut off":
        return (photos() / "obama.jpg").read_bytes()[:20_000]
    assert how == "empty"
    return b""


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("no face", Reason.NO_FACE),
        ("blurred", Reason.BLURRED),
        ("dark", Reason.TOO_DARK),
        ("cut off", Reason.UNREADABLE),
        ("empty", Reason.UNREADABLE),
    ],
)
def test_a_bad_photo_is_rejected_with_its_reason_and_the_good_one_is_taken(
    recognizer, gallery, how, reason
):
    items = [
        upload_item("bad", "Barack Obama", spoiled(how)),
        photo_item(photos() / "obama2.jpg", "Barack Obama"),
    ]
    report = enroll_images(recognizer, gallery, items)
    assert reasons(report) == [reason], report.rejected
    assert [e.identity.name for e in report.enrolled] == ["Barack Obama"]
    assert len(gallery) == 1


def test_of_two_people_the_one_of_the_other_photos_is_taken(recognizer, gallery):
    both = upload_item("two", "Barack Obama", spoiled("two people"))
    report = enroll_images(recognizer, gallery, [both], list_faces=True)
    assert reasons(report) == [Reason.SEVERAL_FACES]
    assert len(report.rejected[0].seen.faces) == 2
    alone = photo_item(photos() / "obama2.jpg", "Barack Obama")
    report = enroll_images(recognizer, gallery, [both, alone])
    assert not report.rejected
    first, second = gallery.photos.embeddings("Barack Obama")
    assert first @ second > 0.5


def test_the_face_that_is_meant_can_be_named(recognizer, gallery):
    def both(face):
        return upload_item("two", "Joe Biden", spoiled("two people"), face=face)

    report = enroll_images(recognizer, gallery, [both(2)])
    assert report.rejected[0].detail == "there is no face 2: the photo has 2, from 0"
    assert not enroll_images(recognizer, gallery, [both(1)]).rejected
    report = enroll_images(recognizer, gallery, [photo_item(photos() / "biden.jpg", "Joe Biden")])
    assert not report.rejected


def test_a_missing_file_is_named(recognizer, gallery, tmp_path):
    report = enroll_images(recognizer, gallery, [photo_item(tmp_path / "none.jpg", "Ada")])
    [rejected] = report.rejected
    assert rejected.reason is Reason.UNREADABLE
    assert "none.jpg: no such file" in rejected.detail


def test_small_faces_are_rejected_and_limits_can_be_changed(recognizer, gallery):
    image = cv2.resize(picture("obama.jpg"), (220, 220), interpolation=cv2.INTER_AREA)
    items = [upload_item("small", "Barack Obama", encoded(image))]
    report = enroll_images(recognizer, gallery, items, limits=EnrolLimits(min_size_px=150))
    assert reasons(report) == [Reason.TOO_SMALL]
    assert "minimum 150 px" in report.rejected[0].detail
    report = enroll_images(recognizer, gallery, items, limits=EnrolLimits(min_size_px=20))
    assert not report.rejected


def lfw_photo(how: str) -> bytes:
    """Return a photo of LFW, spoiled as said, or the turned head of the clip, which needs none."""
    if how == "turned":
        with av.open(str(shared_data("video/short_hamilton_clip.mp4"))) as film:
            return encoded(next(islice(film.decode(video=0), 21, None)).to_ndarray(format="rgb24"))
    image = read_image(next(shared_data("lfw10_original").glob("Tony_Blair/*_0002.jpg")))
    if how == "dark":
        image = (image * 0.17).astype(np.uint8)
    elif how == "blurred":
        image = cv2.GaussianBlur(image, (0, 0), sigmaX=6)
    elif how == "small":
        image = cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA)
    return encoded(image)


def test_a_face_in_a_large_photo_is_measured_and_cropped_at_full_resolution(recognizer, gallery):
    image = read_image(next(shared_data("lfw10_original").glob("Tony_Blair/*_0002.jpg")))
    image = cv2.resize(image, None, fx=1.6, fy=1.6, interpolation=cv2.INTER_CUBIC)
    canvas = np.full((6000, 8000, 3), 127, np.uint8)
    canvas[2000 : 2000 + image.shape[0], 3000 : 3000 + image.shape[1]] = image
    jpeg = cv2.imencode(".jpg", canvas)[1].tobytes()
    report = enroll_images(recognizer, gallery, [upload_item("large", "Tony Blair", jpeg)])
    assert not report.rejected
    (photo,) = gallery.photos.of(report.enrolled[0].identity.identity_id)
    crop = gallery.photos.crop(photo.photo_id)
    (alone,) = recognizer.recognize([image])[0]
    assert float(recognizer.embed(crop[None])[0] @ alone.embedding) > 0.8


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_on_its_side_or_head_is_enrolled_as_the_upright_one(recognizer, gallery, turns):
    image = picture("obama.jpg")
    items = [upload_item("turned", "Barack Obama", encoded(np.rot90(image, turns)))]
    report = enroll_images(recognizer, gallery, items)
    assert not report.rejected
    (face,) = recognizer.recognize([image])[0]
    (match,) = gallery.search(face.embedding[None], threshold=0.98)
    assert match.identity.name == "Barack Obama"


def test_of_two_large_faces_neither_is_taken_for_who_is_meant(recognizer, gallery):
    middle, other = picture("obama.jpg"), picture("biden.jpg")
    middle = cv2.resize(middle, (400, 400), interpolation=cv2.INTER_AREA)
    other = cv2.resize(other, (640, 640), interpolation=cv2.INTER_AREA)  # faces 1.6 times as large
    canvas = np.full((640, 1480, 3), 127, np.uint8)
    canvas[120:520, 540:940] = middle
    canvas[:, 960:1480] = other[:, 60:580]
    report = enroll_images(recognizer, gallery, [upload_item("two", "Ada", encoded(canvas))])
    assert reasons(report) == [Reason.SEVERAL_FACES], report.enrolled


DAMAGES = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "photo_quality.py"))["DAMAGES"]


@pytest.mark.parametrize(
    "damage",
    [
        *("gaussian noise 60", "salt and pepper 25%", "posterized to 3", "bilevel", "halftone"),
        *("jpeg quality 2", "blurred 4", "shaken 15 px", "coarse by 8", "dark 0.05"),
    ],
)
def test_damage_that_nobody_is_recognized_by_is_refused(recognizer, gallery, damage):
    people = sorted(shared_data("lfw10_original").iterdir())
    items = [
        upload_item(person.name, person.name, encoded(DAMAGES[damage](read_image(photo))))
        for person in people
        for photo in sorted(person.glob("*.jpg"))[:1]
    ]
    report = enroll_images(recognizer, gallery, items)
    assert len(report.enrolled) <= 1, report.enrolled


def test_good_photos_are_not_refused(recognizer, gallery):
    directory = shared_data("lfw10_original")
    items = [
        upload_item(str(photo), photo.stem, photo.read_bytes())
        for photo in sorted(directory.glob("*/*.jpg"))[::3]
    ]
    report = enroll_images(recognizer, gallery, items, force=False)
    poor = {Reason.BLURRED, Reason.UNCLEAR, Reason.TOO_DARK, Reason.TOO_SMALL, Reason.NO_FACE}
    assert not [each for each in report.rejected if each.reason in poor]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("turned", Reason.TURNED_AWAY),
        ("dark", Reason.TOO_DARK),
        ("blurred", Reason.BLURRED),
        ("small", Reason.TOO_SMALL),
    ],
)
def test_real_photos_are_rejected_for_what_they_lack_and_taken_by_force(
    recognizer, gallery, how, reason
):
    items = [upload_item(how, "Somebody", lfw_photo(how))]
    report = enroll_images(recognizer, gallery, items)
    assert reasons(report) == [reason], report
    assert len(gallery) == 0
    assert not enroll_images(recognizer, gallery, items, force=True).rejected
    assert len(gallery) == 1


def test_another_persons_photo_is_rejected_by_likeness(recognizer, gallery):
    obama, other = photos() / "obama.jpg", photos() / "obama2.jpg"
    enroll_images(recognizer, gallery, [photo_item(obama, "Barack Obama")])
    report = enroll_images(
        recognizer, gallery, [photo_item(obama, "Joe Biden"), photo_item(other, "Joe Biden")]
    )
    assert reasons(report) == [Reason.OTHER_PERSON] * 2
    assert all("Barack Obama" in r.detail for r in report.rejected)
    assert [s.identity.name for s in gallery.people.summaries()] == ["Barack Obama"]


@pytest.mark.parametrize("wrong_at", [0, 1, 2])
def test_the_odd_one_out_is_rejected_whatever_its_place(recognizer, gallery, wrong_at):
    names = ["obama.jpg", "obama2.jpg"]
    names.insert(wrong_at, "biden.jpg")
    items = [photo_item(photos() / name, "Barack Obama") for name in names]
    report = enroll_images(recognizer, gallery, items)
    assert reasons(report) == [Reason.UNLIKE_OTHERS]
    assert report.rejected[0].label.endswith("biden.jpg")
    assert len(report.enrolled) == 2


def test_force_takes_all_that_has_a_face(recognizer, gallery):
    items = [
        upload_item("two", "Somebody", spoiled("two people")),
        upload_item("dark", "Somebody", spoiled("dark")),
        upload_item("none", "Somebody", spoiled("no face")),
        photo_item(photos() / "grace_hopper.jpg", "Somebody"),
    ]
    report = enroll_images(recognizer, gallery, items, force=True)
    assert reasons(report) == [Reason.NO_FACE]
    assert len(report.enrolled) == 3


def test_a_group_of_other_people_is_taken_by_force_alone(recognizer, gallery):
    own = [photo_item(photos() / name, "Barack Obama") for name in PEOPLE["Barack Obama"]]
    assert len(enroll_images(recognizer, gallery, own).enrolled) == 3
    tiles = [cv2.resize(picture(name), (400, 500)) for name in ("biden.jpg", "grace_hopper.jpg")]
    others = upload_item("others", "Barack Obama", encoded(np.hstack(tiles)))
    assert reasons(enroll_images(recognizer, gallery, [others])) == [Reason.SEVERAL_FACES]
    assert len(enroll_images(recognizer, gallery, [others], force=True).enrolled) == 1


def test_one_photo_of_a_group_is_enrolled_for_everybody_in_it(recognizer, gallery):
    height = 500
    tiles = [cv2.resize(picture(name), (400, height)) for name in ("obama3.jpg", "biden.jpg")]
    group = encoded(np.hstack(tiles))
    dimmed = encoded((picture("biden.jpg") * 0.9).astype(np.uint8))
    items = [
        photo_item(photos() / "obama.jpg", "Barack Obama"),
        photo_item(photos() / "obama2.jpg", "Barack Obama"),
        upload_item("group", "Barack Obama", group),
        upload_item("dimmed", "Joe Biden", dimmed),
        upload_item("group", "Joe Biden", group),
    ]
    report = enroll_images(recognizer, gallery, items)
    assert not report.rejected
    held = {each.identity.name: each.n_photos for each in gallery.people.summaries()}
    assert held == {"Barack Obama": 3, "Joe Biden": 2}
    again = enroll_images(recognizer, gallery, items)
    assert set(reasons(again)) == {Reason.DUPLICATE}
    assert not again.refused


PEOPLE = {
    "Barack Obama": ["obama.jpg", "obama2.jpg", "obama3.jpg"],
    "Joe Biden": ["biden.jpg"],
    "Grace Hopper": ["grace_hopper.jpg"],
}


@pytest.mark.parametrize("kind", ["zip", "zip with a folder around", "zip a person", "csv"])
def test_people_of_zip_files_and_lists_are_enrolled_by_command(tmp_path, kind):
    path = tmp_path / "people.zip"
    if kind.startswith("zip"):
        if kind == "zip a person":
            path = tmp_path / "people"
            path.mkdir()
        for name, files in PEOPLE.items():
            one = path / f"{name}.zip" if path.is_dir() else path
            inside = {"zip": name, "zip with a folder around": f"staff/{name}"}.get(kind, ".")
            with zipfile.ZipFile(one, "a") as archive:
                for file in files:
                    archive.write(photos() / file, f"{inside}/{file}")
    else:
        path = tmp_path / "people.csv"
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            rows = csv.writer(file)
            rows.writerow(["name", "file"])
            rows.writerows(
                [name, photos() / file] for name, files in PEOPLE.items() for file in files
            )
    arguments = ["enroll", "--folder", str(path), "--gallery", str(tmp_path / "held"), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert (len(answer["enrolled"]), answer["rejected"], answer["without_photo"]) == (5, [], [])
    with Gallery.open_any(tmp_path / "held") as held:
        everybody = {each.identity.name: each.n_photos for each in held.people.summaries()}
    assert everybody == {name: len(files) for name, files in PEOPLE.items()}


def test_the_same_folder_twice_changes_nothing(recognizer, gallery, tmp_path):
    folder = tmp_path / "people"
    for person, names in PEOPLE.items():
        (folder / person).mkdir(parents=True)
        for name in names:
            (folder / person / name).write_bytes((photos() / name).read_bytes())
    seen = []
    first = enroll_images(
        recognizer, gallery, read_people_folder(folder).items, progress=seen.append
    )
    assert not first.rejected
    assert len(seen) == 5
    before = (gallery.people.summaries(), revision(gallery.store))
    again = enroll_images(recognizer, gallery, read_people_folder(folder).items)
    assert not again.enrolled
    assert reasons(again) == [Reason.DUPLICATE] * 5
    assert not again.refused
    assert (gallery.people.summaries(), revision(gallery.store)) == before
    [found] = gallery.search(
        np.stack([recognizer.recognize([picture("obama3.jpg")])[0][0].embedding]),
        threshold=recognizer.threshold,
    )
    assert found is not None
    assert found.identity.name == "Barack Obama"


def test_the_same_bytes_twice_in_one_run_count_once(recognizer, gallery):
    items = [photo_item(photos() / "obama.jpg", "Barack Obama")] * 2
    report = enroll_images(recognizer, gallery, items)
    assert len(report.enrolled) == 1
    assert reasons(report) == [Reason.DUPLICATE]


def test_crops_are_kept_unless_told_otherwise(recognizer, gallery):
    for name, keep in [("obama.jpg", True), ("biden.jpg", False)]:
        items = [photo_item(photos() / name, name)]
        report = enroll_images(recognizer, gallery, items, keep_crops=keep)
        [photo] = gallery.photos.of(report.enrolled[0].identity.identity_id)
        assert photo.has_crop == keep


def test_nothing_to_enrol_is_no_error(recognizer, gallery):
    assert enroll_images(recognizer, gallery, []).enrolled == ()


def test_a_name_that_is_none_is_refused(recognizer, gallery):
    with pytest.raises(EnrolmentError, match=r"a.jpg: a name cannot be empty"):
        enroll_images(recognizer, gallery, [EnrolItem("a.jpg", " ", bytes)])


def test_a_set_of_ten_people_enrols(recognizer, gallery):
    report = enroll_images(
        recognizer, gallery, read_people_folder(shared_data("lfw10_original")).items
    )
    assert not report.rejected
    assert [s.n_photos for s in gallery.people.summaries()] == [10] * 10


def many_photos_of_one(name: str) -> list[EnrolItem]:
    """Return more photos of one person than are stored in one step."""
    image = picture("obama.jpg")[:, :, ::-1]
    qualities = range(30, 98)
    return [
        upload_item(
            f"quality {q}",
            name,
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, q])[1].tobytes(),
        )
        for q in qualities
    ]


@pytest.mark.parametrize("is_known", [False, True])
def test_a_person_erased_while_photos_are_added_does_not_come_back(
    recognizer, gallery, is_known: bool
):
    items = many_photos_of_one("Ada")
    if is_known:
        enroll_images(recognizer, gallery, items[:1])
    done = []

    def erase_after_the_first_step(outcome) -> None:
        done.append(outcome)
        if len(done) == 64:
            with Gallery.open_any(Path(gallery.store.place)) as elsewhere:
                elsewhere.people.remove("Ada")

    report = enroll_images(recognizer, gallery, items, progress=erase_after_the_first_step)
    assert report.enrolled == ()
    assert set(reasons(report)) - {Reason.DUPLICATE} == {Reason.ERASED}
    assert {r.detail for r in report.refused} == {"Ada was erased while photos were being added"}
    assert gallery.people.summaries() == []


def test_a_person_renamed_while_photos_are_added_gets_them_all(recognizer, gallery):
    items = many_photos_of_one("Ada")
    done = []

    def rename_after_the_first_step(outcome) -> None:
        done.append(outcome)
        if len(done) == 64:
            with Gallery.open_any(Path(gallery.store.place)) as elsewhere:
                elsewhere.people.rename("Ada", "Ada Lovelace")

    report = enroll_images(recognizer, gallery, items, progress=rename_after_the_first_step)
    assert len(report.enrolled) == len(items)
    (ada,) = gallery.people.summaries()
    assert (ada.identity.name, ada.n_photos) == ("Ada Lovelace", len(items))
    assert {each.identity for each in report.enrolled} == {ada.identity}


FOLDERS = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "enroll_folders.py"))


@pytest.fixture(scope="module")
def everybody(recognizer):
    return FOLDERS["read_faces"](recognizer, shared_data("lfw10_original"))


@pytest.mark.parametrize("kind", FOLDERS["KINDS"])
def test_group_photos_give_the_face_of_the_person_and_no_other(recognizer, everybody, kind):
    own, *others = everybody.values()
    counts = FOLDERS["measure"](recognizer, kind, own, others, np.random.default_rng(7))
    assert counts["wrong"] == 0
    assert counts["taken"] >= 0.9 * len(own)
    assert counts["left out"] == (3 if kind == "strangers" else 0)
