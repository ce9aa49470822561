"""What a stroke of napari's brush, fill or eraser changed, from the edits that its `paint` event carries.

Napari tells an edit as (indices, old labels, new label) or, from 0.9 on for most tools, as a part of the layer with a
mask of what changed in it (`slice_key`, `mask`, `old_values`); both are read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import VoxelBox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One change of a label map (z, y, x).

    Attributes:
        index: three slices, or three index arrays.
        mask: for slices, what changed in them; None for all.
        old, new: labels before (of all that changed, in order) and after.
    """

    index: tuple[Any, ...]
    mask: NDArray[np.bool_] | None
    old: Any
    new: Any


def edits_of(told: list[Any], time: int = 0) -> list[Edit]:
    """The edits of a stroke, as a `paint` event carries them; of volumes over time, those in one volume."""
    edits = [_edit_of(one, time) for one in told]
    return [edit for edit in edits if edit is not None]


def before_stroke(label_map: NDArray[Any], edits: list[Edit]) -> tuple[VoxelBox, NDArray[Any]]:
    """The part of a label map (z, y, x) that a stroke changed, and what lay there before.

    Args:
        label_map: as it is after the stroke.
        edits: of the stroke, in order.
    """
    box = VoxelBox()
    for edit in edits:
        box = box.union(_bounds(edit.index, label_map.shape))
    before = label_map[box.index].copy()
    for edit in reversed(edits):
        index = _moved(edit.index, box)
        if edit.mask is None:
            before[index] = edit.old
        else:
            part = before[index]
            part[edit.mask] = edit.old
            before[index] = part
    return box, before


def is_applied(label_map: NDArray[Any], edits: list[Edit]) -> bool:
    """True when the last edit is in the label map already: napari tells of some before it makes them."""
    if not edits:
        return True
    edit = edits[-1]
    values = label_map[edit.index]
    return bool(np.all((values if edit.mask is None else values[edit.mask]) == edit.new))


def _edit_of(told: Any, time: int) -> Edit | None:
    if not hasattr(told, "slice_key"):
        return _edit_of_arrays(tuple(told), time)
    index, mask, old = tuple(told.slice_key), told.mask, np.asarray(told.old_values)
    shape = tuple(side.stop - side.start for side in index)
    if mask is not None:
        mask = np.asarray(mask).reshape(shape)
    if len(index) == 4:
        at = time - index[0].start
        if not 0 <= at < shape[0]:
            return None
        if mask is None:
            old = old.reshape(shape)[at]
        else:
            skipped = int(np.count_nonzero(mask[:at]))
            mask = mask[at]
            old = old[skipped : skipped + int(np.count_nonzero(mask))]
        index, shape = index[1:], shape[1:]
    wide = (1,) * (3 - len(index)) + shape
    whole = (slice(0, 1),) * (3 - len(index)) + index
    if mask is None:
        return Edit(whole, None, old.reshape(wide), told.new_value)
    return Edit(whole, mask.reshape(wide), old, told.new_value)


def _edit_of_arrays(told: tuple[Any, Any, Any], time: int) -> Edit | None:
    index, old, new = told
    arrays: Sequence[NDArray[Any]] = np.broadcast_arrays(*[np.atleast_1d(np.asarray(at)) for at in index])
    old = np.broadcast_to(np.asarray(old), arrays[0].shape)
    new = np.broadcast_to(np.asarray(new), arrays[0].shape)
    if len(arrays) == 4:
        here = arrays[0] == time
        if not here.any():
            return None
        arrays, old, new = [at[here] for at in arrays[1:]], old[here], new[here]
    return Edit((np.zeros_like(arrays[0]),) * (3 - len(arrays)) + tuple(arrays), None, old, new)


def _bounds(index: tuple[Any, ...], shape: tuple[int, ...]) -> VoxelBox:
    sides = []
    for at, length in zip(index, shape, strict=True):
        if isinstance(at, slice):
            start, stop, _ = at.indices(length)
        else:
            start, stop = int(np.min(at)), int(np.max(at)) + 1
        sides.append((start, stop))
    (z0, z1), (y0, y1), (x0, x1) = sides
    return VoxelBox((z0, y0, x0), (z1, y1, x1))


def _moved(index: tuple[Any, ...], box: VoxelBox) -> tuple[Any, ...]:
    """The same index in the part that `box` cuts out."""
    moved: list[Any] = []
    for at, first, last in zip(index, box.start_zyx, box.stop_zyx, strict=True):
        if isinstance(at, slice):
            start, stop, _ = at.indices(last)
            moved.append(slice(start - first, stop - first))
        else:
            moved.append(at - first)
    return tuple(moved)
