"""napari's File > Save Selected Layer: one labels layer, on the grid of the image that it was drawn on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import InputError
from napari_medicosam.io.records import MM_PER_UNIT, FileHeader, VolumeRecord, record_of
from napari_medicosam.io.volumes import write_labels

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
        meta: the layer's attributes. `meta["metadata"]["medicosam"]["record"]` gives the geometry and file header;
            without it the spacing is `meta["scale"]` in `meta["units"]` (millimetres when those are pixels).
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
    record = record_of(meta.get("metadata")) or _record_of_layer(labels, meta)
    write_labels(path, labels[None] if labels.ndim == 2 else labels, record, overwrite=True, classes=names)
    return [path]


def _record_of_layer(labels: NDArray[Any], meta: Mapping[str, Any]) -> VolumeRecord:
    """The grid of a layer that no file of ours stands behind: its scale, nothing else."""
    is_2d = labels.ndim == 2
    shape = (1, *labels.shape)[-3:]
    scale = np.ones(labels.ndim) if meta.get("scale") is None else np.asarray(meta["scale"], dtype=np.float64)
    units = meta.get("units")
    names = [str(unit) for unit in units] if isinstance(units, (list, tuple)) else [str(units)] * labels.ndim
    is_length = all(name in MM_PER_UNIT for name in names[-3:])
    if is_length and len(names) == len(scale):
        scale = scale * [MM_PER_UNIT.get(name, 1.0) for name in names]  # that of time is no length
    spacing = (1.0, *scale.tolist())[-3:]
    z, y, x = (int(n) for n in shape)
    header = FileHeader(unit="mm" if is_length else None)
    return VolumeRecord(Geometry.from_spacing((z, y, x), spacing), is_2d=is_2d, header=header)
