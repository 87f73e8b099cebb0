"""Where more cores follow no more cameras: a model of measured costs, `scripts/scale.py`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Costs:
    """What one frame takes, seconds.

    Attributes:
        decode: processor time of the thread that captures the camera.
        recognize: processor time of the thread that recognizes all cameras of a process.
        show: processor time of drawing and encoding, of a frame that is watched.
        lock: time in which a process holds the interpreter lock, of all its threads, for a frame
            that is not watched.
        parent: processor time of the service's process for a frame of a worker process.
        parent_camera: the same for a second of a camera, without frames: its status.
    """

    decode: float
    recognize: float
    show: float
    lock: float
    parent: float
    parent_camera: float


@dataclass(frozen=True, slots=True)
class Limit:
    """How many cameras a machine follows, and by what it is limited.

    Attributes:
        cameras: their number, rounded down.
        by: "cores", "recognition", "lock" or "parent".
    """

    cameras: int
    by: str


def limit_of(
    costs: Costs, *, cores: int, workers: int, fps: float, watched: float = 0.0, use: float = 1.0
) -> Limit:
    """Return how many cameras can be followed without a loss of frames.

    Four things end, each at so many cameras:

    - cores: use x cores / (fps x (decode + recognize + watched x show + parent)),
    - the recognizing thread of each process: use x processes / (fps x recognize),
    - the interpreter lock of each process: use x processes / (fps x lock),
    - the service's own process, which has the news of all workers:
      use / (fps x parent + parent_camera).

    Args:
        costs: measured.
        cores: of the machine.
        workers: worker processes; 1 for the service's own process alone.
        fps: of each camera.
        watched: part of the cameras that are watched, in [0, 1].
        use: part of a core or lock that can be used before frames are lost, in (0, 1].
    """
    processes = max(1, workers)
    parent = costs.parent + costs.parent_camera / fps if workers > 1 else 0.0
    frame = costs.decode + costs.recognize + watched * costs.show + parent
    ends = {
        "cores": cores / frame,
        "recognition": processes / costs.recognize,
        "lock": processes / costs.lock,
    }
    if parent:
        ends["parent"] = 1 / parent
    by = min(ends, key=ends.__getitem__)
    return Limit(int(use * ends[by] / fps + 1e-9), by)


def best_workers(costs: Costs, *, cores: int, fps: float, watched: float = 0.0) -> int:
    """Return the fewest workers with which nothing but cores or the service's process limits."""
    for workers in range(1, cores + 1):
        if limit_of(costs, cores=cores, workers=workers, fps=fps, watched=watched).by in (
            "cores",
            "parent",
        ):
            return workers
    return cores
