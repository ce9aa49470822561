"""Segment medical images by hand in napari, with SAM models finetuned for corrections.

Importing this package loads neither torch nor Qt nor zarr: the public names below are looked up on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_medicosam.errors import MedicoSamError as MedicoSamError
    from napari_medicosam.io.volumes import Volume as Volume
    from napari_medicosam.io.volumes import read_volume as read_volume
    from napari_medicosam.io.volumes import write_labels as write_labels
    from napari_medicosam.models.checkpoints import save_model as save_model
    from napari_medicosam.ui.factory import series as series
    from napari_medicosam.ui.factory import session as session
    from napari_medicosam.weights.loading import load_model as load_model

try:
    __version__ = version("napari-medicosam")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOMES = {
    "MedicoSamError": "errors",
    "Volume": "io.volumes",
    "read_volume": "io.volumes",
    "write_labels": "io.volumes",
    "save_model": "models.checkpoints",
    "series": "ui.factory",
    "session": "ui.factory",
    "load_model": "weights.loading",
}

_NEEDS_TORCH = ("save_model", "load_model")

__all__ = [
    "MedicoSamError",
    "Volume",
    "__version__",
    "load_model",
    "read_volume",
    "save_model",
    "series",
    "session",
    "write_labels",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _NEEDS_TORCH:  # the console of an open napari is no place to crash in: see ui/torch_import.py
        import_module(f"{__name__}.ui.torch_import").import_torch()
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
