"""Measures detection and embedding on this machine, and how long each stage takes."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from recognizer.cache import default_cache
from recognizer.detect.detector import Detector, DetectorOptions
from recognizer.detect.mtcnn import INPUT_SIZE, POOLS, NetWeights, read_weights
from recognizer.detect.scan import (
    NOBODY,
    TURN_EVERY,
    Known,
    LiveScan,
    scan_frames,
    scanner_of,
)
from recognizer.embed.embedder import Embedder
from recognizer.engines.cpus import usable_cpus
from recognizer.engines.devices import open_engine
from recognizer.engines.engine import Array, Engine, Network, Tensor
from recognizer.faces import Image
from recognizer.models.fetch import Progress, ensure, fetch_photos
from recognizer.models.resolve import resolve_model
from recognizer.onnx_graph import FLOAT, OnnxGraph
from recognizer.photos.photos import read_image

FRAME_SIZE = (720, 1280)  # of the crowd frame that is made where no image is given
FOLLOWED = 5  # faces, of the target "five faces in a 720p frame"
ROUNDS = 15
SMALL_PX, LARGE_PX = 24, 40  # smallest faces whose live scans are compared
LIVE_CYCLES = 5  # of scans of a camera, in each of which a turned face is searched once
PEAK_SIDE = 1024  # of the matrices multiplied to measure the peak: 2 GFLOP, out of the caches


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage of detection.

    Attributes:
        name: "P-Net", "R-Net", "O-Net" or "image work and boxes".
        ms: median milliseconds a frame.
        floor_ms: its operations over the measured peak; 0 where none are counted.
        n_inputs: pixels for P-Net, crops for the others.
    """

    name: str
    ms: float
    floor_ms: float
    n_inputs: int


@dataclass(frozen=True, slots=True)
class LiveScanTime:
    """What a live camera's scans cost by the smallest face that they look for.

    Attributes:
        small_px: the smaller one, pixels.
        large_px: the larger one, pixels.
        small_ms: milliseconds of processor time a scan, the mean of one cycle of scans.
        large_ms: the same for the larger one, in turn with the other.
        ratio: median of one by the other over the cycles.
    """

    small_px: int
    large_px: int
    small_ms: float
    large_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class DetectBench:
    """Speed of detection and tracking on this machine."""

    engine: str
    device: str
    threads: int
    width: int
    height: int
    min_face_px: int
    n_faces: int
    ms: float
    fps: float
    stages: tuple[StageTime, ...]
    follow_ms: float
    n_followed: int
    live: "LiveScanTime"
    peak_gflops: float


@dataclass(frozen=True, slots=True)
class EmbedBench:
    """Speed of embedding on this machine.

    Attributes:
        ms_one: median milliseconds for one crop.
        ms_eight: median milliseconds for eight crops in one call.
    """

    model: str
    engine: str
    device: str
    threads: int
    ms_one: float
    ms_eight: float


def bench_detect(
    *,
    image: Path | None = None,
    device: str = "auto",
    threads: int = 0,
    min_face_px: int = 40,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> DetectBench:
    """Measure detection on one image, stage by stage.

    Args:
        image: a photo; None for a 720p crowd frame made of the demo photos.
        device: as in `open_recognizer`.
        threads: as in `open_recognizer`; OpenCV uses as many.
        min_face_px: side of the smallest face to find, pixels.
        cache: folder of the models; None for `default_cache()`.
        progress: called with the bytes while a model is fetched.

    Raises:
        RecognizerError: if a model or the photo cannot be read, or the device cannot be used.
    """
    cache = cache or default_cache()
    frame = read_image(image) if image else crowd_frame(fetch_photos(cache, progress))
    threads = threads or usable_cpus()
    weights = read_weights(ensure("mtcnn", cache, progress))
    engine = _TimedEngine(open_engine(device, threads=threads))
    options = DetectorOptions(min_face_px=min_face_px)
    detector = Detector(engine, weights, options)
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        (found,) = detector.detect([frame])
        engine.clear()
        ms = median_ms(lambda: detector.detect([frame]))
        nets = {name: engine.per_call(name, ROUNDS + 1) for name in POOLS}
        boxes = found.boxes[:FOLLOWED]
        follow_ms = median_ms(lambda: detector.follow([frame], [boxes]))
        live = _live_scans(engine, weights, frame, threads)
    finally:
        cv2.setNumThreads(before)
    peak = measure_peak(engine)
    stages = [
        StageTime(
            name=f"{name[0].upper()}-Net",
            ms=1e3 * seconds,
            floor_ms=float(_operations(weights[name], n_inputs) / peak * 1e3),
            n_inputs=n_inputs,
        )
        for name, (seconds, n_inputs) in nets.items()
    ]
    rest = ms - sum(stage.ms for stage in stages)
    height, width = frame.shape[:2]
    return DetectBench(
        engine=engine.name,
        device=engine.device,
        threads=threads,
        width=width,
        height=height,
        min_face_px=min_face_px,
        n_faces=len(found),
        ms=ms,
        fps=1e3 / ms,
        stages=(*stages, StageTime("image work and boxes", max(rest, 0.0), 0.0, 0)),
        follow_ms=follow_ms,
        n_followed=len(boxes),
        live=live,
        peak_gflops=peak / 1e9,
    )


def bench_embed(
    *,
    model: str = "sface",
    device: str = "auto",
    threads: int = 0,
    precision: str = "f32",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> EmbedBench:
    """Measure the embedding of one crop and of eight in one call. Args as `open_recognizer`."""
    threads = threads or usable_cpus()
    engine = open_engine(device, threads=threads, precision=precision)
    resolved = resolve_model(model, cache=cache, progress=progress)
    embedder = Embedder(engine, resolved.model, resolved.card)
    crops = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), dtype=np.uint8)
    return EmbedBench(
        model=resolved.model_id,
        engine=engine.name,
        device=engine.device,
        threads=threads,
        ms_one=median_ms(lambda: embedder.embed(crops[:1])),
        ms_eight=median_ms(lambda: embedder.embed(crops)),
    )


def median_ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median wall time of a call in milliseconds, after one call to warm up."""
    work()
    spans = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        spans.append(time.perf_counter() - start)
    return 1e3 * statistics.median(spans)


def _live_scans(
    engine: Engine, weights: dict[str, NetWeights], frame: Image, threads: int
) -> LiveScanTime:
    """Scan a film of the frame in which everything moves for faces of both sizes, alternately.

    That is the most that small faces can cost: where nothing moves they are not searched.
    """
    film = [np.roll(frame, shift, axis=1) for shift in (0, 24, 48, 24)]
    detectors = [
        scanner_of(Detector(engine, weights, DetectorOptions(min_face_px=px)), threads=threads)
        for px in (SMALL_PX, LARGE_PX)
    ]
    scans = [LiveScan() for _ in detectors]
    known = [NOBODY for _ in detectors]
    cycles: list[list[float]] = []
    for _ in range(LIVE_CYCLES + 1):
        spent = [0.0 for _ in detectors]
        for number in range(TURN_EVERY):
            image = film[number % len(film)]
            for side, detector in enumerate(detectors):
                started = time.process_time()
                (found,) = scan_frames(detector, [image], [scans[side]], [known[side]])
                spent[side] += time.process_time() - started
                known[side] = Known(found.boxes, found.landmarks)
        cycles.append(spent)
    del cycles[0]  # in which the networks saw their inputs' sizes for the first time
    small, large = (
        1e3 * statistics.median(each) / TURN_EVERY for each in zip(*cycles, strict=True)
    )
    ratio = statistics.median(cycle[0] / cycle[1] for cycle in cycles)
    return LiveScanTime(SMALL_PX, LARGE_PX, small, large, ratio)


def crowd_frame(photos: Path) -> Image:
    """Make a frame of six people from the demo photos, side by side at different sizes."""
    height, width = FRAME_SIZE
    names = ["obama.jpg", "biden.jpg", "grace_hopper.jpg", "obama2.jpg", "astronaut.png"]
    photos_read = [read_image(photos / name) for name in [*names, "obama3.jpg"]]
    frame = np.zeros((height, width, 3), np.uint8)
    cell_height, cell_width = height // 2, width // 3
    for i, photo in enumerate(photos_read):
        scale = max(cell_height / photo.shape[0], cell_width / photo.shape[1])
        size = (max(round(photo.shape[1] * scale), cell_width), round(photo.shape[0] * scale))
        shrunk = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        top, left = divmod(i, 3)
        part = np.asarray(shrunk, np.uint8)[:cell_height, :cell_width]
        y, x = top * cell_height, left * cell_width
        frame[y : y + part.shape[0], x : x + part.shape[1]] = part
    return frame


def measure_peak(engine: Engine) -> float:
    """Return the operations a second that the engine reaches on a large matrix product."""
    n = PEAK_SIDE
    graph = OnnxGraph("peak")
    x = graph.input("x", FLOAT, [n, n])
    graph.output(graph.add("MatMul", [x, x], "y"), FLOAT, [n, n])
    network = engine.load(graph.serialized(), name="peak")
    matrix = np.ones((n, n), np.float32)
    return 2.0 * n**3 / (median_ms(lambda: network(matrix), rounds=5) / 1e3)


def _operations(net: NetWeights, n_inputs: int) -> float:
    """Count multiplications and additions for `n_inputs` pixels (P-Net) or crops."""
    side = INPUT_SIZE.get(net.name)
    # P-Net on a large plane: each pooling quarters what the next layers see
    area = float(side * side) if side else 1.0
    total, edge = 0.0, float(side or 0)
    pools: Sequence[tuple[int, int] | None] = POOLS[net.name]
    for i, layer in enumerate(net.layers):
        if layer.weight.ndim == 4 and side:
            edge -= layer.weight.shape[2] - 1
            area = edge * edge
        elif layer.weight.ndim == 2:
            area = 1.0
        total += 2 * area * layer.weight.size
        pool = pools[i] if i < len(pools) else None
        if pool and side:
            edge = np.ceil((edge - pool[0]) / pool[1]) + 1
        elif pool:
            area /= pool[1] ** 2
    head_area = 1.0 if side else area
    return (total + 2 * head_area * net.head.weight.size) * n_inputs


class _TimedEngine:
    """An engine that measures how long its networks run."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.device = engine.name, engine.device
        self._engine = engine
        self._seconds: dict[str, float] = {}
        self._n_inputs: dict[str, int] = {}

    def load(self, model: bytes, *, name: str, most_rows: int = 0) -> Network:
        network = self._engine.load(model, name=name, most_rows=most_rows)
        return _TimedNetwork(network, partial(self._note, name))

    def upload(self, array: Array) -> Tensor:
        return self._engine.upload(array)

    def _note(self, name: str, seconds: float, shape: tuple[int, ...]) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        n = shape[0] * (1 if name in INPUT_SIZE else int(np.prod(shape[1:3])))
        self._n_inputs[name] = self._n_inputs.get(name, 0) + n

    def clear(self) -> None:
        self._seconds.clear()
        self._n_inputs.clear()

    def per_call(self, name: str, rounds: int) -> tuple[float, int]:
        """Return seconds and inputs of a network for one of so many equal rounds."""
        return self._seconds.get(name, 0.0) / rounds, self._n_inputs.get(name, 0) // rounds


class _TimedNetwork:
    """A network that reports how long each run took, and the shape of its first input."""

    def __init__(self, network: Network, note: Callable[[float, tuple[int, ...]], None]) -> None:
        self._network = network
        self._note = note

    def __call__(self, *inputs: Tensor) -> list[Array]:
        start = time.perf_counter()
        outputs = self._network(*inputs)
        self._note(time.perf_counter() - start, inputs[0].shape)
        return outputs

    def keep(self, *inputs: Tensor) -> list[Tensor]:
        start = time.perf_counter()
        outputs = self._network.keep(*inputs)
        self._note(time.perf_counter() - start, inputs[0].shape)
        return outputs
