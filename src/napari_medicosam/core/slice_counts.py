"""How large each slice of a mask is and how much it shares with the next one, kept while the mask changes.

A large object has millions of voxels, and it is asked after every click how large it is now: only what changed since is
counted again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import VoxelBox


@dataclass(frozen=True, slots=True, eq=False)
class MaskPart:
    """Where a mask lies in a label map (z, y, x).

    Attributes:
        label_map: uint16.
        box: nothing of the mask is outside it.
        label: of the mask; None for all that is not 0.
    """

    label_map: NDArray[Any]
    box: VoxelBox
    label: int | None = None

    def slice_at(self, z: int) -> NDArray[np.bool_]:
        """The mask on slice z, which must meet the box, bool (rows, columns) of the box."""
        _, rows, columns = self.box.index
        inside = self.label_map[z, rows, columns]
        return np.asarray(inside != 0 if self.label is None else inside == self.label)


class SliceCounts:
    """Areas of the slices of one mask along each axis, and voxels that two slices beside each other share.

    Everything is stored by z-slice, so that a change on a few slices costs a few slices, whatever the axis.

    Args:
        shape_zyx: of the volume.
    """

    def __init__(self, shape_zyx: tuple[int, int, int]) -> None:
        self._depth = shape_zyx[0]
        # Along z one number a z-slice; along y and x each z-slice has its share in all of theirs.
        self._areas = [
            np.zeros((self._depth, 1 if axis == 0 else shape_zyx[axis]), np.int64) for axis in range(3)
        ]
        self._shared = [np.zeros_like(areas) for areas in self._areas]
        self._is_stale = [np.zeros(self._depth, dtype=bool) for _ in range(3)]

    def changed(self, box: VoxelBox) -> None:
        """Something in this part of the volume has changed."""
        z0, z1 = box.start_zyx[0], box.stop_zyx[0]
        if box.is_empty:
            return
        for is_stale in self._is_stale:
            is_stale[z0:z1] = True
        self._is_stale[0][max(z0 - 1, 0) : z1] = True  # the slice before shares other voxels with it now

    def update(self, axis: int, part: MaskPart, seconds: float | None = None) -> bool:
        """Count what is stale.

        Args:
            axis: that will be asked about.
            part: where the mask is.
            seconds: stop after about so long; None goes on to the end.

        Returns:
            Whether all is counted.
        """
        end = None if seconds is None else time.monotonic() + seconds
        is_stale = self._is_stale[axis]
        above: tuple[int, NDArray[np.bool_] | None] = (-1, None)
        for z in np.flatnonzero(is_stale).tolist():
            self._areas[axis][z] = self._shared[axis][z] = 0
            if z in part.box.planes(0):
                here = above[1] if above[0] == z else None
                above = z + 1, self._count(axis, z, part, here)
            is_stale[z] = False
            if end is not None and time.monotonic() > end:
                return not is_stale.any()
        return True

    def areas(self, axis: int) -> NDArray[np.int64]:
        """int64 (slices,): voxels of each slice along an axis, as last counted."""
        areas = self._areas[axis]
        return np.asarray(areas[:, 0] if axis == 0 else areas.sum(axis=0))

    def shared(self, axis: int) -> NDArray[np.int64]:
        """int64 (slices,): voxels that each slice shares with the next one along an axis, as last counted."""
        shared = self._shared[axis]
        return np.asarray(shared[:, 0] if axis == 0 else shared.sum(axis=0))

    def _count(
        self, axis: int, z: int, part: MaskPart, here: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_] | None:
        """Count a z-slice, whose mask may be known; returns that of the next one where it was looked at."""
        if here is None:
            here = part.slice_at(z)
        if not here.any():
            return None
        areas, shared = self._areas[axis][z], self._shared[axis][z]
        if axis == 0:
            areas[0] = np.count_nonzero(here)
            if z + 1 not in part.box.planes(0):
                return None
            above = part.slice_at(z + 1)
            shared[0] = np.count_nonzero(here & above)
            return above
        along = here if axis == 1 else here.T
        first, last = part.box.start_zyx[axis], part.box.stop_zyx[axis]
        areas[first:last] = np.count_nonzero(along, axis=1)
        shared[first : last - 1] = np.count_nonzero(along[1:] & along[:-1], axis=1)
        return None
