"""The model of a process, and what encodes for it: made for the first image, there for the next."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.registry import is_checkpoint_path

if TYPE_CHECKING:
    from napari_medicosam.models.encoder_runtimes import EncoderRuntime
    from napari_medicosam.weights.fetch import ProgressCallback
    from napari_medicosam.weights.loading import LoadedModel

_lock = threading.Lock()
_kept: list[tuple[Any, LoadedModel]] = []
_runtimes: list[tuple[Any, EncoderRuntime]] = []
"""At most one each: models are large."""


def load_once(name: str, device: str | None, progress: ProgressCallback | None = None) -> LoadedModel:
    """`load_weights`, or the model that it gave last time, as long as the entry, or the file, is what it was then."""
    from napari_medicosam.weights.loading import load_weights, resolve_device

    with _lock:
        key = (_identity(name), str(resolve_device(device)))
        if not _kept or _kept[0][0] != key:
            _runtimes.clear()  # it holds weights of the old model, too
            _kept.clear()  # before the next one is loaded: two may not fit
            _kept.append((key, load_weights(name, device, progress)))
        return _kept[0][1]


def runtime_once(model: LoadedModel, name: str | None) -> EncoderRuntime:
    """`open_runtime`, or what it gave last time for the same model, name and number of threads.

    To open one may mean to compile a graph, which takes longer than encoding a picture.
    """
    import torch

    from napari_medicosam.predict.runtimes import RUNTIME_VARIABLE, open_runtime

    with _lock:
        key = (model, name or os.environ.get(RUNTIME_VARIABLE), torch.get_num_threads())
        if not _runtimes or _runtimes[0][0] != key:
            _runtimes.clear()
            _runtimes.append((key, open_runtime(model, name)))
        return _runtimes[0][1]


def _identity(name: str) -> object:
    """What changes when other weights are meant; None, which equals no entry, for a file that is not there."""
    if not is_checkpoint_path(name):
        return find_entry(name)
    path = Path(name).expanduser()
    if not path.is_file():
        return None  # `load_weights` says so
    status = path.stat()
    return path.resolve(), status.st_size, status.st_mtime_ns
