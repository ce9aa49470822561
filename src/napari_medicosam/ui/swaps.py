"""What steps of an annotation remember: each holds what is not there now, and swaps it with what is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import PackedMask, VoxelBox
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.object_table import ObjectTable
    from napari_medicosam.core.results import Region
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.committed_masks import CommittedMasks
    from napari_medicosam.ui.edited_mask import EditedMask


@dataclass(eq=False, slots=True)
class TableSwap:
    """Names, prompts, anchors."""

    annotation: Annotation
    table: ObjectTable
    num_bytes: int = 0

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
    """A mask of one label, where the committed label map has one other (0: no object) without it: a bit a voxel."""

    committed: CommittedMasks
    packed: PackedMask
    label: int
    is_there: bool
    beneath: int = 0

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.packed.num_bytes

    def swap(self) -> None:
        """Write it or erase it."""
        self.is_there = not self.is_there
        self.committed.stamp(self.packed, self.label if self.is_there else self.beneath)


@dataclass(eq=False, slots=True)
class LabelsSwap:
    """A part of the committed label map."""

    committed: CommittedMasks
    box: VoxelBox
    inside: NDArray[Any]

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.inside.nbytes

    def swap(self) -> None:
        """Exchange it with what is there."""
        self.inside = self.committed.swap_part(self.box, self.inside)
