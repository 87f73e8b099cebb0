from dataclasses import replace

from stream.bench.scale import Costs, Limit, best_workers, limit_of

COSTS = Costs(
    decode=0.0015, recognize=0.001, show=0.004, lock=0.0008, parent=0.00008, parent_camera=0.0002
)


def test_few_cores_end_first() -> None:
    assert limit_of(COSTS, cores=2, workers=1, fps=10) == Limit(80, "cores")
    assert limit_of(COSTS, cores=1, workers=1, fps=10) == Limit(40, "cores")


def test_one_process_ends_with_its_recognizing_thread_or_its_lock() -> None:
    assert limit_of(COSTS, cores=16, workers=1, fps=10) == Limit(100, "recognition")
    held = replace(COSTS, lock=0.002)
    assert limit_of(held, cores=16, workers=1, fps=10) == Limit(50, "lock")
    assert limit_of(held, cores=16, workers=4, fps=10) == Limit(200, "lock")


def test_workers_use_all_cores_until_the_service_itself_is_full() -> None:
    assert limit_of(COSTS, cores=16, workers=8, fps=10) == Limit(615, "cores")
    assert limit_of(COSTS, cores=64, workers=32, fps=10) == Limit(1000, "parent")


def test_watched_cameras_and_what_is_kept_free_count() -> None:
    assert limit_of(COSTS, cores=2, workers=1, fps=10, watched=0.5) == Limit(44, "cores")
    assert limit_of(COSTS, cores=2, workers=1, fps=10, use=0.5) == Limit(40, "cores")


def test_no_more_workers_are_needed_than_fill_the_cores() -> None:
    assert best_workers(COSTS, cores=2, fps=10) == 1
    assert best_workers(COSTS, cores=16, fps=10) == 7
    assert limit_of(COSTS, cores=16, workers=7, fps=10).by == "cores"
    assert limit_of(COSTS, cores=16, workers=6, fps=10).by == "recognition"
