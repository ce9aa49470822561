"""Slices between two annotated ones, from the shapes alone: no model, no image.

Shape-based interpolation (Raya and Udupa, IEEE Trans. Med. Imaging 9(1), 1990): the signed distances to the two
outlines are averaged, and what is above 0 is the object. Both shapes are first moved onto each other, so that an
object that runs obliquely through the slices keeps its shape on the way instead of vanishing where they do not overlap.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

_TINY = 1e-9
"""Pixels: rounding must not decide whether one belongs to the object."""


def interpolate_slices(
    anchors: Mapping[int, NDArray[np.bool_]], stops: AbstractSet[int] = frozenset()
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Fill the gaps between neighbouring annotated slices of one object.

    Nothing is drawn between an annotated slice and a stop, nor outside the annotated range: nobody has said what the
    object looks like where it ends. So a stop between two annotated slices leaves the whole gap empty.

    Args:
        anchors: slice index -> bool (rows, columns), not empty, all of one shape. Never changed, never yielded.
        stops: slices that the object is not on.

    Yields:
        (index, mask) with rising index, once each. A gap is computed when its first slice is asked for.

    Raises:
        InputError: for masks that are empty, not boolean or of different shapes, or a stop on an annotated slice. On
            the first step, before anything is yielded.
    """
    both = sorted(stops & anchors.keys())
    if both:
        raise InputError(f"slice {both[0]} is both annotated and a stop slice")
    indices = sorted(anchors)
    for index in indices:
        _check(anchors[index], anchors[indices[0]], f"on slice {index}")
    for below, above in pairwise(indices):
        if any(below < stop < above for stop in stops):
            continue
        between = interpolate_between(anchors[below], anchors[above], above - below - 1)
        yield from enumerate(between, start=below + 1)


def interpolate_between(
    lower_mask: NDArray[np.bool_], upper_mask: NDArray[np.bool_], num_between: int
) -> NDArray[np.bool_]:
    """Evenly spaced slices between two masks of one object.

    On its way the object is moved, by whole pixels, from the centroid of one mask to that of the other, unless they
    overlap more where they are: a branch that appears beside an object moves its centroid, but not the object. It
    never leaves the rectangle around both masks and is never empty: where the distances cancel each other out (thin
    shapes that do not fit together, such as one vessel that becomes two) the nearer mask is taken, moved in the same
    way. Distances are in pixels, whatever their size in mm; beyond the border of the slice there is background.

    Args:
        lower_mask: bool (rows, columns), not empty.
        upper_mask: the same, of the same shape.
        num_between: slices to make, 0 or more.

    Returns:
        bool (num_between, rows, columns), the slice beside `lower_mask` first.

    Raises:
        InputError: for masks that are empty, not boolean or of different shapes, or a negative number.
    """
    _check(lower_mask, lower_mask, "below")
    _check(upper_mask, lower_mask, "above")
    if num_between < 0:
        raise InputError(f"the number of slices between must be 0 or more, got {num_between}")
    between = np.zeros((num_between, *lower_mask.shape), dtype=bool)
    around = Region.of_mask(lower_mask).union(Region.of_mask(upper_mask))
    masks = lower_mask[around.slices_yx], upper_mask[around.slices_yx]
    path = _path(*masks)
    # Wide enough that a shape moved all the way still has its distances known everywhere in the rectangle.
    margin = np.abs(path) + 1
    distances = [_signed_distance(np.pad(mask, [(n, n) for n in margin])) for mask in masks]
    for number, mask in enumerate(between, start=1):
        share = number / (num_between + 1)
        # Both moves differ by exactly the path, so that the shapes always lie on each other in the same way.
        moved_by = np.round(share * path).astype(int)
        below, above = (
            _moved(distance, move, margin, around.size_yx)
            for distance, move in zip(distances, (moved_by, moved_by - path), strict=True)
        )
        found = (1 - share) * below + share * above > _TINY
        if not found.any():
            nearer, move = (masks[0], moved_by) if share <= 0.5 else (masks[1], moved_by - path)
            found = _moved_within(nearer, move)
        mask[around.slices_yx] = found
    return between


def _check(mask: NDArray[np.bool_], other: NDArray[np.bool_], where: str) -> None:
    if mask.ndim != 2 or mask.dtype != np.bool_ or mask.shape != other.shape:
        raise InputError(
            f"masks to interpolate must be boolean (rows, columns) of one shape, got {mask.dtype} of shape "
            f"{mask.shape} {where} and {other.shape}"
        )
    if not mask.any():
        raise InputError(f"the mask {where} is empty: mark where the object ends with a stop slice")


def _path(lower: NDArray[np.bool_], upper: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Rows and columns from one mask to the other, both of one shape; (0, 0) where they fit better unmoved."""
    path = np.round(_centroid(upper) - _centroid(lower)).astype(np.intp)
    rows, columns = lower.shape
    y, x = path.tolist()
    start = lower[max(-y, 0) : rows - max(y, 0), max(-x, 0) : columns - max(x, 0)]
    end = upper[max(y, 0) : rows - max(-y, 0), max(x, 0) : columns - max(-x, 0)]
    if np.count_nonzero(start & end) < np.count_nonzero(lower & upper):
        return np.zeros_like(path)
    return path


def _centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(np.argwhere(mask).mean(axis=0))


def _signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels to the outline, which runs half-way between pixels: 0.5 or more inside, -0.5 or less outside."""
    inside, outside = ndimage.distance_transform_edt(mask), ndimage.distance_transform_edt(~mask)
    return np.asarray(inside - outside + np.where(mask, -0.5, 0.5))


def _moved(
    distance: NDArray[np.float64], move: NDArray[np.intp], margin: NDArray[np.intp], size_yx: tuple[int, int]
) -> NDArray[np.float64]:
    """The rectangle of `size_yx` that `margin` lies around, of the distances moved by (rows, columns)."""
    y, x = (margin - move).tolist()
    return distance[y : y + size_yx[0], x : x + size_yx[1]]


def _moved_within(mask: NDArray[np.bool_], move: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The mask moved as far as nothing of it leaves the array."""
    region = Region.of_mask(mask)
    rows, columns = mask.shape
    y = int(np.clip(region.y0 + move[0], 0, rows - region.size_yx[0]))
    x = int(np.clip(region.x0 + move[1], 0, columns - region.size_yx[1]))
    moved = np.zeros_like(mask)
    moved[y : y + region.size_yx[0], x : x + region.size_yx[1]] = mask[region.slices_yx]
    return moved
