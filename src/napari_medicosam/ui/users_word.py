"""What the user has said of an object stands, whatever the model answers later.

A slice that the user prompted, painted or approved crosses the slices of the other two axes in a line of pixels. When a
mask is written on one of these, each such line stays as it is: so an answer, or a propagation, in one plane never
changes the user's slices of another. Painting, and what is done to a whole mask (clear, clean up), are the user's word
themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.drawn_prompts import pasted
from napari_medicosam.ui.swaps import SliceSwap

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.history import Step
    from napari_medicosam.ui.annotation import Annotation


def with_users_word(
    annotation: Annotation,
    object_id: int,
    plane: SlicePlane,
    mask: NDArray[np.bool_],
    unanswered: AbstractSet[SlicePlane] = frozenset(),
) -> NDArray[np.bool_]:
    """The mask, but as the object is now where the slice crosses the user's slices along other axes.

    Args:
        annotation: of the object.
        object_id: edited or committed.
        plane: that the mask is about to be written on.
        mask: bool (rows, columns).
        unanswered: prompted slices whose own answer is still to come: they have no mask yet that could stay, unless
            they were painted.

    Returns:
        `mask` itself when that changes nothing.
    """
    lines = _crossing(annotation, object_id, plane, unanswered)
    if not lines.any():
        return mask
    kept = np.where(lines, annotation.mask_of(object_id, plane), mask)
    return mask if np.array_equal(kept, mask) else kept


def has_mask_of_its_own(annotation: Annotation, plane: SlicePlane) -> bool:
    """True when the current object is on a slice, not only on slices of the user's that cross it."""
    own = annotation.mask(plane)
    return bool(own.any()) and bool((own & ~_crossing(annotation, annotation.object_id, plane)).any())


def with_strokes_since(
    annotation: Annotation, step: Step, plane: SlicePlane, mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The mask, but where the user painted on the slice after this step: there it is as it was painted."""
    for newer in annotation.history.since(step):
        swap = newer.swaps.get(plane)
        if newer.kind in ("paint", "paint labels") and isinstance(swap, SliceSwap):
            before = pasted(swap.patch != 0, swap.region, mask.shape)
            now = annotation.mask(plane)
            return np.where(before != now, now, mask)
    return mask


def _crossing(
    annotation: Annotation,
    object_id: int,
    plane: SlicePlane,
    unanswered: AbstractSet[SlicePlane] = frozenset(),
) -> NDArray[np.bool_]:
    """Where a slice crosses an object's user slices along other axes, bool (rows, columns)."""
    lines = np.zeros(plane.size_yx(annotation.shape_zyx), dtype=bool)
    axes = [axis for axis in range(3) if axis != plane.axis]
    waiting = unanswered - annotation.table.anchors_of(object_id)
    for users in annotation.user_planes_of(object_id) - waiting:
        if users.axis != plane.axis:
            np.moveaxis(lines, axes.index(users.axis), 0)[users.index] = True
    return lines
