"""Which runtime encodes for a model, and the graphs that were exported for it.

A graph lies in the cache folder under a digest of the weights and of all else that decides about it. It is written
beside and moved, and read only when its files still have the digests that they were written with.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.replacing import replace_folder
from napari_medicosam.models.encoder_runtimes import (
    EagerRuntime,
    FallbackRuntime,
    HalfRuntime,
    log_failure,
    torch_runtime,
)
from napari_medicosam.models.graph_process import export_in_process
from napari_medicosam.models.openvino_runtime import (
    OpenVINORuntime,
    QuantisedRuntime,
    export_graph,
    has_openvino,
)
from napari_medicosam.weights.fetch import cache_folder
from napari_medicosam.weights.quantised import read_quantised

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medicosam.models.encoder_runtimes import EncoderRuntime
    from napari_medicosam.weights.loading import LoadedModel

RUNTIME_VARIABLE = "NAPARI_MEDICOSAM_RUNTIME"

RUNTIMES = ("auto", "torch", "openvino", "openvino-int8", "torch-half", "eager")
"""What may be asked for."""

OPENVINO_ENCODERS = ("tiny_vit",)
"""Kinds of encoders (`ModelSpec.encoder`) for which it was measured to be no slower than torch: docs/performance.md."""

_GRAPH_VERSION = 1
"""Of how graphs are exported and stored."""

_DIGESTS = "digests.json"


def open_runtime(
    model: LoadedModel, name: str | None = None, watch: Callable[[], None] | None = None
) -> EncoderRuntime:
    """What encodes for a model.

    Args:
        model: from `load_weights`; its weights stay as they are.
        name: one of `RUNTIMES`; None takes `NAPARI_MEDICOSAM_RUNTIME`, else "auto". "auto" is OpenVINO on the CPU where
            it is installed and was measured (`OPENVINO_ENCODERS`), else torch; one that fails is replaced by the next,
            with a line in the log.
        watch: given where a window must not stand still: a graph that is not there yet is exported by another process,
            and this is called meanwhile. It raises when nobody wants the runtime any more, and does so again when it is
            called again; that goes through.

    Raises:
        InputError: for another name, or a runtime asked for by name that cannot be had here.
    """
    wanted = check_runtime(name or os.environ.get(RUNTIME_VARIABLE, "").strip() or "auto")
    encoder = model.sam.image_encoder
    if wanted == "eager":
        return EagerRuntime(encoder)
    if wanted == "torch-half":
        return HalfRuntime(encoder)
    if wanted == "torch":
        return torch_runtime(encoder)
    is_cpu = model.sam.device.type == "cpu"
    if wanted.startswith("openvino"):
        if not has_openvino():
            raise InputError(
                f"the runtime {wanted} is not installed: pip install 'napari-medicosam[openvino]', or take torch"
            )
        if not is_cpu:
            raise InputError(f"the runtime {wanted} is for the CPU, got a model on {model.sam.device.type}")
        try:
            return _openvino_int8(model) if wanted == "openvino-int8" else _openvino(model, watch)
        except Exception as error:
            _look(watch)
            raise InputError(f"the runtime {wanted} cannot run {model.name}: {error}") from error
    if is_cpu and model.spec.encoder in OPENVINO_ENCODERS and has_openvino():
        try:
            return FallbackRuntime(_openvino(model, watch), lambda: torch_runtime(encoder))
        except Exception as error:  # of OpenVINO, of tracing, of the disk, of another process
            _look(watch)
            log_failure("openvino", _cause(error), "torch")
    return torch_runtime(encoder)


def check_runtime(name: str) -> str:
    """The name; `InputError` when it is none of `RUNTIMES`."""
    if name not in RUNTIMES:
        raise InputError(f"unknown encoder runtime {name!r}: wanted one of {', '.join(RUNTIMES)}")
    return name


def graphs_folder() -> Path:
    """Where exported graphs lie; it need not exist."""
    return cache_folder() / "graphs"


def _openvino(model: LoadedModel, watch: Callable[[], None] | None) -> EncoderRuntime:
    folder = graphs_folder() / _graph_name(model)
    if not _is_whole(folder):
        for new in (folder.parent.parent, folder.parent):  # readable by the user only
            new.mkdir(mode=0o700, parents=True, exist_ok=True)

        def write(beside: Path) -> None:
            beside.chmod(0o700)
            if watch is None:
                export_graph(model.sam.image_encoder, model.spec.model_size, beside)
            else:
                export_in_process(model.sam, beside, watch)
            (beside / _DIGESTS).write_text(json.dumps(_digests(beside)), encoding="ascii")

        replace_folder(folder, ".graph", write, _verify, overwrite=True)
    return OpenVINORuntime(folder)


def _look(watch: Callable[[], None] | None) -> None:
    """What was called off has not failed."""
    if watch is not None:
        watch()


def _cause(error: Exception) -> Exception:
    """What went wrong while a graph was written, whatever it was, has become a `FileError`."""
    return error.__cause__ if isinstance(error.__cause__, Exception) else error


def _openvino_int8(model: LoadedModel) -> EncoderRuntime:
    packed = read_quantised(model.weights_sha256)
    if packed is None:
        raise InputError("there is no int8 encoder made from its weights; take openvino")
    return QuantisedRuntime(packed)


def _graph_name(model: LoadedModel) -> str:
    record = {
        "version": _GRAPH_VERSION,
        "openvino": importlib.metadata.version("openvino"),
        "spec": model.spec.as_record(),
        "weights_sha256": model.weights_sha256.lower(),
    }
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()


def _verify(folder: Path) -> None:
    if not _is_whole(folder):
        raise FileError(f"{folder} reads back otherwise than it was written")


def _is_whole(folder: Path) -> bool:
    try:
        written = json.loads((folder / _DIGESTS).read_text(encoding="ascii"))
        return bool(written and written == _digests(folder))
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("encoder.*")):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "blake2b").hexdigest()
    return found
