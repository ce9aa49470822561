"""What a stroke of napari's brush, fill or eraser changed, from the edits that its `paint` event carries.

Napari tells an edit as (indices, old labels, new label) or, from 0.9 on for most tools, as a part of the layer with a
mask of what changed in it (`slice_key`, `mask`, `old_values`); both are read here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import VoxelBox

if TYPE_CHECKING:
    from numpy.typing import NDArray


def before_stroke(label_map: NDArray[Any], edits: list[Any]) -> tuple[VoxelBox, NDArray[Any]]:
    """The part of a label map (z, y, x) that a stroke changed, and what lay there before.

    Args:
        label_map: as it is after the stroke.
        edits: of the stroke, in order; those of a 2D layer have two axes.
    """
    box = VoxelBox()
    for edit in edits:
        box = box.union(_bounds(_index_of(edit), label_map.shape))
    before = label_map[box.index].copy()
    for edit in reversed(edits):
        index = _moved(_index_of(edit), box)
        mask = getattr(edit, "mask", None)
        if mask is None:
            before[index] = edit.old_values if hasattr(edit, "old_values") else edit[1]
        else:
            part = before[index]
            part[mask.reshape(part.shape)] = edit.old_values
            before[index] = part
    return box, before


def is_applied(label_map: NDArray[Any], edits: list[Any]) -> bool:
    """True when the last edit is in the label map already: napari tells of some before it makes them."""
    edit = edits[-1]
    values = label_map[_index_of(edit)]
    mask = getattr(edit, "mask", None)
    new = edit.new_value if hasattr(edit, "new_value") else edit[2]
    return bool(np.all((values if mask is None else values[mask.reshape(values.shape)]) == new))


def _index_of(edit: Any) -> tuple[Any, ...]:
    """Its index in three axes."""
    index = tuple(edit.slice_key if hasattr(edit, "slice_key") else edit[0])
    return (slice(0, 1),) * (3 - len(index)) + index if hasattr(edit, "slice_key") else _padded(index)


def _padded(index: tuple[Any, ...]) -> tuple[Any, ...]:
    arrays = np.broadcast_arrays(*[np.atleast_1d(np.asarray(at)) for at in index])
    return (np.zeros_like(arrays[0]),) * (3 - len(arrays)) + tuple(arrays)


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
