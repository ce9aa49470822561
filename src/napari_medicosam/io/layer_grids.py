"""Where a layer lies: what napari is told of a file's grid, and what it says of a layer without a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.layer_frame import as_sliced, scaled_to_frame, scaled_to_own, scaled_to_world

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medicosam.io.records import VolumeRecord

_NO_TURN = 1e-12
"""Of a step of a voxel."""


def grid_arguments(record: VolumeRecord, ndim: int) -> dict[str, Any]:
    """Keyword arguments of a napari layer: its spacing as scale, and what is left of its place as affine.

    So `scale` is the spacing whichever way axes run, and `translate` is free for who moves a layer. A file that does
    not say how the patient lies is placed along its array axes: OME-Zarr at its own position, others at 0.

    Args:
        record: of the file.
        ndim: axes of the layer without colours: (y, x), (z, y, x) or (t, z, y, x); a time point is 1 long.

    Returns:
        `scale` (ndim numbers); `affine` ((ndim + 1) x (ndim + 1) floats) or `translate` where there is one; `units`
        where the file has them; `axis_labels` of an oriented volume: its sliders are called after the slices.
    """
    spacing, at = record.geometry.spacing_zyx, record.geometry.affine_ras[2::-1, 3].tolist()
    arguments: dict[str, Any] = {"scale": (1.0, *spacing)[-ndim:]}
    if record.is_oriented:
        arguments["affine"] = opened_affine(record, ndim)
        if ndim > 2:
            planes = [record.geometry.plane_name(axis) for axis in range(3)]
            arguments["axis_labels"] = ("time", *planes)[-ndim:]
    elif record.header.format == "ome-zarr":
        arguments["translate"] = (0.0, *at)[-ndim:]
    if record.header.unit is not None:
        arguments["units"] = ("pixel", *[record.header.unit] * 3)[-ndim:]
    return arguments


def opened_affine(record: VolumeRecord, ndim: int) -> NDArray[np.float64]:
    """(ndim + 1) x (ndim + 1) affine of an oriented layer as readers give it: in the patient's world, turn and all.

    Along its own axes lies a 2D image, for which two axes of the world are too few, and what would be seen from the
    side, so that a viewer could not show its slices.
    """
    matrix = scaled_to_frame(record.geometry)
    is_turned = ndim > 2 and has_slices(matrix)
    return widened(matrix if is_turned else scaled_to_own(record.geometry), ndim)


def own_affine(record: VolumeRecord, ndim: int) -> NDArray[np.float64]:
    """(ndim + 1) x (ndim + 1) affine of an oriented layer that lies along its own axes."""
    return widened(scaled_to_own(record.geometry), ndim)


def world_affine(record: VolumeRecord, ndim: int) -> NDArray[np.float64]:
    """(ndim + 1) x (ndim + 1) affine of an oriented layer that lies in the patient's world (head, back, left)."""
    return widened(scaled_to_world(record.geometry), ndim)


def layer_place(meta: Mapping[str, Any], ndim: int) -> NDArray[np.float64]:
    """4 x 4 matrix from voxel indices (z, y, x, 1) of any layer to its world, in the layer's units.

    Args:
        meta: `scale`, `rotate`, `shear`, `translate` and `affine`, as `Layer.as_layer_data_tuple` gives them; what is
            not there changes nothing.
        ndim: axes of the layer where it has no scale: (y, x), (z, y, x), or (t, z, y, x), of which space counts.
    """
    scale = np.ones(ndim) if meta.get("scale") is None else np.asarray(meta["scale"], dtype=np.float64)
    ndim = len(scale)
    shear = np.eye(ndim) if meta.get("shear") is None else np.asarray(meta["shear"], dtype=np.float64)
    if shear.ndim == 1:  # what is above the diagonal, row by row
        above, shear = shear, np.eye(ndim)
        shear[np.triu_indices(ndim, 1)] = above
    rotate = np.eye(ndim) if meta.get("rotate") is None else np.asarray(meta["rotate"], dtype=np.float64)
    own, affine = np.eye(ndim + 1), meta.get("affine")
    own[:ndim, :ndim] = rotate @ shear @ np.diag(scale)
    own[:ndim, ndim] = 0.0 if meta.get("translate") is None else meta["translate"]
    if affine is not None:
        own = np.asarray(affine, dtype=np.float64) @ own
    num_axes = min(ndim, 3)
    place = np.eye(4)
    place[3 - num_axes :, 3 - num_axes :] = own[-num_axes - 1 :, -num_axes - 1 :]
    # A turn by a right angle leaves digits that turn nothing.
    steps = place[:3, :3]
    steps[np.abs(steps) < _NO_TURN * np.linalg.norm(steps, axis=0)] = 0.0
    return place


def has_slices(place: NDArray[np.float64]) -> bool:
    """True when a viewer can show slices along all three axes of a volume that lies at `place` (4 x 4 or larger)."""
    axes = range(len(place) - 4, len(place) - 1)
    return all(as_sliced(place, [one for one in axes if one != axis]) is not None for axis in axes)


def widened(matrix: NDArray[np.float64], ndim: int) -> NDArray[np.float64]:
    """A 4 x 4 matrix of (z, y, x, 1) for layers of other axes: (t, z, y, x), or the (y, x) of a 2D image."""
    wide = np.eye(5)
    wide[1:, 1:] = matrix
    return wide[4 - ndim :, 4 - ndim :]
