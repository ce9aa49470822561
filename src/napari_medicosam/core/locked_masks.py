"""The masks of locked objects as they were when they were locked, so that whatever writes over them is put back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.results import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from numpy.typing import NDArray


@dataclass(eq=False, slots=True)
class LockedMasks:
    """Copies, one bit a voxel. Nothing of ours changes what is locked: where they differ, somebody else has."""

    _masks: dict[int, PackedMask] = field(default_factory=dict)

    def follow(self, locked_ids: Collection[int], pack: Callable[[int], PackedMask]) -> None:
        """Keep the masks of these objects, and of no others.

        Args:
            locked_ids: all that are locked.
            pack: the mask of one of them; asked for those that were not locked before.
        """
        if self._masks.keys() != set(locked_ids):
            known = self._masks
            self._masks = {one: known[one] if one in known else pack(one) for one in locked_ids}

    def put_back(
        self, label_map: NDArray[Any], planes: Iterable[SlicePlane] | None = None
    ) -> list[SlicePlane]:
        """Write them where they differ; what a label gained becomes 0, as nobody knows what lay there.

        Args:
            label_map: integers (z, y, x), changed in place.
            planes: slices to look at; None for all.

        Returns:
            Those that differed.
        """
        if not self._masks:
            return []
        if planes is None:
            planes = [SlicePlane(0, z) for z in range(len(label_map))]
        return [plane for plane in planes if self._put_back_on(label_map, plane)]

    def _put_back_on(self, label_map: NDArray[Any], plane: SlicePlane) -> bool:
        labels = plane.cut(label_map)
        box = VoxelBox.of_slice(plane, Region(0, 0, *labels.shape))
        differs = False
        for object_id, packed in self._masks.items():
            wrong = labels == object_id
            if not packed.box.common(box).is_empty:
                wrong ^= packed.anywhere(box).squeeze(plane.axis)
            if wrong.any():
                labels[wrong] = np.where(labels[wrong] == object_id, 0, object_id)
                differs = True
        return differs
