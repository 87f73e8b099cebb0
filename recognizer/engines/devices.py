"""Opens the engine for a device."""

import os

from recognizer.cache import default_cache
from recognizer.engines.cpus import usable_cpus
from recognizer.engines.engine import Engine
from recognizer.engines.onnxruntime_engine import OnnxRuntimeEngine, missing_for_cuda
from recognizer.engines.openvino_engine import OpenVinoEngine
from recognizer.errors import DeviceError

DEVICES = ("auto", "cpu", "cuda", "tensorrt")
PRECISIONS = ("f32", "bf16", "tf32")


def open_engine(device: str = "auto", *, threads: int = 0, precision: str = "f32") -> Engine:
    """Open the engine for a device.

    Args:
        device: "cpu": OpenVINO, or ONNX Runtime where OpenVINO is not installed; "cuda": ONNX
            Runtime on an NVIDIA GPU, never the CPU instead; "tensorrt": the same, with the
            networks of one input size by TensorRT, which it builds for minutes at the first
            start; "auto": cuda if usable, else cpu.
        threads: of the CPU; 0 for all that this process may use.
        precision: "f32"; "bf16" on a CPU that has it; "tf32" with "cuda".

    Raises:
        DeviceError: if the device is not usable; the message names what is missing.
    """
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r} (choose {', '.join(DEVICES)})")
    if precision not in PRECISIONS:
        raise DeviceError(f"unknown precision {precision!r} (choose {', '.join(PRECISIONS)})")
    threads = threads or usable_cpus()
    if precision == "bf16":
        return _open_bf16(device, threads)
    if device == "tensorrt":
        # TensorRT's provider has no option like CUDA's `use_tf32`, and this is read only once
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    if precision == "tf32" and device != "cuda":
        raise DeviceError(f"tf32 is for NVIDIA GPUs: leave the precision at f32 with {device}")
    if device != "cpu" and not (missing := missing_for_cuda()):
        built = default_cache() / "tensorrt" if device == "tensorrt" else None
        return OnnxRuntimeEngine("cuda", threads=threads, tensorrt=built, precision=precision)
    if device in ("cuda", "tensorrt"):
        raise DeviceError(f"cannot run on {device}: {missing}")
    try:
        return OpenVinoEngine(threads=threads)
    except ImportError:
        return OnnxRuntimeEngine("cpu", threads=threads)


def _open_bf16(device: str, threads: int) -> Engine:
    if device not in ("auto", "cpu"):
        raise DeviceError(f"bf16 is for the CPU: leave the precision at f32 with {device}")
    try:
        return OpenVinoEngine(threads=threads, precision="bf16")
    except ImportError as error:
        raise DeviceError("cannot run in bf16 without OpenVINO (pip install openvino)") from error
