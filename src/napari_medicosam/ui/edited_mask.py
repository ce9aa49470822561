"""The mask of the object that is being edited: it lies in a labels layer of its own, of which all is its."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import PackedMask, VoxelBox, box_of_used
from napari_medicosam.core.mask_log import MaskLog
from napari_medicosam.core.results import Region
from napari_medicosam.core.slice_counts import MaskPart, SliceCounts
from napari_medicosam.core.touched import TouchedSlices
from napari_medicosam.ui import layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.ui.layers import LayerSet


@dataclass(eq=False, slots=True)
class EditedMask:
    """What the object layer shows, of one time point. Before there is a layer it is empty and nothing is written.

    Attributes:
        ours: the layers of the image.
        shape_zyx: of the volume.
        time: of which volume.
        extent: where it may have voxels.
        version: another number after every change.
        touched: what a journal has not seen yet.
        log: told of all that is written.
    """

    ours: LayerSet
    shape_zyx: tuple[int, int, int]
    time: int = 0
    extent: VoxelBox = field(default_factory=VoxelBox)
    version: int = 0
    touched: TouchedSlices = field(default_factory=TouchedSlices)
    log: MaskLog = field(default_factory=MaskLog)
    _counts: SliceCounts = field(init=False)

    def __post_init__(self) -> None:
        self._counts = SliceCounts(self.shape_zyx)

    @property
    def label_map(self) -> NDArray[Any] | None:
        """Its voxels (z, y, x), without a copy."""
        known = self.ours.label_map("object_layer")
        return None if known is None else layers.voxels(known, self.time)

    def changed(self, box: VoxelBox) -> None:
        """Voxels were written in this part of it."""
        self.log.edited("edited", self.time, box, self.label_map)
        self.touched.add(box)
        self._look_at(box)

    def _look_at(self, box: VoxelBox) -> None:
        self.extent = self.extent.union(box)
        self._counts.changed(box)
        self.version += 1

    def mask(self, plane: SlicePlane) -> NDArray[np.bool_]:
        """Where it is on a slice, bool (rows, columns)."""
        label_map = self.label_map
        if label_map is None:
            return np.zeros(plane.size_yx(self.shape_zyx), dtype=bool)
        return np.asarray(plane.cut(label_map) != 0)

    @property
    def num_voxels(self) -> int:
        """How large it is."""
        return 0 if self.label_map is None else int(self.counts(0)[0].areas(0).sum())

    def counts(self, axis: int, seconds: float | None = None) -> tuple[SliceCounts, bool]:
        """Its counts along an axis, and whether they are complete after `seconds` of counting (None: always)."""
        label_map = self.label_map
        if label_map is None:
            return SliceCounts(self.shape_zyx), True
        return self._counts, self._counts.update(axis, MaskPart(label_map, self.extent), seconds)

    def look_everywhere(self) -> None:
        """Find voxels that something else than us or napari's brush has written or removed."""
        label_map = self.label_map
        if label_map is not None:
            before = self.num_voxels
            self._look_at(self.extent)
            self._look_at(box_of_used(label_map))
            if self.num_voxels != before:
                self.touched.add(self.extent)
                self.log.edited("edited", self.time, self.extent, label_map)

    def packed(self) -> PackedMask:
        """All of it."""
        label_map = self.label_map
        return (
            PackedMask.of(np.zeros(self.shape_zyx), VoxelBox())
            if label_map is None
            else PackedMask.of(label_map, self.extent)
        )

    def value(self, object_id: int) -> int:
        """What is written in its voxels: the id of its object; where there are none, `object_id`."""
        label_map = self.label_map
        if label_map is None:
            return object_id
        for z in self.extent.planes(0):
            found = int(label_map[(z, *self.extent.index[1:])].max())
            if found:
                return found
        return object_id

    def clear(self) -> None:
        """Leave nothing of it."""
        label_map = self.label_map
        if label_map is not None:
            label_map[self.extent.index] = 0
        self.log.edited("edited", self.time, self.extent, None)
        self.touched.add(self.extent)
        self._look_at(self.extent)
        self.extent = VoxelBox()

    def put(self, packed: PackedMask, value: int) -> None:
        """Write another mask in the place of all of it."""
        self.clear()
        label_map = self.label_map
        if label_map is not None:
            for index, mask in packed.slices():
                np.copyto(label_map[index], value, where=mask)
            self.log.put(self.time, packed)
            self.touched.add(packed.box)
            self._look_at(packed.box)

    def swap_slice(
        self, plane: SlicePlane, region: Region, patch: NDArray[Any]
    ) -> tuple[Region, NDArray[Any]]:
        """Write labels in a part of a slice and nothing elsewhere on it; returns what was there, in the same form."""
        label_map = self.label_map
        if label_map is None:
            return region, patch
        pixels = plane.cut(label_map)
        old_region = Region.of_mask(pixels != 0)
        old = pixels[old_region.slices_yx].copy()
        pixels[old_region.slices_yx] = 0
        pixels[region.slices_yx] = patch
        self.changed(VoxelBox.of_slice(plane, region.union(old_region)))
        return old_region, old
