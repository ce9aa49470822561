"""What a clean-up would do to a mask: the mask after it, which voxels go and come, and how much that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.bounds import mask_bounds
from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.post_processing import clean_up_inside, count_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.post_processing import CleanUp

GOES, COMES = 1, 2
"""What happens to a voxel, in `CleanUpEffect.changes`."""


@dataclass(frozen=True, slots=True, eq=False)
class CleanUpEffect:
    """What a clean-up does to a mask. Pairs are before and after it.

    Attributes:
        after: the mask after it.
        box: tight bounds of what changes; empty when nothing does.
        changes: uint8, the shape of `box`: `GOES`, `COMES`, or 0 for what stays in or out.
        num_voxels: how large the mask is.
        num_pieces: connected components (26 neighbours) of it.
        num_going, num_coming: voxels that change.
        slices: numbers of the slices that change, along each array axis.
    """

    after: PackedMask
    box: VoxelBox
    changes: NDArray[np.uint8]
    num_voxels: tuple[int, int]
    num_pieces: tuple[int, int]
    num_going: int
    num_coming: int
    slices: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def effect_of(
    packed: PackedMask,
    shape_zyx: tuple[int, int, int],
    spacing_zyx: tuple[float, float, float],
    settings: CleanUp,
    is_closed: NDArray[np.bool_] | None = None,
) -> CleanUpEffect:
    """What `core.post_processing.clean_up` does to a mask in a volume of this shape.

    Args:
        packed: the mask.
        shape_zyx: of the volume.
        spacing_zyx: in mm.
        settings: what to do.
        is_closed: bool, the shape of `packed.tight_box`: where the mask may not be afterwards; None for nowhere.

    Raises:
        InputError: for a spacing that is not three sizes above 0.
    """
    whole = packed.tight_box
    start, before = whole.start_zyx, packed.inside(whole)
    after = clean_up_inside(before, start, shape_zyx, spacing_zyx, settings)
    if is_closed is not None:
        after &= ~is_closed
    changed = before != after
    bounds = mask_bounds(changed) or (slice(0, 0),) * 3
    going, coming = before[bounds] & changed[bounds], after[bounds] & changed[bounds]
    z, y, x = (first + inside.start for first, inside in zip(start, bounds, strict=True))
    depth, height, width = going.shape
    return CleanUpEffect(
        after=PackedMask.of(after, VoxelBox((0, 0, 0), whole.shape)).moved(start),
        box=VoxelBox((z, y, x), (z + depth, y + height, x + width)),
        changes=GOES * going.view(np.uint8) + COMES * coming.view(np.uint8),
        num_voxels=(int(np.count_nonzero(before)), int(np.count_nonzero(after))),
        num_pieces=(count_pieces(before), count_pieces(after)),
        num_going=int(np.count_nonzero(going)),
        num_coming=int(np.count_nonzero(coming)),
        slices=(
            _used(changed[bounds], 0, z),
            _used(changed[bounds], 1, y),
            _used(changed[bounds], 2, x),
        ),
    )


def _used(mask: NDArray[np.bool_], axis: int, first: int) -> tuple[int, ...]:
    """Numbers of the slices along an axis that have voxels, where the mask's first slice is number `first`."""
    others = tuple(other for other in range(3) if other != axis)
    return tuple((np.flatnonzero(mask.any(axis=others)) + first).tolist())
