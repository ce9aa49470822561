"""The masks of committed objects: one label map for all of them, in the labels layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.locked_masks import LockedMasks
from napari_medicosam.core.mask_log import MaskLog
from napari_medicosam.core.results import Region
from napari_medicosam.core.slice_counts import MaskPart, SliceCounts
from napari_medicosam.core.touched import TouchedSlices
from napari_medicosam.ui import layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.object_table import ObjectTable
    from napari_medicosam.ui.layers import LayerSet


@dataclass(eq=False, slots=True)
class CommittedMasks:
    """What the labels layer shows, of one time point. Before there is a layer it is empty and nothing is written.

    Attributes:
        ours: the layers of the image.
        shape_zyx: of the volume.
        time: of which volume.
        version: another number after every change.
        touched: what a journal has not seen yet.
        log: told of all that is written.
    """

    ours: LayerSet
    shape_zyx: tuple[int, int, int]
    time: int = 0
    version: int = 0
    touched: TouchedSlices = field(default_factory=TouchedSlices)
    log: MaskLog = field(default_factory=MaskLog)
    locked: LockedMasks = field(default_factory=LockedMasks)
    """What may not change, whoever writes in the array."""
    _highest: tuple[int, int] = (0, 0)
    """The highest label, and when: the version."""
    _counted: dict[int, SliceCounts] = field(default_factory=dict)
    """Of the object that was asked about last; of others it would be memory for nothing."""

    @property
    def label_map(self) -> NDArray[Any] | None:
        """Their voxels (z, y, x), without a copy."""
        known = self.ours.label_map("labels")
        return None if known is None else layers.voxels(known, self.time)

    def changed(self, box: VoxelBox) -> None:
        """Voxels were written in this part of it."""
        self.log.edited("labels", self.time, box, self.label_map)
        self._look_at(box)

    def _look_at(self, box: VoxelBox) -> None:
        self.touched.add(box)
        self.version += 1
        for counts in self._counted.values():
            counts.changed(box)

    def counts(
        self, object_id: int, bounds: VoxelBox, axis: int, seconds: float | None = None
    ) -> tuple[SliceCounts, bool]:
        """Counts of an object along an axis, and whether they are complete after `seconds` of counting (None: always).

        Args:
            object_id: its label.
            bounds: nothing of it is outside.
            axis: that will be asked about.
            seconds: for counting.
        """
        label_map = self.label_map
        if label_map is None:
            return SliceCounts(self.shape_zyx), True
        if object_id not in self._counted:
            self._counted = {object_id: SliceCounts(self.shape_zyx)}
            self._counted[object_id].changed(bounds)
        counts = self._counted[object_id]
        return counts, counts.update(axis, MaskPart(label_map, bounds, object_id), seconds)

    def packed(self, object_id: int, bounds: VoxelBox) -> PackedMask:
        """The mask of an object that has nothing outside `bounds`."""
        label_map = self.label_map
        return PackedMask() if label_map is None else PackedMask.of(label_map, bounds, object_id)

    def highest_label(self, *, is_told: bool = False) -> int:
        """The highest label that any voxel has; 0 without any.

        Args:
            is_told: nobody else can have written in it without telling: it is looked at only where it has changed.
        """
        label_map = self.label_map
        if label_map is not None and not (is_told and self._highest[1] == self.version):
            self._highest = max(int(one.max()) for one in label_map), self.version
        return self._highest[0]

    def is_free(self, packed: PackedMask) -> bool:
        """True when no object has a voxel of the mask."""
        label_map = self.label_map
        if label_map is None:
            return True
        for index, mask in packed.slices():
            taken = label_map[index]
            if taken.any() and taken[mask].any():
                return False
        return True

    def stamp(self, packed: PackedMask, label: int) -> None:
        """Write a label wherever the mask is."""
        label_map = self.label_map
        if label_map is None:
            return
        for index, mask in packed.slices():
            np.copyto(label_map[index], label, where=mask)
        self.log.stamped(self.time, packed, label)
        self._look_at(packed.box)

    def swap_part(self, box: VoxelBox, inside: NDArray[Any] | None) -> NDArray[Any] | None:
        """Write a part of the label map; returns what was there. None is nothing but 0."""
        label_map = self.label_map
        if label_map is None:
            return inside
        part = label_map[box.index]
        before = part.copy() if any(one.any() for one in part) else None
        part[...] = 0 if inside is None else inside
        self.changed(box)
        return before

    def follow_locks(self, table: ObjectTable) -> None:
        """Something may have been locked or unlocked."""
        ids = [
            one for one in table.locked_ids if table.records[one].is_committed
        ]  # else it lies elsewhere, yet
        self.locked.follow(ids, lambda one: self.packed(one, table.records[one].bounds))

    def put_back_locked(self, table: ObjectTable, plane: SlicePlane | None = None) -> bool:
        """Write locked objects as they were when they were locked, where something has written past all of this.

        Args:
            table: of the objects.
            plane: the only slice to look at; where it differs, all are. None for all.

        Returns:
            True when some of it was not as it should be.
        """
        label_map = self.label_map
        if label_map is None:
            return False
        self.follow_locks(table)
        differing = self.locked.put_back(label_map, None if plane is None else [plane])
        if plane is not None and differing:
            differing += self.locked.put_back(label_map)
        for one in differing:
            rows, columns = one.size_yx(self.shape_zyx)
            self.changed(VoxelBox.of_slice(one, Region(0, 0, rows, columns)))
        return bool(differing)
