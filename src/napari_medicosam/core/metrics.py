"""How well two masks agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|) of two boolean arrays of one shape; 1.0 when both are empty."""
    intersection, total = _overlap(mask, truth)
    return 2.0 * intersection / total if total else 1.0


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two boolean arrays of one shape; 1.0 when both are empty."""
    intersection, total = _overlap(mask, truth)
    return intersection / (total - intersection) if total else 1.0


def surface_distance(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_yx: Sequence[float] = (1.0, 1.0)
) -> float:
    """Average symmetric surface distance (ASSD): from every surface pixel of either mask to the other's surface.

    A surface pixel is one of the mask with a neighbour (by its faces) outside of it; beyond the array everything is
    outside. Pixels of both surfaces weigh the same.

    Args:
        mask: bool, 2D or of any other number of axes.
        truth: bool, same shape.
        spacing_yx: size of a pixel, one number an axis (z first for a volume), in the unit of the result.

    Returns:
        0.0 when the surfaces are equal or both masks are empty. When one is empty there is no distance: then
        the diagonal of the array, which no distance exceeds, so that a mean over objects exists and shows the loss.

    Raises:
        InputError: for two shapes, or a spacing that does not fit them.
    """
    to_truth, to_mask = _surface_distances(mask, truth, spacing_yx)
    return float(np.concatenate((to_truth, to_mask)).mean())


def hausdorff_95(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_yx: Sequence[float] = (1.0, 1.0)
) -> float:
    """The larger of the two 95th percentiles of the distances from one surface to the other.

    Arguments, empty masks and errors as in `surface_distance`.
    """
    return float(max(np.percentile(d, 95.0) for d in _surface_distances(mask, truth, spacing_yx)))


def _surface_distances(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances from mask's surface to truth's, and from truth's to mask's; neither array is empty."""
    if mask.shape != truth.shape:
        raise InputError(f"masks to compare must have one shape, got {mask.shape} and {truth.shape}")
    scale = np.asarray(spacing, dtype=np.float64)
    if scale.shape != (mask.ndim,) or not np.all(np.isfinite(scale) & (scale > 0)):
        raise InputError(f"wanted {mask.ndim} pixel sizes above 0, one an axis, got {tuple(spacing)}")
    empty = not mask.any(), not truth.any()
    if any(empty):
        one = np.array([0.0 if all(empty) else float(np.linalg.norm(scale * mask.shape))])
        return one, one
    # Trees of surface points and not distance maps: surfaces are few pixels, whatever the size of the image.
    of_mask, of_truth = (_surface_points(array) * scale for array in (mask, truth))
    to_truth, to_mask = KDTree(of_truth).query(of_mask)[0], KDTree(of_mask).query(of_truth)[0]
    return np.asarray(to_truth), np.asarray(to_mask)


def _surface_points(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices (N, axes) of the surface pixels of a mask that is not empty."""
    inside = ndimage.find_objects(mask.astype(np.uint8))[0]  # the rest of the array is no part of the work
    part = mask[inside]
    surface = part & ~ndimage.binary_erosion(part)
    return np.argwhere(surface) + np.array([bounds.start for bounds in inside], dtype=np.intp)


def _overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int]:
    if mask.shape != truth.shape:
        raise InputError(f"masks to compare must have one shape, got {mask.shape} and {truth.shape}")
    intersection = int(np.count_nonzero(mask & truth))
    return intersection, int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
