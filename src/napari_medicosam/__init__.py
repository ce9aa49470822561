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
    from napari_medicosam.ui.factory import session_of as session
    from napari_medicosam.weights.loading import load_model as load_model

try:
    __version__ = version("napari-medicosam")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_HOMES = {
    "MedicoSamError": ("errors", "MedicoSamError"),
    "Volume": ("io.volumes", "Volume"),
    "read_volume": ("io.volumes", "read_volume"),
    "write_labels": ("io.volumes", "write_labels"),
    "save_model": ("models.checkpoints", "save_model"),
    "session": ("ui.factory", "session_of"),
    "load_model": ("weights.loading", "load_model"),
}

__all__ = [
    "MedicoSamError",
    "Volume",
    "__version__",
    "load_model",
    "read_volume",
    "save_model",
    "session",
    "write_labels",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
