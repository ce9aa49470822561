"""napari's File > Save Selected Layer: one labels layer, on the grid of the image that it was drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import InputError
from napari_medicosam.io.layer_grids import layer_place
from napari_medicosam.io.records import MM_PER_UNIT, FileHeader, VolumeRecord, record_of
from napari_medicosam.io.volumes import holds_places, write_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def write_labels_layer(
    path: str, data: Any, meta: Mapping[str, Any], names: Mapping[int, str] | None = None
) -> list[str]:
    """npe2 writer of one labels layer; an old file is replaced, napari's dialog has asked.

    Args:
        path: .nii.gz, .nii, .nrrd, .mha, .tif, .tiff, (2D) .png, .zarr, or .dcm of an image from DICOM (see
            `write_labels`).
        data: labels (z, y, x) or (y, x), any array that NumPy can read; of a multiscale layer the finest level. To
            .nii.gz, .nii and .zarr also volumes over time (t, z, y, x).
        meta: the layer's attributes, as `Layer.as_layer_data_tuple` gives them.
            `meta["metadata"]["medicosam"]["record"]` gives the geometry and file header; without it labels get the
            layer's own place in `meta["units"]` (millimetres when those are pixels); TIFF and PNG, which hold none,
            its spacing.
        names: what labels are called, for .dcm; other formats hold numbers only.

    Returns:
        The path that was written.

    Raises:
        InputError, FileError: see `write_labels`; InputError also for a layer of another number of axes.
    """
    labels = np.asarray(data[0] if meta.get("multiscale") or isinstance(data, (list, tuple)) else data)
    if labels.ndim not in (2, 3, 4):
        raise InputError(
            f"only 2D and 3D labels and volumes over time can be saved, got shape {labels.shape}"
        )
    record = record_of(meta.get("metadata")) or _record_of_layer(labels, meta, is_placed=holds_places(path))
    write_labels(path, labels[None] if labels.ndim == 2 else labels, record, overwrite=True, classes=names)
    return [path]


def _record_of_layer(labels: NDArray[Any], meta: Mapping[str, Any], *, is_placed: bool) -> VolumeRecord:
    """The grid of a layer that no file of ours stands behind: its place, or only its spacing.

    The world's axes, backwards, are taken for right, front and head, as those of files that do not say.
    """
    z, y, x = (int(n) for n in (1, *labels.shape)[-3:])
    place, num_axes = layer_place(meta, labels.ndim), min(labels.ndim, 3)
    units = meta.get("units")
    names = [str(unit) for unit in units] if isinstance(units, (list, tuple)) else [str(units)] * num_axes
    is_length = all(name in MM_PER_UNIT for name in names[-num_axes:])  # that of time is none
    if is_length:
        place[3 - num_axes : 3] *= [[MM_PER_UNIT[name]] for name in names[-num_axes:]]
    geometry = Geometry.of_place((z, y, x), place)
    straight = Geometry.from_spacing((z, y, x), geometry.spacing_zyx)
    is_turned = is_placed and not np.allclose(geometry.affine_ras[:, :3], straight.affine_ras[:, :3], atol=0)
    header = FileHeader(unit="mm" if is_length else None, is_oriented=is_turned)
    return VolumeRecord(geometry if is_placed else straight, is_2d=labels.ndim == 2, header=header)
