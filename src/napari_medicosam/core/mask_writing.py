"""How a mask on a slice is written: one rule for a session and for its replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.results import Region

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def writable(
    labels: NDArray[Any], allowed: NDArray[np.bool_], own: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Where an object may be written.

    Args:
        labels: committed objects, any part of them.
        allowed: bool by label, whether the object may take its voxels.
        own: bool, the shape of `labels`: where the object was before, and may be as long as nobody else is.

    Returns:
        bool, the shape of `labels`.
    """
    found: NDArray[np.bool_] = allowed[labels]
    if own is not None:
        found |= own & (labels == 0)
    return found


def write_edited(
    edited: NDArray[Any],
    labels: NDArray[Any] | None,
    mask: NDArray[np.bool_],
    allowed: Callable[[], NDArray[np.bool_]],
    value: int,
    own: NDArray[np.bool_] | None = None,
) -> Region:
    """Write the mask of the object that is being edited in the place of what it was on a slice.

    Args:
        edited: (rows, columns), written to; what is not 0 is the object.
        labels: (rows, columns), committed objects on the same slice; None for no array of them.
        mask: (rows, columns).
        allowed: called for what is bool by label, whether the object may take its voxels, if that matters.
        value: what is written.
        own: (rows, columns), as for `writable`.

    Returns:
        The part that was written.
    """
    region = Region.of_mask(edited != 0).union(Region.of_mask(mask))
    if region.is_empty:
        return region
    wanted = mask[region.slices_yx]
    if labels is not None:
        taken, by_label = labels[region.slices_yx], allowed()
        if taken.any() or not by_label[0]:
            inside = None if own is None else own[region.slices_yx]
            wanted = wanted & writable(taken, by_label, inside)
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
    is_open = writable(labels, allowed)
    labels[is_open & (labels == object_id)] = 0
    labels[is_open & mask & (edited == 0)] = object_id
