"""What steps of an annotation remember: each holds what is not there now, and swaps it with what is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medicosam.core.boxes import VoxelBox
from napari_medicosam.core.results import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import PackedMask
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.object_table import ObjectTable
    from napari_medicosam.ui.annotation import Annotation


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

    annotation: Annotation
    plane: SlicePlane
    region: Region
    patch: NDArray[Any]

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.patch.nbytes

    def swap(self) -> None:
        """Exchange it with what is there."""
        layer = self.annotation.object_layer
        if layer is None:
            return
        pixels = self.plane.cut(self.annotation.voxels(layer))
        region = Region.of_mask(pixels != 0)
        patch = pixels[region.slices_yx].copy()
        pixels[region.slices_yx] = 0
        pixels[self.region.slices_yx] = self.patch
        self.annotation.extent = self.annotation.extent.union(VoxelBox.of_slice(self.plane, self.region))
        self.region, self.patch = region, patch


@dataclass(eq=False, slots=True)
class EditedSwap:
    """The whole mask being edited, and the id of its object."""

    annotation: Annotation
    packed: PackedMask
    value: int

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.packed.num_bytes

    def swap(self) -> None:
        """Exchange it with what is there."""
        packed, value = self.annotation.packed(), self.annotation.edited_value()
        self.annotation.put_edited(self.packed, self.value)
        self.packed, self.value = packed, value


@dataclass(eq=False, slots=True)
class LabelsSwap:
    """A part of the committed label map."""

    annotation: Annotation
    box: VoxelBox
    inside: NDArray[Any]

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return self.inside.nbytes

    def swap(self) -> None:
        """Exchange it with what is there."""
        if self.annotation.labels is not None:
            part = self.annotation.voxels(self.annotation.labels)[self.box.index]
            self.inside, part[...] = part.copy(), self.inside
