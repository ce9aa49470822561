"""What radiologists report of an object: volume, diameters, where it lies, how bright it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medicosam.core.bounds import mask_bounds
from napari_medicosam.core.diameters import diameters
from napari_medicosam.core.geometry import Geometry, SlicePlane
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medicosam.core.bounds import Bounds

_MAX_ID = 65_535
"""Above it ids are numbered anew: `scipy.ndimage.find_objects` makes a list as long as the largest."""


@dataclass(frozen=True, slots=True)
class Intensities:
    """Intensities of an object's voxels as they are in the image; `std` is that of these voxels (n, not n - 1)."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class ObjectMeasurements:
    """One object in numbers. Diameters go from voxel centre to voxel centre, so that of a single voxel is 0.

    Attributes:
        num_voxels: at least 1.
        volume_ml: volume in millilitres (cm3).
        longest_diameter_mm: greatest distance between two voxels (maximum Feret diameter) in 3D.
        largest_slice_diameter_mm: greatest distance between two voxels of one slice, over all slices.
        largest_slice_index: that slice; of equals the first.
        num_slices: slices that hold a part of the object.
        bounds: tight, half-open, in voxels.
        centroid_zyx: mean position in voxels.
        intensities: None when no image was given.
    """

    num_voxels: int
    volume_ml: float
    longest_diameter_mm: float
    largest_slice_diameter_mm: float
    largest_slice_index: int
    num_slices: int
    bounds: Bounds
    centroid_zyx: tuple[float, float, float]
    intensities: Intensities | None = None


def measure_object(
    mask: NDArray[np.bool_],
    spacing_zyx: tuple[float, float, float],
    image: NDArray[Any] | None = None,
    axis: int = 0,
) -> ObjectMeasurements:
    """Measure one object.

    Args:
        mask: bool (z, y, x), not empty; z is 1 for a 2D image.
        spacing_zyx: distance between voxel centres in mm along each axis, as `Geometry.spacing_zyx` gives it. The
            axes are taken to be perpendicular: exact for oblique grids, an approximation for sheared ones.
        image: real numbers of the same shape, or None.
        axis: 0, 1 or 2, the array axis that slices step along.

    Raises:
        InputError: for an empty mask, arrays that do not fit, a wrong axis, or a spacing that is not three sizes
            above 0.
    """
    spacing = _checked(mask.shape, spacing_zyx, image, axis)
    bounds = mask_bounds(mask)
    if bounds is None:
        raise InputError("nothing to measure: the mask is empty")
    return _measure(mask[bounds], bounds, spacing, image, axis)


def measure_label_map(
    labels: NDArray[Any],
    spacing_zyx: tuple[float, float, float],
    image: NDArray[Any] | None = None,
    axis: int = 0,
) -> dict[int, ObjectMeasurements]:
    """Measure every object of a label map; id -> measurements, ordered by id.

    Args:
        labels: integers (z, y, x); 0 is background, every other value an object, whether connected or not.
        spacing_zyx: in mm, as for `measure_object`.
        image: real numbers of the same shape, or None.
        axis: that slices step along.

    Raises:
        InputError: for labels that are negative or no integers, and as `measure_object`; a label map without
            objects is no error.
    """
    if labels.ndim != 3 or labels.dtype.kind not in "ui":
        raise InputError(f"labels must be integers (z, y, x), got {labels.dtype} of shape {labels.shape}")
    spacing = _checked(labels.shape, spacing_zyx, image, axis)
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if lowest < 0:
        raise InputError(f"labels must be 0 (background) or more, got {lowest}")
    ids, numbers = (None, labels) if highest <= _MAX_ID else _numbered_anew(labels)
    measured = {}
    for number, found in enumerate(ndimage.find_objects(numbers), start=1):
        if found is not None:
            z, y, x = found
            object_id = number if ids is None else int(ids[number])
            measured[object_id] = _measure(numbers[found] == number, (z, y, x), spacing, image, axis)
    return measured


def measurements_table(
    measurements: Mapping[int, ObjectMeasurements],
    names: Mapping[int, str] | None = None,
    classes: Mapping[int, str] | None = None,
) -> list[dict[str, Any]]:
    """One flat row an object, all with the same columns, in the order of `measurements`.

    Args:
        measurements: by object id.
        names: of objects, by object id; "" where there is none.
        classes: names of the objects' classes, by object id; "" where there is none.

    Returns:
        Rows of int, float and str, units in the columns' names; first and last slices are both part of the object,
        and intensities are None where no image was given.
    """
    return [
        {
            "object_id": object_id,
            "name": (names or {}).get(object_id, ""),
            "class": (classes or {}).get(object_id, ""),
            **_columns(found),
        }
        for object_id, found in measurements.items()
    ]


def _columns(found: ObjectMeasurements) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "volume_ml": found.volume_ml,
        "longest_diameter_mm": found.longest_diameter_mm,
        "largest_slice_diameter_mm": found.largest_slice_diameter_mm,
        "largest_slice_index": found.largest_slice_index,
        "num_slices": found.num_slices,
        "num_voxels": found.num_voxels,
    }
    for name, inside, centre in zip("zyx", found.bounds, found.centroid_zyx, strict=True):
        columns |= {
            f"first_{name}_voxel": inside.start,
            f"last_{name}_voxel": inside.stop - 1,
            f"centroid_{name}_voxel": centre,
        }
    for name in ("mean", "std", "min", "max"):
        value = None if found.intensities is None else getattr(found.intensities, name)
        columns[f"{name}_intensity"] = value
    return columns


def _checked(
    shape: tuple[int, ...],
    spacing_zyx: tuple[float, float, float],
    image: NDArray[Any] | None,
    axis: int,
) -> tuple[float, float, float]:
    SlicePlane(axis, 0)
    if image is not None and image.shape != shape:
        raise InputError(f"an image to measure in must have the mask's shape {shape}, got {image.shape}")
    return Geometry.from_spacing((1, 1, 1), spacing_zyx).spacing_zyx


def _numbered_anew(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Ids by number (0 first), and the label map in numbers."""
    ids = np.union1d(labels, [0]).astype(labels.dtype)
    renumbered = np.empty(labels.shape, dtype=np.int32)
    for before, after in zip(labels, renumbered, strict=True):
        after[...] = np.searchsorted(ids, before)
    return ids, renumbered


def _measure(
    part: NDArray[np.bool_],
    bounds: Bounds,
    spacing: tuple[float, float, float],
    image: NDArray[Any] | None,
    axis: int,
) -> ObjectMeasurements:
    """Of an object given within its tight bounds."""
    in_lines = np.count_nonzero(part, axis=2)
    counts = in_lines.sum(axis=1), in_lines.sum(axis=0), np.count_nonzero(part, axis=(0, 1))
    num_voxels = int(counts[0].sum())
    z, y, x = (
        float(np.dot(count, np.arange(count.size))) / num_voxels + inside.start
        for count, inside in zip(counts, bounds, strict=True)
    )
    longest, in_slice, index = diameters(part, np.asarray(spacing), axis)
    return ObjectMeasurements(
        num_voxels=num_voxels,
        volume_ml=num_voxels * float(np.prod(spacing)) / 1000,
        longest_diameter_mm=longest,
        largest_slice_diameter_mm=in_slice,
        largest_slice_index=index + bounds[axis].start,
        num_slices=int(np.count_nonzero(counts[axis])),
        bounds=bounds,
        centroid_zyx=(z, y, x),
        intensities=None if image is None else _intensities(np.asarray(image[bounds])[part]),
    )


def _intensities(values: NDArray[Any]) -> Intensities:
    return Intensities(
        mean=float(values.mean(dtype=np.float64)),
        std=float(values.std(dtype=np.float64)),
        min=float(values.min()),
        max=float(values.max()),
    )
