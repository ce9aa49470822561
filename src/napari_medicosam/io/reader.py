"""napari's File > Open: the formats of `volumes`, with the geometry kept in the layer's metadata."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.dicom import (
    DICOM_SUFFIXES,
    find_dicom,
    is_dicom,
    is_segmentation,
    times_of,
    volume_of,
)
from napari_medicosam.io.layer_grids import grid_arguments
from napari_medicosam.io.nifti_pairs import PAIR_SUFFIXES, is_pair
from napari_medicosam.io.ome_zarr_layers import read_ome_zarr_layers
from napari_medicosam.io.ome_zarr_paths import holds_image, is_ome_zarr
from napari_medicosam.io.over_time import TIME_SUFFIXES, read_over_time
from napari_medicosam.io.records import METADATA_KEY, DicomSource
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

    A list of paths (files to be opened as one stack) is ours when all are DICOM, and is left to others otherwise. So is
    a folder that is neither OME-Zarr nor has DICOM files in it.
    """
    if isinstance(path, list):
        return read_dicom_layers if path and all(is_dicom(Path(one)) for one in path) else None
    if is_ome_zarr(path):
        return read_ome_zarr_layers if holds_image(path) else None
    suffix = suffix_of(path)
    is_unsure = suffix in (None, *PAIR_SUFFIXES)  # other programs have such names, too
    if suffix in DICOM_SUFFIXES or (is_unsure and is_dicom(Path(path))):
        return read_dicom_layers
    if is_unsure and not (suffix and is_pair(Path(path))):
        return None
    return read_layers


def read_layers(path: str | list[str]) -> list[tuple[Any, dict[str, Any], str]]:
    """Read one file as one layer: [(array, keyword arguments, "image" or "labels")].

    2D images give (y, x[, 3]), volumes (z, y, x[, 3]), volumes over time (t, z, y, x). Grey images are shown in the
    window that `auto` segments them in. A file is a label map when its name has label, labels, seg, segmentation or
    mask as a word of its own ("ct_seg.nii.gz", "liver-mask.png", not "unmasked.nii") *and* it holds non-negative
    integers, one a voxel; it is an image otherwise.

    Raises:
        FileError: for a file that cannot be read; napari shows it as a notification.
    """
    one_path = path[0] if isinstance(path, list) else path
    if one_path.lower().endswith(TIME_SUFFIXES):
        volumes = read_over_time(one_path)
        is_labels = _is_hinted(one_path) and all(_are_labels(volume) for volume in volumes)
        return [_layer(volumes, layer_name(one_path), "labels" if is_labels else "image")]
    volume, layer_type = read_image_or_labels(one_path)
    return [_layer([volume], layer_name(one_path), layer_type)]


def read_dicom_layers(path: str | list[str]) -> list[tuple[Any, dict[str, Any], str]]:
    """Read DICOM files and folders: a layer for each volume and each single image, named after file or folder.

    A segmentation is a layer of labels. Volumes at one place (time points, echoes, b-values) are one layer
    (t, z, y, x). Grey images are shown in the window that the file asks for, and MONOCHROME1 with low values bright.

    Raises:
        FileError: when nothing can be read. What cannot be read beside other images, or is no image, is warned about.
    """
    paths = [path] if isinstance(path, str) else path
    if len(paths) == 1 and is_segmentation(Path(paths[0])):
        return [_layer([read_volume(paths[0])], layer_name(paths[0]), "labels")]
    found = find_dicom([Path(one) for one in paths])
    series = times_of(found.stacks)
    name = layer_name(paths[0] if len(paths) == 1 else Path(paths[0]).parent)
    layers, problems = [], []
    for number, stacks in enumerate(series, start=1):
        about = stacks[0].frames[0].file
        title = f"{name} {number}: {about.description or about.modality or 'image'}"
        try:
            volumes = [volume_of(stack) for stack in stacks]
            layers.append(_layer(volumes, name if len(series) == 1 else title, "image"))
        except FileError as error:
            problems.append(str(error))
    if not layers:
        raise FileError("\n".join(problems))
    if found.skipped:
        problems.append(f"{', '.join(found.skipped)} in {paths[0]} are no images")
    for problem in problems:
        warnings.warn(f"left out: {problem}", stacklevel=2)
    return layers


def _layer(volumes: list[Volume], name: str, layer_type: str) -> tuple[Any, dict[str, Any], str]:
    """One layer of a volume, or of several in time that lie on one grid."""
    volume = volumes[0]
    header = volume.header
    if len(volumes) > 1:
        array = np.stack([one.array for one in volumes])
    else:
        array = volume.array[0] if volume.is_2d else volume.array
    metadata: dict[str, Any] = {"record": volume.record}
    if header.modality is not None:
        metadata["modality"] = header.modality
    arguments: dict[str, Any] = {"name": name, "metadata": {METADATA_KEY: metadata}}
    arguments |= grid_arguments(volume.record, array.ndim - volume.is_rgb)
    if layer_type == "image":
        arguments["rgb"] = volume.is_rgb
        if not volume.is_rgb:
            arguments.update(_shown(volume))
    return array, arguments, layer_type


def _shown(volume: Volume) -> dict[str, Any]:
    """How the layer of a grey image looks at first: in the file's own window, else in the one of `auto`."""
    header = volume.header
    arguments: dict[str, Any] = {}
    if isinstance(header.native, DicomSource) and header.native.is_inverted:
        arguments["colormap"] = "gray_r"
    if header.window is not None:
        centre, width = header.window
        arguments["contrast_limits"] = (centre - width / 2, centre + width / 2)
    elif volume.array.dtype != "uint8":
        with suppress(InputError):  # no contrast at all: napari finds limits of its own
            shown = resolve_intensity("auto", volume.array)
            arguments["contrast_limits"] = (shown.low, shown.high)
    return arguments


def layer_name(path: str | PathLike[str]) -> str:
    """The file name without its known ending: "scan" for "scan.nii.gz"."""
    name = re.split(r"[\\/]", str(path))[-1]
    return name[: -len(suffix_of(path) or "")] or name


def read_image_or_labels(path: str) -> tuple[Volume, Literal["image", "labels"]]:
    """A file and what it is: see `read_layers`; a DICOM segmentation is labels, too.

    Raises:
        FileError: as `read_volume`.
    """
    if is_segmentation(Path(path)):
        return read_volume(path), "labels"
    is_hinted = _is_hinted(path)
    volume = read_volume(path, palette_indices=is_hinted)
    return volume, "labels" if is_hinted and _are_labels(volume) else "image"


def _is_hinted(path: str) -> bool:
    return bool(_LABEL_NAME.search(layer_name(path))) and suffix_of(path) not in _NEVER_LABELS


def _are_labels(volume: Volume) -> bool:
    return not volume.is_rgb and volume.array.dtype.kind in "ui" and bool(np.asarray(volume.array).min() >= 0)
