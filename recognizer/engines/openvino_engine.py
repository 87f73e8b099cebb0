"""ONNX graphs by OpenVINO, on the CPU."""

from collections.abc import Callable
from typing import Any

import numpy as np

from recognizer.engines.engine import Array, Tensor, first_line
from recognizer.errors import DeviceError, ModelFileError


class OpenVinoEngine:
    """OpenVINO on the CPU: about twice as fast there as ONNX Runtime."""

    def __init__(self, *, threads: int, precision: str = "f32") -> None:
        import openvino

        self.name = f"openvino {openvino.__version__.partition('-')[0]}"
        self.device = "cpu"
        self._core = openvino.Core()
        self._tensor = openvino.Tensor
        if precision == "bf16":
            if "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
                raise DeviceError("this CPU cannot calculate in bf16: leave the precision at f32")
            self.name += " in bf16"
        self._properties = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            # pinned threads of two processes share a core while another idles
            "ENABLE_CPU_PINNING": False,
        }

    def load(self, model: bytes, *, name: str, most_rows: int = 0) -> "OpenVinoNetwork":
        """Compile a serialized ONNX model."""
        try:
            compiled = self._core.compile_model(
                self._core.read_model(model), "CPU", self._properties
            )
        except UnicodeDecodeError as error:  # of its own message about a damaged name
            raise ModelFileError(f"openvino cannot load {name}: it is damaged") from error
        except RuntimeError as error:
            raise ModelFileError(f"openvino cannot load {name}: {first_line(error)}") from error
        return OpenVinoNetwork(compiled, self._tensor)

    def upload(self, array: Array) -> Array:
        """Return the array: the CPU reads it where it is."""
        return array


class OpenVinoNetwork:
    """A graph compiled by OpenVINO."""

    def __init__(self, compiled: Any, as_tensor: Callable[..., Any]) -> None:
        self._request = compiled.create_infer_request()
        self._as_tensor = as_tensor
        self._n_outputs = len(compiled.outputs)

    def __call__(self, *inputs: Tensor) -> list[Array]:
        """Run the graph."""
        # set one by one: what `infer` does to share its arguments takes as long as a small network
        arrays = [np.asarray(value, order="C") for value in inputs]  # kept until the run is over
        for number, array in enumerate(arrays):
            tensor = self._as_tensor(array, shared_memory=array.flags.writeable)  # else copied
            self._request.set_input_tensor(number, tensor)
        self._request.infer(share_outputs=True)
        return [self._request.get_output_tensor(i).data for i in range(self._n_outputs)]

    def keep(self, *inputs: Tensor) -> list[Tensor]:
        """Run the graph; the next run does not overwrite these outputs."""
        return [output.copy() for output in self(*inputs)]
