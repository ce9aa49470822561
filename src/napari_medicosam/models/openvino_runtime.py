"""Image encoders run by OpenVINO on processors: an optional package, faster than torch where the machine is busy.

OpenVINO reports its use to its makers when it is imported. Here nothing uses a network unasked, so that part of it is
kept from loading.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import threading
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor, nn

    from napari_medicosam.models.encoder_runtimes import Precision

GRAPH_FILE, GRAPH_WEIGHTS = "encoder.xml", "encoder.bin"
"""Of an exported encoder."""

_TELEMETRY = "openvino_telemetry"


def has_openvino() -> bool:
    """Whether it is installed; it is not imported for that."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> ModuleType:
    """The package, without its telemetry; `ImportError` when it is not installed or does not load."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # None: importing it fails
    return importlib.import_module("openvino")


def export_graph(encoder: nn.Module, model_size: int, folder: Path) -> None:
    """Write an encoder into an existing folder, as a graph for one image (1, 3, model_size, model_size), float32.

    Raises whatever torch and OpenVINO raise.
    """
    openvino = import_openvino()
    shape = (1, 3, model_size, model_size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing: sizes are fixed, and meant to be
        graph = openvino.convert_model(encoder, example_input=torch.zeros(shape), input=list(shape))
    openvino.save_model(graph, folder / GRAPH_FILE, compress_to_fp16=False)


class OpenVINORuntime:
    """An exported encoder, in float32 on the CPU, with as many threads as torch has.

    Args:
        folder: of `export_graph`. Its files are not needed any more once this is made.

    Raises whatever OpenVINO raises.
    """

    name = "openvino"
    precision: Precision = "float32"

    def __init__(self, folder: Path) -> None:
        self._compile(folder / GRAPH_FILE)

    def _compile(self, graph: Any) -> None:
        """Take a path or a graph in memory."""
        compiled = import_openvino().compile_model(
            graph,
            "CPU",
            {
                # without a word it takes bfloat16 where the processor has it
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
                "ENABLE_MMAP": False,
            },
        )
        self._request: Any = compiled.create_infer_request()
        self._lock = threading.Lock()

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """See `EncoderRuntime`."""
        with self._lock:
            found = [self._run(image_1CHW) for image_1CHW in image_BCHW.split(1)]
        return torch.cat(found)

    def _run(self, image_1CHW: Tensor) -> Tensor:
        outputs = self._request.infer({0: image_1CHW.cpu().numpy()}, share_inputs=True)
        return torch.from_numpy(outputs[0].copy())


class QuantisedRuntime(OpenVINORuntime):
    """An encoder whose products are of 8-bit integers, those of its first layers excepted.

    Args:
        packed: a zip of `GRAPH_FILE` and `GRAPH_WEIGHTS`, made by tools/quantise_encoder.py.

    Raises whatever zipfile and OpenVINO raise.
    """

    name = "openvino-int8"
    precision: Precision = "int8"

    def __init__(self, packed: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(packed)) as files:
            graph, weights = files.read(GRAPH_FILE), files.read(GRAPH_WEIGHTS)
        self._compile(import_openvino().Core().read_model(graph, weights))
