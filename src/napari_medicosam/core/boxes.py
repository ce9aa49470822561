"""Boxes of voxels, and what lies in them kept small: what undo remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.results import Region

_BITS_SET = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
"""By the value of a byte."""


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
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each side."""
        z, y, x = (stop - start for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

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

    def common(self, other: VoxelBox) -> VoxelBox:
        """What lies in both."""
        z0, y0, x0 = (max(a, b) for a, b in zip(self.start_zyx, other.start_zyx, strict=True))
        z1, y1, x1 = (min(a, b) for a, b in zip(self.stop_zyx, other.stop_zyx, strict=True))
        return VoxelBox((z0, y0, x0), (z1, y1, x1))

    def planes(self, axis: int) -> range:
        """Numbers of the slices along an axis that it meets."""
        return range(0) if self.is_empty else range(self.start_zyx[axis], self.stop_zyx[axis])


def box_of_used(slices: Iterable[NDArray[Any]]) -> VoxelBox:
    """Tight bounds of what is not 0 in a label map (z, y, x), or in its slices as they come: no copy of the volume."""
    box = VoxelBox()
    for z, one in enumerate(slices):
        columns = np.flatnonzero(one.max(axis=0))  # quicker than `any`, and than along the rows
        if not columns.size:
            continue
        y0, y1 = box.start_zyx[1], box.stop_zyx[1]
        if box.is_empty or one[:y0].any() or one[y1:].any():
            rows = np.flatnonzero(one.max(axis=1))
            y0, y1 = int(rows[0]), int(rows[-1]) + 1
        box = box.union(VoxelBox((z, y0, int(columns[0])), (z + 1, y1, int(columns[-1]) + 1)))
    return box


@dataclass(frozen=True, slots=True, eq=False)
class PackedMask:
    """A mask of one bit a voxel: what lies in `box`, nothing elsewhere.

    Attributes:
        box: no slice of it above or below the mask; rows and columns may be wider.
        bits: uint8 (slices of the box, bytes a slice).
    """

    box: VoxelBox = field(default_factory=VoxelBox)
    bits: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.uint8))

    @classmethod
    def of(cls, volume: NDArray[Any], box: VoxelBox, label: int | None = None) -> PackedMask:
        """What is `label` in the part `box` of a label map (z, y, x); for None, what is not 0.

        One slice after the other: the parts of a slice stay in the processor's cache.
        """
        _, rows, columns = box.index
        packed, used = [], []
        for z in box.planes(0):
            inside = volume[z, rows, columns]
            packed.append(np.packbits(inside != 0 if label is None else inside == label))
            if packed[-1].any():
                used.append(z)
        if not used:
            return cls()
        first, z0, z1 = box.start_zyx[0], used[0], used[-1] + 1
        tight = VoxelBox((z0, *box.start_zyx[1:]), (z1, *box.stop_zyx[1:]))
        return cls(tight, np.stack(packed[z0 - first : z1 - first]))

    def moved(self, by_zyx: tuple[int, int, int]) -> PackedMask:
        """The same mask elsewhere."""
        if self.is_empty:
            return self
        start, stop = (
            tuple(a + b for a, b in zip(corner, by_zyx, strict=True))
            for corner in (self.box.start_zyx, self.box.stop_zyx)
        )
        return PackedMask(VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])), self.bits)

    @property
    def num_voxels(self) -> int:
        """How large it is."""
        return int(_BITS_SET[self.bits].sum(dtype=np.int64))

    @property
    def tight_box(self) -> VoxelBox:
        """Tight bounds of the mask along all axes. Costs little: a few operations a byte."""
        if self.is_empty:
            return VoxelBox()
        _, height, width = self.box.shape
        flat = np.unpackbits(np.bitwise_or.reduce(self.bits, axis=0), count=height * width)
        shadow = flat.reshape(height, width)
        rows, columns = np.flatnonzero(shadow.any(axis=1)), np.flatnonzero(shadow.any(axis=0))
        (z0, y0, x0), (z1, _, _) = self.box.start_zyx, self.box.stop_zyx
        return VoxelBox(
            (z0, y0 + int(rows[0]), x0 + int(columns[0])),
            (z1, y0 + int(rows[-1]) + 1, x0 + int(columns[-1]) + 1),
        )

    @property
    def is_empty(self) -> bool:
        """True for a mask without a voxel."""
        return self.box.is_empty

    @property
    def mask(self) -> NDArray[np.bool_]:
        """bool, the shape of `box`."""
        depth, rows, columns = self.box.shape
        flat = np.unpackbits(self.bits, axis=1, count=rows * columns) if depth else self.bits
        return flat.view(np.bool_).reshape(self.box.shape)

    def unpacked(self, shape_zyx: tuple[int, int, int]) -> NDArray[np.bool_]:
        """bool, in a volume of this shape."""
        volume = np.zeros(shape_zyx, dtype=bool)
        volume[self.box.index] = self.mask
        return volume

    def inside(self, box: VoxelBox) -> NDArray[np.bool_]:
        """bool, the shape of a box that lies in this one's: the mask there."""
        z, y, x = (
            slice(start - first, stop - first)
            for first, start, stop in zip(self.box.start_zyx, box.start_zyx, box.stop_zyx, strict=True)
        )
        _, rows, columns = self.box.shape
        flat = np.unpackbits(self.bits[z], axis=1, count=rows * columns)
        return flat.view(np.bool_).reshape(len(flat), rows, columns)[:, y, x]

    def anywhere(self, box: VoxelBox) -> NDArray[np.bool_]:
        """bool, the shape of any box of the volume: the mask there."""
        found = np.zeros(box.shape, dtype=bool)
        common = box.common(self.box)
        if not common.is_empty:
            z, y, x = (
                slice(start - first, stop - first)
                for first, start, stop in zip(box.start_zyx, common.start_zyx, common.stop_zyx, strict=True)
            )
            found[z, y, x] = self.inside(common)
        return found

    def slices(self) -> Iterator[tuple[tuple[int, slice, slice], NDArray[np.bool_]]]:
        """For each slice that has voxels: its index in a volume, and its mask there, bool (rows, columns)."""
        _, rows, columns = self.box.index
        depth, height, width = self.box.shape
        for i in range(depth):
            if self.bits[i].any():
                flat = np.unpackbits(self.bits[i], count=height * width)
                yield (self.box.start_zyx[0] + i, rows, columns), flat.view(np.bool_).reshape(height, width)

    @property
    def num_bytes(self) -> int:
        """Memory it takes."""
        return self.bits.nbytes
