"""The engines that run ONNX graphs: OpenVINO and ONNX Runtime behind one small seam."""

import os
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recognizer.errors import DeviceError, ModelFileError

Array = NDArray[Any]
DEVICES = ("auto", "cpu", "cuda")


class Network(Protocol):
    """A loaded graph of one input."""

    def __call__(self, batch: Array) -> list[Array]:
        """Run it.

        Args:
            batch: contiguous, of the graph's type and shape; N may change from call to call.

        Returns:
            The graph's outputs in order. They may be overwritten by the next call.
        """


class Engine(Protocol):
    """Loads graphs for one device.

    Attributes:
        name: the runtime and its version.
        device: "cpu" or "cuda".
    """

    name: str
    device: str

    def load(self, model: bytes, *, name: str) -> Network:
        """Compile a serialised ONNX model.

        Raises:
            ModelFileError: if the runtime cannot read it; `name` says which.
        """


def open_engine(device: str = "auto", *, threads: int = 0) -> Engine:
    """Open the engine for a device.

    Args:
        device: "cpu": OpenVINO, or ONNX Runtime where OpenVINO is not installed; "cuda": ONNX
            Runtime on an NVIDIA GPU, never the CPU instead; "auto": cuda if usable, else cpu.
        threads: of the CPU; 0 for all that this process may use.

    Raises:
        DeviceError: if the device is not usable; the message names what is missing.
    """
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r} (choose {', '.join(DEVICES)})")
    threads = threads or usable_cpus()
    if device == "cuda" or (device == "auto" and not missing_for_cuda()):
        if missing := missing_for_cuda():
            raise DeviceError(f"cannot run on cuda: {missing}")
        return OnnxRuntimeEngine("cuda", threads=threads)
    try:
        return OpenVinoEngine(threads=threads)
    except ImportError:
        return OnnxRuntimeEngine("cpu", threads=threads)


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def missing_for_cuda() -> str:
    """Return what keeps ONNX Runtime from running on a GPU; empty if nothing does."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return (
            f"onnxruntime {onnxruntime.__version__} is the build without CUDA "
            "(pip install onnxruntime-gpu instead of onnxruntime)"
        )
    return ""


class OpenVinoEngine:
    """OpenVINO on the CPU: about twice as fast there as ONNX Runtime."""

    def __init__(self, *, threads: int, precision: str = "f32") -> None:
        import openvino

        self.name = f"openvino {openvino.__version__.partition('-')[0]}"
        self.device = "cpu"
        self._core = openvino.Core()
        self._properties = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            # pinned threads of two processes share a core while another idles
            "ENABLE_CPU_PINNING": False,
        }

    def load(self, model: bytes, *, name: str) -> "OpenVinoNetwork":
        """Compile a serialised ONNX model."""
        try:
            compiled = self._core.compile_model(
                self._core.read_model(model), "CPU", self._properties
            )
        except RuntimeError as error:
            raise ModelFileError(f"openvino cannot load {name}: {_first_line(error)}") from error
        return OpenVinoNetwork(compiled)


class OpenVinoNetwork:
    """A graph compiled by OpenVINO."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._n_outputs = len(compiled.outputs)

    def __call__(self, batch: Array) -> list[Array]:
        """Run the graph on one batch."""
        self._request.infer([batch], share_inputs=True)
        return [self._request.get_output_tensor(i).data for i in range(self._n_outputs)]


class OnnxRuntimeEngine:
    """ONNX Runtime: CUDA where there is an NVIDIA GPU, or any CPU."""

    def __init__(self, device: str, *, threads: int) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        self._runtime = onnxruntime
        # they have no common base but Exception
        self._load_errors = (
            *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf),
            *(state.NotImplemented, state.RuntimeException),
        )
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.device = device
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 3  # errors only: its warnings are not for users
        self._providers = ["CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"]

    def load(self, model: bytes, *, name: str) -> "OnnxRuntimeNetwork":
        """Compile a serialised ONNX model.

        Raises:
            DeviceError: if CUDA was wanted and the session fell back to the CPU.
        """
        try:
            session = self._runtime.InferenceSession(
                model, sess_options=self._options, providers=self._providers
            )
        except (RuntimeError, ValueError, *self._load_errors) as error:
            raise ModelFileError(f"onnxruntime cannot load {name}: {_first_line(error)}") from error
        if session.get_providers()[0] != self._providers[0]:
            raise DeviceError(
                "cannot run on cuda: onnxruntime could not start its CUDA provider "
                "(check `nvidia-smi` and that the CUDA and cuDNN libraries are installed)"
            )
        return OnnxRuntimeNetwork(session)


class OnnxRuntimeNetwork:
    """A graph loaded by ONNX Runtime."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def __call__(self, batch: Array) -> list[Array]:
        """Run the graph on one batch."""
        return [np.asarray(output) for output in self._session.run(None, {self._input: batch})]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
