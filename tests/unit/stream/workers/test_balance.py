"""When a camera moves from one worker to another, by figures like those of real workers."""

import itertools
from collections.abc import Mapping

from stream.workers.balance import PAUSE_S, REST_S, SPAN_S, SPANS, Balancer, CameraLoad, Loads, Move

FPS = 25


class Day:
    """Workers whose cameras take what they are said to take, seconds of recognition a second."""

    def __init__(self, *workers: Mapping[str, float]) -> None:
        self.workers = [dict(worker) for worker in workers]
        self.balancer = Balancer()
        self.now = 1000.0
        self.counts: dict[str, tuple[float, float, float]] = {}

    def loads(self, worker: Mapping[str, float]) -> Loads:
        """A worker that needs more than a second a second loses the rest of its frames."""
        lost = max(0.0, 1 - 1 / max(sum(worker.values()), 1e-9))
        for name, needed in worker.items():
            captured, dropped, spent_s = self.counts.get(name, (0.0, 0.0, 0.0))
            self.counts[name] = (
                captured + FPS,
                dropped + FPS * lost,
                spent_s + needed * (1 - lost),
            )
        return {
            name: CameraLoad(round(captured), round(dropped), spent_s)
            for name in worker
            for captured, dropped, spent_s in [self.counts[name]]
        }

    def second(self) -> Move | None:
        """Let a second pass; carry out the move."""
        self.now += 1
        move = self.balancer.observe(self.now, [self.loads(worker) for worker in self.workers])
        if move is not None:
            self.workers[move.target][move.camera] = self.workers[move.source].pop(move.camera)
            del self.counts[move.camera]  # it counts anew there
        return move

    def run(self, seconds: float) -> list[tuple[float, Move]]:
        """Return the moves, with the second in which each was made."""
        began = self.now
        made = [(self.now - began, self.second()) for _ in range(round(seconds))]
        return [(at, move) for at, move in made if move is not None]


def test_one_busy_camera_of_three_moves_to_a_worker_that_has_time() -> None:
    day = Day({"a": 0.5, "b": 0.5, "c": 0.5}, {"x": 0.02, "y": 0.02})
    ((at, move),) = day.run(600)
    assert at >= SPANS * SPAN_S
    assert (move.source, move.target) == (0, 1)
    assert 0.3 < move.lost < 0.35


def test_the_camera_moves_that_leaves_the_busier_of_the_two_with_least() -> None:
    day = Day({"large": 0.8, "middle": 0.4, "small": 0.1}, {"still": 0.05})
    ((_, move),) = day.run(60)
    assert move.camera == "large"  # 0.5 and 0.85, where middle leaves 0.9 and 0.45
    day = Day({"large": 0.8, "middle": 0.4, "small": 0.1}, {"still": 0.2})
    ((_, move),) = day.run(60)
    assert move.camera == "middle"


def test_a_crowd_of_a_moment_moves_nothing() -> None:
    day = Day({"a": 0.4, "b": 0.4}, {"x": 0.02})
    assert not day.run(20)
    for _ in range(20):
        day.workers[0]["a"] = 0.9
        assert not day.run(2 * SPAN_S)
        day.workers[0]["a"] = 0.4
        assert not day.run(SPANS * SPAN_S)


def test_workers_that_are_all_behind_keep_their_cameras() -> None:
    assert not Day({"a": 0.8, "b": 0.8}, {"x": 0.6, "y": 0.6}).run(600)


def test_a_worker_without_room_takes_none() -> None:
    assert not Day({"a": 0.6, "b": 0.6}, {"x": 0.5}).run(600)


def test_a_camera_that_no_worker_has_time_for_moves_where_it_loses_less() -> None:
    day = Day({"a": 1.2, "b": 1.2, "c": 1.2}, {"x": 0.02})
    ((_, move),) = day.run(600)
    assert move.target == 1  # two are left, and both workers are behind then


def test_a_single_camera_that_is_too_much_stays() -> None:
    assert not Day({"a": 1.6}, {"x": 0.02}).run(600)


def test_moves_are_rare_and_a_moved_camera_rests() -> None:
    day = Day({f"c{number}": 0.25 for number in range(8)}, {"x": 0.02}, {"y": 0.02})
    moves = day.run(REST_S - 100)
    times = [at for at, _ in moves]
    assert len(moves) == len({move.camera for _, move in moves}) == 4
    assert all(after - before >= PAUSE_S for before, after in itertools.pairwise(times))
    assert {len(worker) for worker in day.workers} == {3, 4}
    # the others become busy where they are now: what was moved is not moved back
    for worker in day.workers[1:]:
        worker.update(dict.fromkeys(worker, 0.5))
    moved = {move.camera for _, move in moves}
    assert not {move.camera for _, move in day.run(60)} & moved


def test_two_workers_do_not_send_each_other_a_camera_in_turn() -> None:
    day = Day({"a": 0.55, "b": 0.55}, {"x": 0.5})
    assert len(day.run(4 * REST_S)) <= 1


def test_a_worker_that_began_again_is_judged_anew() -> None:
    day = Day({"a": 0.7, "b": 0.7}, {"x": 0.02})
    assert not day.run(SPANS * SPAN_S)
    day.counts.clear()  # both began again
    assert not day.run(SPANS * SPAN_S)
    assert len(day.run(2 * SPAN_S)) == 1


def test_a_worker_that_does_not_run_neither_gives_nor_takes() -> None:
    balancer, day = Balancer(), Day({"a": 0.9, "b": 0.9}, {})
    for second in range(100):
        assert balancer.observe(second, [day.loads(day.workers[0]), None]) is None


def test_a_worker_that_is_added_takes_part() -> None:
    day = Day({"a": 0.7, "b": 0.7}, {"x": 1.0, "y": 0.9})
    assert day.run(60) == []
    day.workers.append({})
    moves = day.run(600)
    assert {move.target for _, move in moves} == {2}
