"""Following by optical flow, with a network that answers from a script."""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import pytest

from recognizer.detect.detector import Detector
from recognizer.detect.flow import (
    CONFIRM_S,
    CONFIRM_STILL_S,
    LEAST_WEIGHT,
    FaceFlow,
    Follower,
)
from recognizer.faces import Floats, Followed, Image
from recognizer.geometry.pyramid import Octaves

SIZE = (360, 640)
BOX = np.array([280, 140, 360, 240], np.float32)
POINTS = np.array([[300, 175], [340, 175], [320, 195], [305, 218], [335, 218]], np.float32)


class Gray:
    """A frame of luma alone; reading its RGB image is counted."""

    def __init__(self, luma: Image) -> None:
        self.luma = Octaves(luma)
        self.n_images = 0

    @property
    def image(self) -> Image:
        self.n_images += 1
        return np.repeat(self.luma[0][:, :, None], 3, axis=2)


class Network:
    """O-Net of a script: finds every face where it is asked, or none."""

    def __init__(self, *, is_lost: bool = False, aside: float = 0.0) -> None:
        self.is_lost = is_lost
        self.aside = aside  # pixels to the right of where it is asked
        self.asked: list[Floats] = []

    def follow(
        self,
        images: Sequence[Image],
        boxes: Sequence[Floats],
        angles: Sequence[Floats] | None = None,
    ) -> list[Followed]:
        self.asked += list(boxes)
        return [
            Followed(
                np.asarray(group + np.array([self.aside, 0, self.aside, 0]), np.float32),
                np.tile(POINTS, (len(group), 1, 1)),
                np.full(len(group), 0.1 if self.is_lost else 0.9, np.float32),
                np.full(len(group), self.is_lost),
            )
            for group in boxes
        ]


def scene(seed: int = 0) -> Image:
    """Return smooth noise: something to follow everywhere."""
    noise = np.random.default_rng(seed).integers(0, 256, SIZE, dtype=np.uint8)
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), 3), np.float64)
    return ((smooth - smooth.min()) * 255 / np.ptp(smooth)).astype(np.uint8)


def moved(image: Image, matrix: list[list[float]]) -> Image:
    size = (image.shape[1], image.shape[0])
    return np.asarray(
        cv2.warpAffine(image, np.array(matrix, np.float64), size, flags=cv2.INTER_LINEAR), np.uint8
    )


def begin(network: Network, image: Image, box: Floats = BOX) -> tuple[Follower, list[FaceFlow]]:
    follower = Follower(cast(Detector, network))
    flows = follower.begin(Gray(image), box[None], POINTS[None], np.ones(1, np.float32), 0.0)
    return follower, flows


def step(
    follower: Follower, flows: list[FaceFlow], frame: Gray, at: float
) -> tuple[Followed, list[FaceFlow]]:
    expected = np.stack([flow.box for flow in flows])
    ((found, after),) = follower.follow([frame], [flows], [expected], [at])
    return found, after


def test_a_template_is_where_the_face_was_found() -> None:
    _, (flow,) = begin(Network(), scene())
    np.testing.assert_allclose(flow.box, BOX, atol=1e-3)
    np.testing.assert_allclose(flow.points, POINTS, atol=1e-3)


@pytest.mark.parametrize(
    ("aside", "is_lost", "moved_by"),
    [(6.0, False, 6.0), (60.0, False, 0.0), (6.0, True, 0.0)],
    ids=["placed", "another face", "not confirmed"],
)
def test_a_new_face_of_a_search_is_placed_once_more(
    aside: float, is_lost: bool, moved_by: float
) -> None:
    network = Network(is_lost=is_lost, aside=aside)
    (flow,) = searched(network, Gray(scene()), BOX, 0.0, [])
    np.testing.assert_allclose(flow.box, BOX + np.array([moved_by, 0, moved_by, 0]), atol=1e-3)
    np.testing.assert_allclose(flow.points, POINTS, atol=1e-3)
    assert len(network.asked) == 1


def test_a_search_averages_a_followed_face_with_flow_and_asks_no_network() -> None:
    network, frame, aside = Network(), Gray(scene()), np.array([4, 0, 4, 0], np.float32)
    flows = searched(network, frame, BOX, 0.0, [])
    flows = searched(network, frame, BOX + aside, 0.2, flows)
    np.testing.assert_allclose(flows[0].box, BOX + LEAST_WEIGHT * aside, atol=0.3)
    assert flows[0].confirmed_at == 0.2
    far = np.array([12, 0, 12, 0], np.float32)
    flows = searched(network, frame, BOX + far, 0.4, flows)
    np.testing.assert_allclose(flows[0].box, BOX + far, atol=0.3)
    assert len(network.asked) == 1, "the new face alone"


def test_flow_leads_nobody_where_it_is_not_certain() -> None:
    network, pixels = Network(), scene()
    flows = searched(network, Gray(pixels), BOX, 0.0, [])
    follower = Follower(cast(Detector, network))
    other = Gray(np.ascontiguousarray(pixels[::-1, ::-1]))
    boxes = [BOX[None], BOX[None], BOX[None][:0]]
    led = follower.lead([Gray(pixels), other, other], [flows, flows, []], boxes)
    assert [[flow is not None for flow in group] for group in led] == [[True], [False], []]
    assert len(network.asked) == 1


def searched(
    network: Network, frame: Gray, box: Floats, at: float, known: list[FaceFlow]
) -> list[FaceFlow]:
    follower = Follower(cast(Detector, network))
    places = np.stack([flow.box for flow in known]) if known else BOX[None][:0]
    (led,) = follower.lead([frame], [known], [places])
    scores = np.ones(1, np.float32)
    return follower.begin(frame, box[None], POINTS[None], scores, at, led=led)


@pytest.mark.parametrize("shift", [(3.5, -2.25), (0.0, 0.0), (-6.0, 5.0)])
def test_box_and_landmarks_move_with_the_face_and_no_network_runs(
    shift: tuple[float, float],
) -> None:
    network, image = Network(), scene()
    follower, flows = begin(network, image)
    frame = Gray(moved(image, [[1, 0, shift[0]], [0, 1, shift[1]]]))
    found, _ = step(follower, flows, frame, 0.04)
    np.testing.assert_allclose(found.boxes[0], BOX + np.tile(shift, 2), atol=0.5)
    np.testing.assert_allclose(found.landmarks[0], POINTS + shift, atol=0.5)
    assert not found.is_lost[0]
    assert (len(network.asked), frame.n_images) == (0, 0)


def test_errors_do_not_add_up_over_many_frames() -> None:
    network, image = Network(), scene()
    follower, flows = begin(network, image)
    for number in range(1, 12):
        x, y = 2.3 * number, -1.7 * number
        found, flows = step(
            follower, flows, Gray(moved(image, [[1, 0, x], [0, 1, y]])), 0.04 * number
        )
    np.testing.assert_allclose(found.boxes[0], BOX + np.array([x, y, x, y]), atol=0.5)
    assert not network.asked


def test_a_face_that_comes_nearer_grows() -> None:
    network, image = Network(), scene()
    follower, flows = begin(network, image)
    zoom, center = 1.05, np.array([320.0, 190.0])
    x, y = (1 - zoom) * center
    found, _ = step(follower, flows, Gray(moved(image, [[zoom, 0, x], [0, zoom, y]])), 0.04)
    width = found.boxes[0, 2] - found.boxes[0, 0]
    assert width == pytest.approx(80 * zoom, abs=0.6)
    assert not network.asked


@pytest.mark.parametrize("size", [20, 300])
def test_small_and_large_faces_are_followed(size: int) -> None:
    box = np.array([160, 20, 160 + size, 20 + size], np.float32)
    network, image = Network(), scene()
    follower, flows = begin(network, image, box)
    found, _ = step(follower, flows, Gray(moved(image, [[1, 0, 2], [0, 1, 1]])), 0.04)
    np.testing.assert_allclose(found.boxes[0], box + np.array([2, 1, 2, 1]), atol=0.02 * size + 0.3)


def test_a_covered_face_is_given_to_the_network_and_lost_in_the_same_frame() -> None:
    network, image = Network(is_lost=True), scene()
    follower, flows = begin(network, image)
    covered = image.copy()
    covered[120:260, 260:380] = scene(1)[120:260, 260:380]
    found, _ = step(follower, flows, Gray(covered), 0.04)
    assert len(network.asked) == 1
    assert found.is_lost[0]
    assert found.scores[0] < 0.6


def test_a_half_covered_face_is_given_to_the_network() -> None:
    network, image = Network(), scene()
    follower, flows = begin(network, image)
    covered = image.copy()
    covered[120:260, 315:380] = 0
    found, (after,) = step(follower, flows, Gray(covered), 0.04)
    assert len(network.asked) == 1
    assert after.confirmed_at == 0.04
    assert not found.is_lost[0]


def test_nothing_is_followed_in_a_flat_picture() -> None:
    network = Network(is_lost=True)
    flat = np.full(SIZE, 90, np.uint8)
    follower, flows = begin(network, flat)
    found, _ = step(follower, flows, Gray(flat), 0.04)
    assert found.is_lost[0]


def test_a_moving_face_is_confirmed_after_a_time_and_one_at_rest_later() -> None:
    network, image = Network(), scene()
    follower, flows = begin(network, image)
    away = Gray(moved(image, [[1, 0, 4], [0, 1, 0]]))
    step(follower, flows, away, CONFIRM_S - 0.01)
    assert not network.asked
    _, (after,) = step(follower, flows, away, CONFIRM_S + 0.01)
    assert len(network.asked) == 1
    assert after.confirmed_at == CONFIRM_S + 0.01
    step(follower, flows, Gray(image), CONFIRM_STILL_S - 0.01)
    assert len(network.asked) == 1
    step(follower, flows, Gray(image), CONFIRM_STILL_S + 0.01)
    assert len(network.asked) == 2
    assert (follower.n_followed, follower.n_confirmed) == (4, 2)


def test_faces_of_all_cameras_share_one_call() -> None:
    network, image = Network(is_lost=True), scene()
    follower, flows = begin(network, image)
    other = scene(3)
    frames = [Gray(image), Gray(other), Gray(moved(image, [[1, 0, 3], [0, 1, 0]]))]
    empty = np.empty((0, 4), np.float32)
    groups = [flows, [], flows]
    found = follower.follow(frames, groups, [BOX[None], empty, BOX[None]], [0.04] * 3)
    assert [len(result.scores) for result, _ in found] == [1, 0, 1]
    np.testing.assert_allclose(found[2][0].boxes[0], BOX + np.array([3, 0, 3, 0]), atol=0.5)
    assert follower.follow([], [], [], []) == []
    assert follower.begin(frames[0], empty, POINTS[None][:0], empty[:, 0], 0.0) == []


def test_a_face_beyond_the_border_is_no_error() -> None:
    network, image = Network(is_lost=True), scene()
    box = np.array([-400, -400, -100, -100], np.float32)
    follower, flows = begin(network, image, box)
    found, _ = step(follower, flows, Gray(image), 0.04)
    assert found.is_lost[0]
