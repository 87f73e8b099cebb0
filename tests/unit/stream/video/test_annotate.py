import numpy as np
import pytest
from numpy.typing import NDArray

from gallery import Identity, Match
from stream.frames import Matrix, Track, TrackState, new_planes
from stream.video.annotate import COLORS, annotate, annotate_planes, label

GRAY = 90


def track(
    box: tuple[float, float, float, float] = (300, 300, 420, 440),
    *,
    name: str | None = "Grace Hopper",
    state: TrackState = TrackState.KNOWN,
    first_seen: float = 0.0,
) -> Track:
    match = Match(Identity("id", name), 0.714) if name is not None else None
    return Track("1", np.array(box, np.float32), 0.9, first_seen, 10.0, TrackState(state), match)


def picture(height: int = 720, width: int = 1280) -> NDArray[np.uint8]:
    return np.full((height, width, 3), GRAY, np.uint8)


def changed(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((image != GRAY).any(axis=2))


def test_no_tracks_leave_the_picture_as_it_is() -> None:
    image = picture()
    annotate(image, [], now=0.0)
    assert not changed(image).any()


@pytest.mark.parametrize(
    ("given", "now", "text"),
    [
        (track(), 12.4, "Grace Hopper  0.71  12 s"),
        (track(), 125.0, "Grace Hopper  0.71  2 min"),
        (track(first_seen=13.0), 12.0, "Grace Hopper  0.71  0 s"),
        (track(name=None, state=TrackState.UNKNOWN), 3.0, "unknown  3 s"),
        (track(name=None, state=TrackState.UNDECIDED), 3.0, "..."),
    ],
)
def test_labels_say_who_how_sure_and_how_long(given: Track, now: float, text: str) -> None:
    assert label(given, now) == text


@pytest.mark.parametrize("state", list(TrackState))
def test_box_and_label_bear_the_colour_of_the_state(state: TrackState) -> None:
    image = picture()
    name = "Ann" if state is TrackState.KNOWN else None
    annotate(image, [track(name=name, state=state)], now=1.0)
    is_colour = (image == COLORS[state]).all(axis=2)
    assert is_colour[300:441, 300].sum() > 30, "the box's left side"
    assert is_colour[265:300, 295:330].sum() > 200, "the label above it"
    assert not changed(image)[320:420, 320:400].any(), "the face itself is free"


@pytest.mark.parametrize("height", [90, 360, 720, 1080, 2160])
def test_text_grows_with_the_picture(height: int) -> None:
    image = picture(height, height * 16 // 9)
    middle = height / 2
    annotate(image, [track((middle, middle, middle * 1.2, middle * 1.2))], now=1.0)
    rows = np.flatnonzero(changed(image)[: int(middle) - height // 180 - 1].any(axis=1))
    assert max(12, height / 40) <= len(rows) <= max(24, height / 15)


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 60, 60),
        (1200, 600, 1400, 800),
        (1250, 0, 1280, 40),
        (-500, -500, -100, -100),
        (0, 0, 1280, 720),
        (5000, 5000, 5100, 5100),
        (600, 700, 640, 760),
        (100, 100, 100, 100),
    ],
)
def test_labels_stay_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    image = picture()
    annotate(image, [track(box, name="Somebody with a rather long name")], now=1.0)
    is_colour = (image == COLORS[TrackState.KNOWN]).all(axis=2)
    # Three hundred adjacent pixels of one color: only the background of a label.
    rows = np.flatnonzero(is_colour.sum(axis=1) > 300)
    assert rows.max() - rows.min() >= 28, "the whole height of a label is there"


@pytest.mark.parametrize("name", ["José Ñandú", "张伟", "山田 太郎", "Владимир", "김철수", "שלום"])
def test_names_are_drawn_in_their_own_letters(name: str) -> None:
    image, questions = picture(), picture()
    annotate(image, [track(name=name)], now=1.0)
    annotate(questions, [track(name="?" * len(name))], now=1.0)
    assert (image != questions).any(axis=2).sum() > 50


def test_two_labels_do_not_lie_on_each_other() -> None:
    image = picture()
    annotate(image, [track((300, 300, 420, 440)), track((440, 305, 560, 445))], now=1.0)
    is_colour = (image == COLORS[TrackState.KNOWN]).all(axis=2)
    assert is_colour[445:480].sum() > 1000, "the second one is below its box"


def test_a_label_wider_than_the_picture_starts_at_its_left() -> None:
    image = picture(120, 100)
    annotate(image, [track((20, 50, 60, 90), name="x" * 80)], now=1.0)
    assert changed(image)[:, 0].any()


@pytest.mark.parametrize("size", [(1920, 300), (300, 1920), (720, 1280), (1280, 720)])
def test_a_box_is_drawn_where_the_face_is_whatever_the_shape_of_the_picture(
    size: tuple[int, int],
) -> None:
    height, width = size
    box = (width - 130, height - 130, width - 30, height - 30)
    image = picture(height, width)
    annotate(image, [track(box, name=None, state=TrackState.UNDECIDED)], now=1.0)
    is_colour = (image == COLORS[TrackState.UNDECIDED]).all(axis=2)
    for x in (width - 130, width - 30):
        assert is_colour[height - 130 : height - 29, x].mean() > 0.9, "a side"
    for y in (height - 130, height - 30):
        assert is_colour[y, width - 130 : width - 29].mean() > 0.9, "upper and lower edge"


def test_text_fits_an_upright_picture() -> None:
    image = picture(1920, 640)
    annotate(image, [track((100, 900, 400, 1300))], now=1.0)
    rows = np.flatnonzero((image == COLORS[TrackState.KNOWN]).all(axis=2).sum(axis=1) > 60)
    columns = np.flatnonzero((image == COLORS[TrackState.KNOWN]).all(axis=2).any(axis=0))
    assert rows[0] > 800
    assert columns[-1] < 640 - 100


@pytest.mark.parametrize("matrix", Matrix)
def test_planes_show_the_same_as_rgb(matrix: Matrix) -> None:
    faces = [
        track(name="Grace Hopper"),
        track((601, 251, 650, 311), name=None, state=TrackState.UNKNOWN),
        track((1250, 0, 1280, 40), name=None, state=TrackState.UNDECIDED),
        track((-50, 650, 60, 760), name="Somebody with a rather long name"),
    ]
    wanted, planes = picture(), new_planes(720, 1280, matrix)
    for layer, level in zip(planes.layers, (16 + 219 * GRAY / 255, 128, 128), strict=True):
        layer[:] = round(level)
    annotate(wanted, faces, now=1.0)
    annotate_planes(planes, faces, now=1.0)
    # halved, since chroma has half the size and the edges of a line blur
    difference = np.abs(_halved(planes.to_rgb()) - _halved(wanted)).max(axis=2)
    drawn = _halved(changed(wanted)[..., None])[..., 0]
    assert np.percentile(difference[drawn == 1], 90) <= 16
    assert difference[drawn == 0].mean() <= 1.5, "the rest is as it was, but for rounding"
    assert (difference > 80).mean() < 1e-3


def _halved(image: NDArray[np.generic]) -> NDArray[np.float64]:
    height, width, depth = image.shape
    cells = image.astype(np.float64).reshape(height // 2, 2, width // 2, 2, depth)
    return np.asarray(cells.mean(axis=(1, 3)), np.float64)
