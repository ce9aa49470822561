"""How a mask on a slice is written: one rule for a session and for its replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.results import Region

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def write_edited(
    edited: NDArray[Any],
    labels: NDArray[Any] | None,
    mask: NDArray[np.bool_],
    allowed: Callable[[], NDArray[np.bool_]],
    value: int,
) -> Region:
    """Write the mask of the object that is being edited in the place of what it was on a slice.

    Args:
        edited: (rows, columns), written to; what is not 0 is the object.
        labels: (rows, columns), committed objects on the same slice; None for no array of them.
        mask: (rows, columns).
        allowed: called for what is bool by label, whether the object may take its voxels, if that matters.
        value: what is written.

    Returns:
        The part that was written.
    """
    region = Region.of_mask(edited != 0).union(Region.of_mask(mask))
    if region.is_empty:
        return region
    wanted = mask[region.slices_yx]
    if labels is not None:
        taken = labels[region.slices_yx]
        if taken.any():
            wanted = wanted & allowed()[taken]
        else:
            # A commit will write here. Memory that nobody has written to yet is slow to write to the first
            # time, and better so a slice at a time than for the whole object at once.
            taken[...] = 0
    edited[region.slices_yx] = np.where(wanted, value, 0)
    return region


def write_committed(
    labels: NDArray[Any],
    edited: NDArray[Any],
    mask: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    object_id: int,
) -> None:
    """Write the mask of a committed object in the place of what it was on a slice, not where one is being edited.

    Args:
        labels: (rows, columns) or a part of them, committed objects; written to.
        edited: the same part; what is not 0 is being edited.
        mask: the same part.
        allowed: bool by label, whether the object may take its voxels.
        object_id: its label.
    """
    writable = allowed[labels]
    labels[writable & (labels == object_id)] = 0
    labels[writable & mask & (edited == 0)] = object_id
