"""What steps of an annotation remember: each holds what is not there now, and swaps it with what is."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import PackedMask, VoxelBox
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.history import Swap
    from napari_medicosam.core.object_table import ObjectTable
    from napari_medicosam.core.results import Region
    from napari_medicosam.core.shared_objects import SharedKey
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.committed_masks import CommittedMasks
    from napari_medicosam.ui.edited_mask import EditedMask


@dataclass(eq=False, slots=True)
class TableSwap:
    """Names, prompts, anchors."""

    annotation: Annotation
    table: ObjectTable
    num_bytes: int = 0
    locked_ids: frozenset[int] = field(init=False)
    """Objects that were locked when the step began."""

    def __post_init__(self) -> None:
        self.locked_ids = self.table.locked_ids

    def swap(self) -> None:
        """Exchange it with what is there."""
        self.annotation.table, self.table = self.table, self.annotation.table


@dataclass(eq=False, slots=True)
class SliceSwap:
    """The mask being edited on one slice: what lies in `region` (labels), nothing elsewhere."""

    edited: EditedMask
    plane: SlicePlane
    region: Region
    patch: NDArray[Any]

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.patch.nbytes

    def swap(self) -> None:
        """Exchange it with what is there."""
        self.region, self.patch = self.edited.swap_slice(self.plane, self.region, self.patch)


@dataclass(eq=False, slots=True)
class EditedSwap:
    """The whole mask being edited, and the id of its object."""

    edited: EditedMask
    packed: PackedMask
    value: int

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.packed.num_bytes

    def swap(self) -> None:
        """Exchange it with what is there."""
        packed, value = self.edited.packed(), self.edited.value(self.value)
        self.edited.put(self.packed, self.value)
        self.packed, self.value = packed, value


@dataclass(eq=False, slots=True)
class StampSwap:
    """A mask of one label, where the committed label map is 0 without it: one bit a voxel."""

    committed: CommittedMasks
    packed: PackedMask
    label: int
    is_there: bool

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.packed.num_bytes

    def swap(self) -> None:
        """Write it or erase it."""
        self.is_there = not self.is_there
        self.committed.stamp(self.packed, self.label if self.is_there else 0)


@dataclass(eq=False, slots=True)
class LabelsSwap:
    """A part of the committed label map: its voxels, or None for nothing but 0, which takes no memory."""

    committed: CommittedMasks
    box: VoxelBox
    inside: NDArray[Any] | None

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return 0 if self.inside is None else self.inside.nbytes

    def swap(self) -> None:
        """Exchange it with what is there."""
        self.inside = self.committed.swap_part(self.box, self.inside)


@dataclass(eq=False, slots=True)
class SharedSwap:
    """What a step made of what all time points of an image share (`SharedObjects`).

    Attributes:
        standing: all that stand, of all time points, as they were first done, the newest last.
        place: higher than that of all that were done before.
        values: of some of what is shared.
        num_bytes: that it takes.
    """

    standing: list[SharedSwap]
    place: int
    values: Mapping[SharedKey, Any]
    num_bytes: int = 0

    def swap(self) -> None:
        """It no longer stands, or stands again where it did. `SharedObjects.settle` then says what holds."""
        if self in self.standing:
            self.standing.remove(self)
        else:
            insort(self.standing, self, key=attrgetter("place"))


def labels_changed(swap: Swap) -> set[int]:
    """Objects whose voxels come or go when something is swapped."""
    if isinstance(swap, StampSwap):
        return {swap.label}
    if isinstance(swap, LabelsSwap):
        label_map = swap.committed.label_map
        if label_map is None:
            return set()
        now = label_map[swap.box.index]
        inside = np.broadcast_to(now.dtype.type(0), now.shape) if swap.inside is None else swap.inside
        is_changed = now != inside
        return set(np.union1d(now[is_changed], inside[is_changed]).tolist()) - {0}
    if isinstance(swap, EditedSwap):
        found = {swap.edited.value(0)} if swap.packed.is_empty else {swap.edited.value(0), swap.value}
        return found - {0}
    if isinstance(swap, SliceSwap):
        label_map = swap.edited.label_map
        now = swap.patch if label_map is None else swap.plane.cut(label_map)
        return set(np.union1d(now, swap.patch).tolist()) - {0}
    return set()
