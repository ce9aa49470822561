"""Boxes of voxels, and what lies in them kept small: what undo remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.bounds import mask_bounds
from napari_medicosam.core.results import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane


@dataclass(frozen=True, slots=True)
class VoxelBox:
    """Half-open bounds (z0, y0, x0) .. (z1, y1, x1) in a volume; empty when a side is."""

    start_zyx: tuple[int, int, int] = (0, 0, 0)
    stop_zyx: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of_slice(cls, plane: SlicePlane, region: Region) -> VoxelBox:
        """The box of a rectangle of a slice."""
        if region.is_empty:
            return cls()
        start, stop = [region.y0, region.x0], [region.y1, region.x1]
        start.insert(plane.axis, plane.index)
        stop.insert(plane.axis, plane.index + 1)
        return cls((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    @property
    def is_empty(self) -> bool:
        """True when it covers no voxel."""
        return any(stop <= start for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True))

    @property
    def index(self) -> tuple[slice, slice, slice]:
        """Index of this box in an array of the volume."""
        z, y, x = (slice(start, stop) for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    def union(self, other: VoxelBox) -> VoxelBox:
        """Smallest box that covers both."""
        if self.is_empty:
            return other
        if other.is_empty:
            return self
        z0, y0, x0 = (min(a, b) for a, b in zip(self.start_zyx, other.start_zyx, strict=True))
        z1, y1, x1 = (max(a, b) for a, b in zip(self.stop_zyx, other.stop_zyx, strict=True))
        return VoxelBox((z0, y0, x0), (z1, y1, x1))

    def region_on(self, axis: int) -> Region:
        """What it covers of the slices along an axis that it meets."""
        (y0, y1), (x0, x1) = (
            (start, stop)
            for other, (start, stop) in enumerate(zip(self.start_zyx, self.stop_zyx, strict=True))
            if other != axis
        )
        return Region(y0, x0, y1, x1)

    def planes(self, axis: int) -> range:
        """Numbers of the slices along an axis that it meets."""
        return range(0) if self.is_empty else range(self.start_zyx[axis], self.stop_zyx[axis])


def bounds_of(mask: NDArray[np.bool_]) -> VoxelBox:
    """Tight bounds of a mask (z, y, x)."""
    bounds = mask_bounds(mask)
    if bounds is None:
        return VoxelBox()
    z, y, x = bounds
    return VoxelBox((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


@dataclass(frozen=True, slots=True, eq=False)
class PackedMask:
    """A mask of one bit a voxel: what lies in `box`, nothing elsewhere."""

    box: VoxelBox
    bits: NDArray[np.uint8]

    @classmethod
    def of(cls, volume: NDArray[Any], box: VoxelBox) -> PackedMask:
        """What is not 0 of `volume` in `box`, in tight bounds."""
        inside = np.asarray(volume[box.index] != 0)
        tight = bounds_of(inside)
        if tight.is_empty:
            return cls(tight, np.zeros(0, dtype=np.uint8))
        z, y, x = (a + b for a, b in zip(box.start_zyx, tight.start_zyx, strict=True))
        dz, dy, dx = (b - a for a, b in zip(tight.start_zyx, tight.stop_zyx, strict=True))
        moved = VoxelBox((z, y, x), (z + dz, y + dy, x + dx))
        return cls(moved, np.packbits(inside[tight.index]))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool, the shape of `box`."""
        shape = tuple(b - a for a, b in zip(self.box.start_zyx, self.box.stop_zyx, strict=True))
        count = int(np.prod(shape))
        return np.unpackbits(self.bits, count=count).astype(bool).reshape(shape)

    @property
    def num_bytes(self) -> int:
        """Memory it takes."""
        return self.bits.nbytes
