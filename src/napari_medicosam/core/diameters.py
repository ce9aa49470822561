"""Longest diameters of an object, from voxel centre to voxel centre: exact, and without looking at every pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 1024
"""Corners whose distances to all others are in memory at once."""


def diameters(part: NDArray[np.bool_], spacing: NDArray[np.float64], axis: int) -> tuple[float, float, int]:
    """The longest diameter in 3D, the longest within a slice, and the index of that slice (of equals the first).

    Args:
        part: bool (z, y, x), not empty; any shape of object, a single voxel, a line or a plane too.
        spacing: (3,) size of a voxel along each axis, in the unit of the result.
        axis: that slices step along.
    """
    # A corner of a convex hull is the first or last voxel of every line through it: few voxels are looked at.
    across, along = (other for other in range(3) if other != axis)
    points = _ends_of_lines(_ends_of_mask(part, along), across)
    points = points[np.argsort(points[:, axis], kind="stable")]
    indices, starts = np.unique(points[:, axis], return_index=True)
    # A slice's bounding box bounds its diameter: most slices need not be measured.
    extents = np.maximum.reduceat(points, starts) - np.minimum.reduceat(points, starts)
    limits = np.linalg.norm(extents * spacing, axis=1)
    slices = np.split(points, starts[1:])
    best, best_number = -1.0, 0
    for number in np.argsort(-limits, kind="stable").tolist():
        if limits[number] < best:
            break
        diameter = _greatest_distance(slices[number][:, [across, along]], spacing[[across, along]])
        if diameter > best or (diameter == best and number < best_number):
            best, best_number = diameter, number
    longest = _greatest_distance(_ends_of_lines(points, axis), spacing)
    return longest, best, int(indices[best_number])


def _ends_of_mask(part: NDArray[np.bool_], axis: int) -> NDArray[np.intp]:
    """Indices (N, 3) of the first and the last voxel of every line along `axis` that holds one."""
    lines = np.nonzero(part.any(axis=axis))
    first = part.argmax(axis=axis)[lines]
    last = part.shape[axis] - 1 - np.flip(part, axis).argmax(axis=axis)[lines]
    ends = [np.insert(np.stack(lines, axis=1), axis, end, axis=1) for end in (first, last)]
    return np.concatenate(ends)


def _ends_of_lines(points: NDArray[np.intp], axis: int) -> NDArray[np.intp]:
    """Of points (N, 3) those that are first or last on their line along `axis`."""
    first, second = (other for other in range(3) if other != axis)
    order = np.lexsort((points[:, axis], points[:, second], points[:, first]))
    points = points[order]
    lines = points[:, [first, second]]
    changes = np.any(lines[1:] != lines[:-1], axis=1)
    return points[np.concatenate(([True], changes)) | np.concatenate((changes, [True]))]


def _greatest_distance(points: NDArray[np.intp], spacing: NDArray[np.float64]) -> float:
    """Between any two of the points (N, axes), N >= 1, in the unit of `spacing`."""
    corners = _hull_corners(points) * spacing
    # No point is farther from another than both are from the middle together: of a long object only the ends count.
    radii = np.linalg.norm(corners - (corners.min(axis=0) + corners.max(axis=0)) / 2, axis=1)
    at_least = cdist(corners[[radii.argmax()]], corners).max()
    corners = corners[radii + radii.max() >= at_least * (1 - 1e-9)]
    return max(
        float(cdist(corners[start : start + _BLOCK], corners).max())
        for start in range(0, len(corners), _BLOCK)
    )


def _hull_corners(points: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the points (N, axes) that are corners of their convex hull, flat or not; some more are no harm."""
    offsets = (points - points[0]).astype(np.float64)
    # A hull needs a body: of a flat object it is looked for in its plane, and on a line it is the two ends.
    _, sizes, directions = np.linalg.svd(offsets, full_matrices=False)
    rank = int(np.count_nonzero(sizes > 1e-9 * max(1.0, sizes[0])))
    flat = offsets @ directions[:rank].T
    if rank == 0:
        return points[:1]
    if rank == 1:
        return points[[flat[:, 0].argmin(), flat[:, 0].argmax()]]
    within = offsets if rank == points.shape[1] else flat
    return points[ConvexHull(within).vertices]
