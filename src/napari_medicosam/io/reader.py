"""napari's File > Open: the formats of `volumes`, with the geometry kept in the layer's metadata."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.errors import InputError
from napari_medicosam.io.records import METADATA_KEY
from napari_medicosam.io.volumes import Volume, read_volume, suffix_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

_LABEL_NAME = re.compile(r"(?<![a-z])(labels?|seg|segmentations?|masks?)(?![a-z])", re.IGNORECASE)
_NEVER_LABELS = (".jpg", ".jpeg")


def get_reader(
    path: str | list[str],
) -> Callable[[str | list[str]], list[tuple[Any, dict[str, Any], str]]] | None:
    """npe2 reader: a function that reads `path` into layer tuples, None when it is not ours.

    A list of paths (files to be opened as one stack) is left to others.
    """
    return None if isinstance(path, list) or suffix_of(path) is None else read_layers


def read_layers(path: str | list[str]) -> list[tuple[Any, dict[str, Any], str]]:
    """Read one file as one layer: [(array, keyword arguments, "image" or "labels")].

    2D images give (y, x[, 3]), volumes (z, y, x[, 3]). Grey images are shown in the window that `auto` segments them
    in. A file is a label map when its name has label, labels, seg,
    segmentation or mask as a word of its own ("ct_seg.nii.gz", "liver-mask.png", not "unmasked.nii") *and* it holds
    non-negative integers, one a voxel; it is an image otherwise.

    Raises:
        FileError: for a file that cannot be read; napari shows it as a notification.
    """
    one_path = path[0] if isinstance(path, list) else path
    volume, layer_type = _read(one_path)
    array = volume.array[0] if volume.is_2d else volume.array
    scale = volume.geometry.spacing_zyx[1:] if volume.is_2d else volume.geometry.spacing_zyx
    arguments: dict[str, Any] = {
        "name": layer_name(one_path),
        "scale": scale,
        "metadata": {METADATA_KEY: {"record": volume.record}},
    }
    if layer_type == "image":
        arguments["rgb"] = volume.is_rgb
        if not volume.is_rgb and array.dtype != "uint8":
            with suppress(InputError):  # no contrast at all: napari finds limits of its own
                shown = resolve_intensity("auto", volume.array)
                arguments["contrast_limits"] = (shown.low, shown.high)
    if volume.header.unit is not None:
        arguments["units"] = (volume.header.unit,) * len(scale)
    return [(array, arguments, layer_type)]


def layer_name(path: str | PathLike[str]) -> str:
    """The file name without its known ending: "scan" for "scan.nii.gz"."""
    name = re.split(r"[\\/]", str(path))[-1]
    return name[: -len(suffix_of(path) or "")] or name


def _read(path: str) -> tuple[Volume, str]:
    is_hinted = bool(_LABEL_NAME.search(layer_name(path))) and suffix_of(path) not in _NEVER_LABELS
    volume = read_volume(path, palette_indices=is_hinted)
    is_labels = (
        is_hinted and not volume.is_rgb and volume.array.dtype.kind in "ui" and volume.array.min() >= 0
    )
    return volume, "labels" if is_labels else "image"
