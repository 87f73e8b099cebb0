"""ONNX graphs by ONNX Runtime: on CUDA, with TensorRT, or on any CPU."""

import hashlib
import importlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from recognizer.engines.device_graphs import sample_graph
from recognizer.engines.engine import Array, Network, Tensor, first_line
from recognizer.errors import DeviceError, ModelFileError

CUDA_OPTIONS = {
    # the default, a trial of all algorithms, would be repeated for every new input size
    "cudnn_conv_algo_search": "HEURISTIC",
    # float32 as on the CPU: TF32 keeps ten bits of a number, too few for the positions of crops
    "use_tf32": "0",
}
TF32_OPTIONS = CUDA_OPTIONS | {"use_tf32": "1", "prefer_nhwc": "1"}
"""For embedding networks: tensor cores, and the layout of channels that they take as it is."""
TENSORRT = "TensorrtExecutionProvider"
NO_PROVIDER = (
    "onnxruntime could not start its CUDA provider "
    "(check `nvidia-smi` and that the CUDA and cuDNN libraries are installed)"
)
MAX_SESSIONS = 64
"""Input shapes of a network with convolutions that stay loaded on CUDA: seven levels of a pyramid
for some nine sizes of frames. P-Net weighs 27 KiB."""


def missing_for_cuda() -> str:
    """Return what keeps ONNX Runtime from running on a GPU; empty if nothing does."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return (
            f"onnxruntime {onnxruntime.__version__} is the build without CUDA "
            "(pip install onnxruntime-gpu instead of onnxruntime)"
        )
    engine = OnnxRuntimeEngine("cuda", threads=1)
    try:
        engine.load(sample_graph(24), name="a first graph")
    except (DeviceError, ModelFileError) as error:
        # a build with CUDA on a machine without a GPU, its driver or its libraries
        reason = engine.not_found if isinstance(error, DeviceError) else str(error)
        return f"{NO_PROVIDER}: {reason}" if reason else NO_PROVIDER
    return ""


class OnnxRuntimeEngine:
    """ONNX Runtime: CUDA where there is an NVIDIA GPU, or any CPU."""

    def __init__(
        self,
        device: str,
        *,
        threads: int,
        tensorrt: Path | None = None,
        precision: str = "f32",
    ) -> None:
        """Prepare for a device.

        Args:
            device: "cpu" or "cuda".
            threads: of the CPU.
            tensorrt: where TensorRT keeps what it builds; None to do without it.
            precision: "f32", or "tf32" with `cuda`.

        Raises:
            DeviceError: if TensorRT is wanted and not installed.
        """
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state

        self._runtime = onnxruntime
        # raised by loading and running; Exception is their only common base
        self.errors = (
            *(state.Fail, state.EPFail, state.InvalidArgument, state.InvalidGraph),
            *(state.InvalidProtobuf, state.NotImplemented, state.RuntimeException),
        )
        self.name = f"onnxruntime {onnxruntime.__version__}"
        self.device = device
        self.not_found = ""
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 4  # fatal only: errors are raised as well
        self._providers = ["CPUExecutionProvider"]
        self._provider_options: list[dict[str, str]] = [{}]
        if device == "cuda":
            # the default log repeats the errors raised here on stderr, at length
            onnxruntime.set_default_logger_severity(4)
            # finds CUDA and cuDNN where pip put them; prints what it does not find
            with redirect_stdout(StringIO()) as printed:
                onnxruntime.preload_dlls(directory="")
            self.not_found = printed.getvalue().partition("\n")[0]
            self._providers, self._provider_options = ["CUDAExecutionProvider"], [CUDA_OPTIONS]
        if precision == "tf32":
            self._provider_options = [TF32_OPTIONS]
            self.name += " in tf32"
        self._tensorrt = tensorrt
        if tensorrt:
            self._versions = f"{onnxruntime.__version__}-{_tensorrt_version()}"
            self.name += " with tensorrt"

    def load(self, model: bytes, *, name: str, most_rows: int = 0) -> Network:
        """Compile a serialized ONNX model.

        Raises:
            DeviceError: if CUDA was wanted and the session fell back to the CPU.
        """
        try:
            session = self._open(model, self._providers, self._provider_options)
        except (RuntimeError, ValueError, *self.errors) as error:
            raise ModelFileError(f"onnxruntime cannot load {name}: {first_line(error)}") from error
        if session.get_providers()[0] != self._providers[0]:
            raise DeviceError(f"cannot run on cuda: {NO_PROVIDER}")
        if self._tensorrt and most_rows:
            session = self._build(model, name, most_rows, self._tensorrt)
        elif self.device == "cuda" and has_convolutions(model):
            reopen = partial(self._open, model, self._providers, self._provider_options)
            return ShapedNetwork(session, reopen, self.device)
        return OnnxRuntimeNetwork(session, self.device)

    def _open(self, model: bytes, providers: list[str], options: list[dict[str, str]]) -> Any:
        return self._runtime.InferenceSession(
            model,
            sess_options=self._options,
            providers=providers,
            provider_options=options,
            enable_fallback=False,  # it would print, and go on with the CPU
        )

    def _build(self, model: bytes, name: str, most_rows: int, folder: Path) -> Any:
        """Make TensorRT build the loaded network, or load a cached build.

        A build covers the range of sizes seen so far; a size outside it triggers a new one. So the
        largest and smallest sizes run first, and nothing is built while video runs. TensorRT's
        cache distinguishes neither weights nor versions.

        Source: ONNX Runtime's page on the TensorRT execution provider.
        """
        made = hashlib.sha256(model + self._versions.encode()).hexdigest()[:16]
        options = {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(folder / made),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(folder / made),
        }
        try:
            (folder / made).mkdir(parents=True, exist_ok=True)
            session = self._open(
                model, [TENSORRT, *self._providers], [options, *self._provider_options]
            )
            if session.get_providers()[0] != TENSORRT:
                raise DeviceError(f"cannot run {name} on tensorrt: onnxruntime could not start it")
            (pixels,) = session.get_inputs()
            for rows in (most_rows, 1):
                session.run(None, {pixels.name: np.zeros((rows, *pixels.shape[1:]), np.uint8)})
        except (OSError, RuntimeError, ValueError, *self.errors) as error:
            raise DeviceError(f"cannot run {name} on tensorrt: {first_line(error)}") from error
        return session

    def upload(self, array: Array) -> "OrtTensor":
        """Copy an array to the device."""
        return OrtTensor(self._runtime.OrtValue.ortvalue_from_numpy(array, self.device, 0))


@dataclass(frozen=True, slots=True, eq=False)
class OrtTensor:
    """An array of ONNX Runtime, on its device."""

    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, as numpy's."""
        return tuple(self.value.shape())

    def download(self) -> Array:
        """Return a copy in host memory."""
        return np.asarray(self.value.numpy())


class OnnxRuntimeNetwork:
    """A graph loaded by ONNX Runtime."""

    def __init__(self, session: Any, device: str) -> None:
        self._session = session
        self._device = device
        self._inputs = [each.name for each in session.get_inputs()]
        self._outputs = [each.name for each in session.get_outputs()]

    def __call__(self, *inputs: Tensor) -> list[Array]:
        """Run the graph."""
        if not any(isinstance(each, OrtTensor) for each in inputs):
            feed = dict(zip(self._inputs, inputs, strict=True))
            return [np.asarray(output) for output in self._session.run(None, feed)]
        return [np.asarray(output.numpy()) for output in self._run_bound(inputs, "cpu")]

    def keep(self, *inputs: Tensor) -> list[Tensor]:
        """Run the graph and leave the outputs on the device."""
        return [OrtTensor(output) for output in self._run_bound(inputs, self._device)]

    def _run_bound(self, inputs: Sequence[Tensor], target: str) -> list[Any]:
        binding = self._session.io_binding()
        for name, each in zip(self._inputs, inputs, strict=True):
            if isinstance(each, OrtTensor):
                binding.bind_ortvalue_input(name, each.value)
            else:
                binding.bind_cpu_input(name, each)
        for name in self._outputs:
            binding.bind_output(name, target)
        self._session.run_with_iobinding(binding)
        outputs: list[Any] = binding.get_outputs()
        return outputs


class ShapedNetwork:
    """A graph with convolutions on CUDA: one session for each set of input shapes.

    cuDNN plans belong to a shape, and a session has those of one: fed with another it plans all of
    its convolutions again. That took 60 of the 62 ms that P-Net needed for the levels of a 720p
    frame on an H200.

    Args:
        session: for the first shapes.
        reopen: opens another session of the same graph.
        device: as `OnnxRuntimeNetwork`.
    """

    def __init__(self, session: Any, reopen: Callable[[], Any], device: str) -> None:
        self._first: OnnxRuntimeNetwork | None = OnnxRuntimeNetwork(session, device)
        self._reopen = reopen
        self._device = device
        self._by_shapes: OrderedDict[tuple[tuple[int, ...], ...], OnnxRuntimeNetwork] = (
            OrderedDict()
        )

    def __call__(self, *inputs: Tensor) -> list[Array]:
        """Run the graph."""
        return self._for(inputs)(*inputs)

    def keep(self, *inputs: Tensor) -> list[Tensor]:
        """Run the graph and leave the outputs on the device."""
        return self._for(inputs).keep(*inputs)

    def _for(self, inputs: Sequence[Tensor]) -> OnnxRuntimeNetwork:
        shapes = tuple(each.shape for each in inputs)
        network = self._by_shapes.pop(shapes, None)
        if network is None:
            network = self._first or OnnxRuntimeNetwork(self._reopen(), self._device)
            self._first = None
        self._by_shapes[shapes] = network  # the last is the one used most recently
        if len(self._by_shapes) > MAX_SESSIONS:
            self._by_shapes.popitem(last=False)
        return network


def has_convolutions(model: bytes) -> bool:
    """Return whether a serialized ONNX model has a node that cuDNN plans for a shape."""
    return any(
        node.op_type in ("Conv", "ConvTranspose")
        for node in onnx.load_from_string(model).graph.node
    )


def _tensorrt_version() -> str:
    """Load TensorRT's libraries from where pip put them, and return their version."""
    try:
        return str(importlib.import_module("tensorrt").__version__)
    except (ImportError, OSError) as error:
        raise DeviceError(
            "cannot run on tensorrt: its libraries are missing (pip install 'tensorrt-cu13<11')"
        ) from error
