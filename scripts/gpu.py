"""GPU measurements of scripts/gpu: sections, each in its own process, collected in one table.

Name sections to run only these: scripts/gpu OUT detect embed. FACEWIRE_GPU_DEVICE=cpu runs the
sections that do not need torch's CUDA on a machine without a GPU.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DEVICE = os.environ.get("FACEWIRE_GPU_DEVICE", "cuda")
BATCHES = (1, 8, 32)
SHARED = Path(os.environ.get("FACEWIRE_SHARED", ROOT.parent / "shared")) / "data"

Result = dict[str, Any]


def machine() -> Result:
    """Record the card, its driver and the libraries."""
    import onnxruntime

    from recognizer import usable_cpus

    found: Result = {
        "python": sys.version.split()[0],
        "cpus": usable_cpus(),
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
    }
    if DEVICE == "cuda":
        import torch

        query = "--query-gpu=name,driver_version,memory.total,clocks.max.sm"
        asked = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"], capture_output=True, text=True
        )
        found |= {
            "nvidia_smi": asked.stdout.strip(),
            "torch": torch.__version__,
            "cudnn": torch.backends.cudnn.version(),
        }
    from recognizer.engines.onnxruntime_engine import missing_for_cuda

    found["missing_for_cuda"] = missing_for_cuda()
    return found


def floor() -> Result:
    """Measure the limits of the card: bytes, operations, copies, launches."""
    import torch

    def gpu_s(work: Callable[[], object], rounds: int = 10) -> float:
        for _ in range(3):
            work()
        spans = []
        for _ in range(rounds):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            end.synchronize()
            spans.append(start.elapsed_time(end) / 1e3)
        return statistics.median(spans)

    big = torch.empty(1 << 30, dtype=torch.uint8, device="cuda").random_()
    other = torch.empty_like(big)
    host = torch.empty(64 << 20, dtype=torch.uint8)
    pinned = host.pin_memory()
    part = other[: len(host)]
    result: Result = {
        "copy_on_device_gb_s": 2 * len(big) / gpu_s(lambda: other.copy_(big)) / 1e9,
        "upload_gb_s": len(host) / gpu_s(lambda: part.copy_(host)) / 1e9,
        "upload_pinned_gb_s": len(host) / gpu_s(lambda: part.copy_(pinned)) / 1e9,
        "download_gb_s": len(host) / gpu_s(lambda: host.copy_(part)) / 1e9,
    }
    n = 8192
    for name, dtype, tf32 in (
        ("f32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("f16", torch.float16, False),
        ("bf16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a, b = (torch.randn(n, n, device="cuda", dtype=dtype) for _ in range(2))
        result[f"matmul_{name}_tflop_s"] = 2 * n**3 / gpu_s(partial(torch.matmul, a, b), 5) / 1e12
    tiny = torch.zeros(1, device="cuda")
    began = time.perf_counter()
    for _ in range(2000):
        tiny.add_(1)
    torch.cuda.synchronize()
    result["launch_us"] = (time.perf_counter() - began) / 2000 * 1e6
    return result


def tests() -> Result:
    """Run the tests marked gpu."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        marked = [
            str(path)
            for path in sorted((ROOT / "tests").rglob("test_*.py"))
            if "mark.gpu" in path.read_text(encoding="utf-8")
        ]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "gpu",
            "-q",
            "-rs",
            "-p",
            "no:cacheprovider",
        ]
        done = subprocess.run(
            [*command, f"--junit-xml={report}", *marked],
            cwd=ROOT,
            stdout=sys.stderr,
            check=False,
        )
        suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    count = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    failed = [
        f"{case.get('name')}: {(trouble.get('message') or '')[:400]}"
        for case in suite.iter("testcase")
        for trouble in (*case.findall("failure"), *case.findall("error"))
    ]
    skipped = sorted({(skip.get("message") or "")[:200] for skip in suite.iter("skipped")})
    return {"exit": done.returncode, **count, "failed": failed, "why_skipped": skipped}


def parity() -> Result:
    """Compare the results of CPU and device on photos, one by one and in a batch."""
    from recognizer import open_recognizer, read_image
    from recognizer.cache import default_cache
    from recognizer.models.fetch import fetch_photos

    folders = [fetch_photos(default_cache(), None), SHARED / "detect", SHARED / "golden/images"]
    paths = [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix in (".jpg", ".png", ".jpeg")
    ]
    host, device = (open_recognizer(device=name, threads=0) for name in ("cpu", DEVICE))
    images = [read_image(path) for path in paths]
    expected = [host.recognize([image])[0] for image in images]
    result: Result = {"photos": len(paths), "faces": sum(map(len, expected))}
    for name, found in (
        ("one by one", [device.recognize([image])[0] for image in images]),
        ("one call", device.recognize(images)),
    ):
        boxes, landmarks, cosines, differing = 0.0, 0.0, 1.0, []
        for path, before, after in zip(paths, expected, found, strict=True):
            if len(before) != len(after):
                differing.append(f"{path.name}: {len(before)} on the CPU, {len(after)} on {DEVICE}")
                continue
            for face in before:
                nearest = min(after, key=lambda each: float(np.abs(each.box - face.box).sum()))
                boxes = max(boxes, float(np.abs(nearest.box - face.box).max()))
                landmarks = max(landmarks, float(np.abs(nearest.landmarks - face.landmarks).max()))
                cosines = min(cosines, float(nearest.embedding @ face.embedding))
        result[name] = {
            "greatest_box_difference_px": boxes,
            "greatest_landmark_difference_px": landmarks,
            "least_cosine": cosines,
            "differing": differing,
        }
    return result


def detect() -> Result:
    """Measure MTCNN at 720p: frames of six people per call."""
    from recognizer.bench import bench_detect, crowd_frame, median_ms
    from recognizer.cache import default_cache
    from recognizer.detect.detector import Detector
    from recognizer.detect.mtcnn import read_weights
    from recognizer.engines.devices import open_engine
    from recognizer.models.fetch import ensure, fetch_photos

    frame = crowd_frame(fetch_photos(default_cache(), None))
    detector = Detector(open_engine(DEVICE), read_weights(ensure("mtcnn")))
    result: Result = {}
    for batch in BATCHES:
        # different pixels in each, and read-only, like the service's frames
        frames = [np.roll(frame, 16 * i, axis=1) for i in range(batch)]
        for each in frames:
            each.setflags(write=False)
        copies = [[each.copy() for each in frames] for _ in range(2)]
        turn = [0]

        def once(copies: list[list[Any]] = copies, turn: list[int] = turn) -> Any:
            turn[0] += 1
            return detector.detect(copies[turn[0] % 2])

        faces = [len(each) for each in once()]
        ms = median_ms(once, 10)
        boxes = [each.boxes[:5] for each in detector.detect(frames)]
        follow_ms = median_ms(partial(detector.follow, frames, boxes), 10)
        result[f"batch {batch}"] = {
            "ms": ms,
            "frames_s": 1e3 * batch / ms,
            "faces": f"{min(faces)} to {max(faces)}",
            "follow_ms": follow_ms,
            **_profiled(once),
        }
    measured = bench_detect(device=DEVICE)
    result["stages of one frame, ms"] = {stage.name: stage.ms for stage in measured.stages}
    # bytes of a frame over the bus, and the operations of its networks
    result["peak_gflops_of_the_runtime"] = measured.peak_gflops
    result["floor_ms"] = sum(stage.floor_ms for stage in measured.stages)
    return result


def embed() -> Result:
    """Measure embedding networks, and the gain of options of the runtime."""
    from recognizer.bench import median_ms
    from recognizer.embed.embedder import Embedder
    from recognizer.engines.devices import open_engine
    from recognizer.models.resolve import resolve_model

    result: Result = {}
    precisions = ("f32", "tf32") if DEVICE == "cuda" else ("f32",)
    models = {"sface": resolve_model("sface")}
    y1 = SHARED / "models/y1"
    if y1.with_name("y1-0000.params").exists():
        models["y1"] = resolve_model(f"{y1},0")
    rng = np.random.default_rng(0)
    for (name, resolved), precision in product(models.items(), precisions):
        engine = open_engine(DEVICE, precision=precision)
        embedder = Embedder(engine, resolved.model, resolved.card)
        for batch in (*BATCHES, 64, 256):
            crops = rng.integers(0, 256, (batch, 112, 112, 3), dtype=np.uint8)
            ms = median_ms(partial(embedder.embed, crops), 10)
            result[f"{name}, {precision}, batch {batch}"] = {
                "ms": ms,
                "faces_s": 1e3 * batch / ms,
                **_profiled(partial(embedder.embed, crops)),
            }
    return result


def options() -> Result:
    """Measure the gain of options of the CUDA provider, with data on the device."""
    if DEVICE != "cuda":
        return {"not run": "these are options of CUDA"}
    from recognizer.embed.embedder import prepare
    from recognizer.models.resolve import resolve_model

    sface = resolve_model("sface")
    result: Result = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, model in (("sface", prepare(sface.model, sface.card)), ("r50", _r50())):
            path = Path(scratch) / f"{name}.onnx"
            path.write_bytes(model)
            for option in OPTIONS:
                # in its own process: an option that ends the process is a result, too
                found = _run(f"{OPTION}{path}:{option}", 40)
                result |= {f"{name}, {option}, {key}": value for key, value in found.items()}
    return result


OPTION = "option:"
PLAIN = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
NHWC = {"prefer_nhwc": "1"}
OPTIONS: dict[str, dict[str, str]] = {
    "as shipped": PLAIN,
    "exhaustive": {**PLAIN, "cudnn_conv_algo_search": "EXHAUSTIVE"},
    "tf32": {**PLAIN, "use_tf32": "1"},
    "tf32 nhwc": {**PLAIN, **NHWC, "use_tf32": "1"},
    "f16": PLAIN,
    "graph": {**PLAIN, "enable_cuda_graph": "1"},
    "tf32 nhwc graph": {**PLAIN, **NHWC, "use_tf32": "1", "enable_cuda_graph": "1"},
}
"""Options of the provider by name; f16 converts the network, too."""


def option(path: Path, name: str) -> Result:
    """Run a network that takes pixels with one set of options."""
    import onnx
    import onnxruntime
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = path.read_bytes()
    crops = np.random.default_rng(0).integers(0, 256, (256, 112, 112, 3), dtype=np.uint8)
    plain = onnxruntime.InferenceSession(model, providers=[("CUDAExecutionProvider", PLAIN)])
    _, expected = _bound_ms(plain, crops[:64])
    if name.startswith("f16"):
        model = convert_float_to_float16(
            onnx.load_from_string(model), keep_io_types=True, op_block_list=[]
        ).SerializeToString()
    result: Result = {}
    for batch in (1, 64, 256):
        session = onnxruntime.InferenceSession(
            model, providers=[("CUDAExecutionProvider", OPTIONS[name])]
        )
        ms, found = _bound_ms(session, crops[:batch])
        result[f"batch {batch}"] = {"ms": ms, "faces_s": 1e3 * batch / ms}
        if batch == 64:
            lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
            result["least cosine"] = float(((found * expected).sum(axis=1) / lengths).min())
    return result


def _bound_ms(session: Any, crops: Any) -> tuple[float, Any]:
    """Return milliseconds and output of a run with input and output on the device."""
    import onnxruntime

    from recognizer.bench import median_ms

    (source,), (target,) = session.get_inputs(), session.get_outputs()
    binding = session.io_binding()
    held = onnxruntime.OrtValue.ortvalue_from_numpy(crops, "cuda", 0)
    size = [len(crops), int(target.shape[-1])]
    output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(size, np.float32, "cuda", 0)
    binding.bind_ortvalue_input(source.name, held)
    binding.bind_ortvalue_output(target.name, output)
    ms = median_ms(lambda: session.run_with_iobinding(binding), 10)
    return ms, output.numpy()


def _r50() -> bytes:
    """Build an r50 with random weights that takes pixels."""
    from dataclasses import replace

    import torch

    from recognizer.embed.embedder import prepare
    from recognizer.models.resolve import resolve_model
    from trainer.backbones import build_backbone
    from trainer.export.onnx import onnx_of

    torch.manual_seed(0)
    plain: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "embedding_size": 512}
    card = replace(resolve_model("sface").card, **plain)
    return prepare(onnx_of(build_backbone("r50").eval(), 512), card)


def stream() -> Result:
    """Run the service on the demo and measure it."""
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "facewire.toml"
        config.write_text(f'[recognizer]\ndevice = "{DEVICE}"\n', encoding="utf-8")
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from stream.cli.entry import main; main()"),
                *("bench", "stream", "--json"),
                *("--seconds", "20", "--config", config),
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "FACEWIRE_DATA": scratch},
            check=True,
        )
    measured: Result = json.loads(done.stdout)
    return measured


def video() -> Result:
    """Measure FFmpeg decoding and encoding 1080p H.264 on the CPU and on the card."""
    import av
    from av.codec.hwaccel import HWAccel

    result: Result = {"codecs": sorted(c for c in av.codec.codecs_available if "nvenc" in c)}
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1080 + 300, 1920, 3), dtype=np.uint8)
    smooth = np.cumsum(noise.astype(np.int16) % 5 - 2, axis=1).astype(np.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "clip.mp4"
        for codec in ("libx264", "h264_nvenc"):
            try:
                result[f"encode {codec}, frames a second"] = _encode(path, codec, smooth)
            except (av.FFmpegError, ValueError) as error:
                result[f"encode {codec}, frames a second"] = str(error)
            if codec == "libx264":
                for device in (None, HWAccel(device_type="cuda", allow_software_fallback=False)):
                    name = "decode on the card" if device else "decode on the CPU"
                    try:
                        began, count = time.perf_counter(), 0
                        with av.open(str(path), hwaccel=device) as source:
                            for frame in source.decode(video=0):
                                count += 1
                                form = frame.format.name
                        result[f"{name}, frames a second"] = count / (time.perf_counter() - began)
                        result[f"{name}, gives"] = form
                    except (av.FFmpegError, RuntimeError, ValueError) as error:
                        result[f"{name}, frames a second"] = str(error)
    return result


def _encode(path: Path, codec: str, rows: Any) -> float:
    import av

    target = path if codec == "libx264" else path.with_name("other.mp4")
    with av.open(str(target), "w") as sink:
        options = {"preset": "ultrafast", "tune": "zerolatency"} if codec == "libx264" else {}
        track: Any = sink.add_stream(codec, rate=25, options=options)
        track.width, track.height, track.pix_fmt = 1920, 1080, "yuv420p"
        frames = [
            av.VideoFrame.from_ndarray(rows[i : i + 1080], format="rgb24").reformat(
                format="yuv420p"
            )
            for i in range(0, 300, 3)
        ]
        began = time.perf_counter()
        for frame in frames:
            sink.mux(track.encode(frame))
        sink.mux(track.encode(None))
        return len(frames) / (time.perf_counter() - began)


def train() -> Result:
    """Time forward and backward of r50 and y1, and train `tiny` some steps on real crops."""
    import torch

    from trainer.bench import Setting, measure

    settings = [Setting("f32", False), Setting("bf16", False), Setting("bf16", True)]
    result: Result = {}
    for backbone, batch in (("y1", 256), ("r50", 128), ("r50", 256)):
        for speed in measure(
            backbone,
            batch=batch,
            device=torch.device("cuda"),
            clock=time.perf_counter,
            cpu_clock=time.process_time,
            settings=settings,
            runs=3,
        ):
            layout = ", channels_last" if speed.channels_last else ""
            result[f"{backbone}, batch {batch}, {speed.precision}{layout}"] = {
                "images_s": speed.images_per_s
            }
    people = SHARED / "train_mini_112"
    if people.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch)
            _trainer("pack", people, out / "faces")
            fitted = _trainer(
                *("fit", "tiny", "--data", out / "faces", "--out", out / "model"),
                *("--device", "cuda", "--set", "run.targets=[]"),
            )
            exported = _trainer("export", fitted["checkpoint"], out / "tiny.onnx")
            result["tiny"] = {key: exported[key] for key in ("difference",)}
    return result


def _trainer(*arguments: object) -> Any:
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from trainer.cli import main; main()"),
            *map(str, arguments),
            "--json",
        ],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def tensorrt() -> Result:
    """Measure TensorRT if it is installed."""
    from importlib.util import find_spec

    if find_spec("tensorrt") is None:
        return {"not run": "TensorRT is not installed (pip install 'tensorrt-cu13<11')"}
    from recognizer.bench import bench_detect, bench_embed

    found, embedded = bench_detect(device="tensorrt"), bench_embed(device="tensorrt")
    return {"detect_ms": found.ms, "embed_1_ms": embedded.ms_one, "embed_8_ms": embedded.ms_eight}


def _profiled(work: Callable[[], object]) -> Result:
    """Count kernels and copies of a call, as CUDA reports for the whole process."""
    if DEVICE != "cuda":
        return {}
    from torch.autograd import DeviceType  # type: ignore[attr-defined]
    from torch.profiler import ProfilerActivity, profile

    work()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        work()
    events = [e for e in profiled.events() or [] if e.device_type == DeviceType.CUDA]
    copies = {"HtoD": 0, "DtoH": 0, "DtoD": 0}
    busy, kernels = 0.0, 0
    for event in events:
        busy += event.device_time_total
        for kind in copies:
            if f"Memcpy {kind}" in event.name:
                copies[kind] += 1
                break
        else:
            kernels += "Memset" not in event.name
    return {"kernels": kernels, "copies": copies, "device_ms": busy / 1e3}


SECTIONS: dict[str, tuple[Callable[[], Result], int]] = {
    "machine": (machine, 60),
    "floor": (floor, 60),
    "tests": (tests, 150),
    "parity": (parity, 90),
    "detect": (detect, 90),
    "embed": (embed, 150),
    "options": (options, 180),
    "stream": (stream, 90),
    "video": (video, 60),
    "train": (train, 150),
    "tensorrt": (tensorrt, 300),
}
"""Each section, and the seconds that it may take. TensorRT, whose start takes minutes, is last."""

TOTAL_S = 475
"""Seconds for all sections together, where none is named."""


def main() -> None:
    """Run one section in this process, or all of them in separate processes."""
    out, *wanted = sys.argv[1:]
    if out == "--section":
        (name,) = wanted
        if name.startswith(OPTION):
            path, _, which = name.removeprefix(OPTION).rpartition(":")
            print(json.dumps(option(Path(path), which)))
        else:
            print(json.dumps(SECTIONS[name][0]()))
        return
    report = Path(out) / "gpu.json"
    results: Result = {}
    end = time.monotonic() + (TOTAL_S if not wanted else sum(s for _, s in SECTIONS.values()))
    for name in wanted or SECTIONS:
        began = time.monotonic()
        if began > end - 1:
            results[name] = {
                "left out": f"{TOTAL_S} s are over: scripts/gpu {report.parent} {name}"
            }
            continue
        print(f"scripts/gpu: {name} ...", file=sys.stderr)
        results[name] = _run(name, min(SECTIONS[name][1], int(end - began)))
        results[name]["took_s"] = round(time.monotonic() - began, 1)
        # after each, so that an interrupted run keeps its figures
        report.write_text(json.dumps(results, indent=1), encoding="utf-8")
    table = "\n".join(_lines(results))
    report.with_suffix(".md").write_text(table + "\n", encoding="utf-8")
    print(table)
    if any("error" in result for result in results.values()) or results.get("tests", {}).get(
        "exit"
    ):
        sys.exit(1)


def _run(name: str, limit_s: int) -> Result:
    """Run a section in its own process; an error is its result, and the next one is run."""
    command = [sys.executable, __file__, "--section", name]
    with tempfile.TemporaryFile("w+") as said:
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=said, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired:
            return {"error": f"took more than {limit_s} s"}
        said.seek(0)
        words = said.read()
    sys.stderr.write(words[-3000:])
    if done.returncode:
        last = (words.strip().splitlines() or [""])[-1]
        return {"error": f"exit status {done.returncode}: {last[:300]}"}
    found: Result = json.loads(done.stdout.decode().strip().splitlines()[-1])
    return found


def _lines(results: Result) -> list[str]:
    """Write the results as Markdown tables."""
    lines = []
    for name, result in results.items():
        lines += [f"## {name}", "", "| | |", "|---|---|"]
        for key, value in result.items():
            shown = (
                ", ".join(f"{k} {_short(v)}" for k, v in value.items())
                if isinstance(value, dict)
                else _short(value)
            )
            lines.append(f"| {key} | {shown} |".replace("\n", " "))
        lines.append("")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return " ".join(f"{key}={_short(each)}" for key, each in value.items())
    return str(value)


if __name__ == "__main__":
    main()
