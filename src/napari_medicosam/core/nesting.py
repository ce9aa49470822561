"""Objects inside others, a tumour in its organ: what one takes of the other is the other's again where it leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import PackedMask, VoxelBox

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from napari_medicosam.core.object_table import ObjectTable


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Voxels that an object has taken from another one.

    Attributes:
        label: of the other one.
        mask: where.
    """

    label: int
    mask: PackedMask


def newly_taken(
    before: NDArray[Any], now: NDArray[Any], box: VoxelBox, object_id: int, bounds: Mapping[int, VoxelBox]
) -> tuple[Taken, ...]:
    """What an object took from others when it was written.

    Args:
        before: the part `box` of a label map before.
        now: the same after it.
        box: of the volume.
        object_id: label of the object that was written.
        bounds: where others are at most, by label.
    """
    is_taken = (now == object_id) & (before != object_id) & (before != 0)
    found = []
    for label in np.unique(before[is_taken]).tolist():
        common = box.common(bounds.get(label, box))
        if common.is_empty:
            common = box
        inside = _inside(common, box)
        mask = _packed(is_taken[inside] & (before[inside] == label), common)
        if not mask.is_empty:
            found.append(Taken(label, mask))
    return tuple(found)


def still_taken(taken: Iterable[Taken], label_map: NDArray[Any], object_id: int) -> tuple[Taken, ...]:
    """What an object still covers of what it has taken."""
    found = []
    for one in taken:
        box = one.mask.box
        mask = _packed(one.mask.mask & (label_map[box.index] == object_id), box)
        if not mask.is_empty:
            found.append(Taken(one.label, mask))
    return tuple(found)


def to_give_back(
    label_map: NDArray[Any],
    table: ObjectTable,
    object_id: int,
    within: VoxelBox | None = None,
    except_on: NDArray[Any] | None = None,
) -> tuple[Taken, ...]:
    """What an object has taken that is no object's any more, and is to be theirs again that it was taken from.

    Locked objects gain nothing, as they lose nothing; those that were deleted do not come back.

    Args:
        label_map: (z, y, x).
        table: of its objects.
        object_id: the one that has taken it.
        within: only there; None for everywhere.
        except_on: of the same shape as `label_map`; nothing where it is not 0.
    """
    found = []
    for one in table.taken_of(object_id):
        box = one.mask.box if within is None else one.mask.box.common(within)
        if box.is_empty or one.label not in table.records or table.records[one.label].is_locked:
            continue
        is_left = one.mask.inside(box) & (label_map[box.index] == 0)
        if except_on is not None:
            is_left &= except_on[box.index] == 0
        mask = _packed(is_left, box)
        if not mask.is_empty:
            found.append(Taken(one.label, mask))
    return tuple(found)


def give_back(label_map: NDArray[Any], table: ObjectTable, object_id: int) -> None:
    """Write in a label map (z, y, x) what is `to_give_back`."""
    for one in to_give_back(label_map, table, object_id):
        for index, here in one.mask.slices():
            np.copyto(label_map[index], one.label, where=here)


def _packed(mask: NDArray[np.bool_], box: VoxelBox) -> PackedMask:
    return PackedMask.of(mask, VoxelBox((0, 0, 0), box.shape)).moved(box.start_zyx)


def _inside(part: VoxelBox, box: VoxelBox) -> tuple[slice, slice, slice]:
    z, y, x = (
        slice(start - first, stop - first)
        for first, start, stop in zip(box.start_zyx, part.start_zyx, part.stop_zyx, strict=True)
    )
    return z, y, x
