"""One mask from several of the same object, such as propagations along three planes, and where they disagree."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.bounds import check_mask, mask_bounds
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.metrics import dice
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LOW_AGREEMENT = 0.8
"""Below it masks of one object differ by more than its outline."""


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """What several masks say together.

    Attributes:
        mask: bool (z, y, x), read-only: the voxels that enough masks have.
        votes: uint8 (z, y, x), read-only: how many masks have each voxel.
        num_masks: how many there are.
        mean_dice: mean Dice over all pairs of them; 1.0 when all are empty.
    """

    mask: NDArray[np.bool_]
    votes: NDArray[np.uint8]
    num_masks: int
    mean_dice: float

    def slice_agreement(self, axis: int = 0) -> NDArray[np.float64]:
        """How well the masks agree on each slice along an axis, 0..1.

        Dice over all pairs at once: twice the voxels that two share, summed over pairs, over the voxels that the two
        have, summed over pairs. 1 where all are equal, 0 where no two share a voxel; unlike a mean of Dice it does not
        reward two masks for being empty together where a third is not.

        Args:
            axis: 0, 1 or 2.

        Returns:
            float64 (slices,); NaN where all masks are empty, so that nobody is sent to such a slice.
        """
        SlicePlane(axis, 0)
        agreement = np.full(self.votes.shape[axis], np.nan)
        bounds = mask_bounds(self.votes > 0)
        if bounds is None:
            return agreement
        votes = self.votes[bounds]
        others = tuple(other for other in range(3) if other != axis)
        # n voxels with v votes: v (v - 1) / 2 pairs share them, and each vote counts in num_masks - 1 pairs.
        counts = [np.count_nonzero(votes == v, axis=others) for v in range(1, self.num_masks + 1)]
        shared = sum(n * v * (v - 1) for v, n in enumerate(counts, start=1))
        either = sum(n * v * (self.num_masks - 1) for v, n in enumerate(counts, start=1))
        agreement[bounds[axis]] = np.divide(
            shared, either, out=np.full(len(counts[0]), np.nan), where=either > 0
        )
        return agreement

    def agreement_by_plane(self) -> dict[SlicePlane, float]:
        """`slice_agreement` of every slice along all three axes, but for those where all masks are empty."""
        return {
            SlicePlane(axis, index): float(agreement)
            for axis in range(3)
            for index, agreement in enumerate(self.slice_agreement(axis))
            if not np.isnan(agreement)
        }

    def doubtful_slices(self, axis: int = 0, below: float = LOW_AGREEMENT) -> tuple[int, ...]:
        """Slices along an axis whose agreement is below a limit, the worst first, of equals the lower index first."""
        agreement = self.slice_agreement(axis)
        order = np.argsort(agreement, kind="stable")  # NaN comes last
        return tuple(int(index) for index in order if agreement[index] < below)


def consensus(masks: Sequence[NDArray[np.bool_]], min_votes: int = 2) -> Consensus:
    """The voxels that at least `min_votes` of the masks have.

    Args:
        masks: bool (z, y, x) of one shape, 2 to 255 of them, each in the volume's own array order whatever plane it
            was propagated along. Empty ones vote against everything.
        min_votes: from 1 (everything that any has) to the number of masks (only what all have).

    Raises:
        InputError: for masks that cannot be compared, or votes that cannot be reached.
    """
    if not 2 <= len(masks) <= 255:
        raise InputError(f"a consensus needs 2 to 255 masks, got {len(masks)}")
    if not 1 <= min_votes <= len(masks):
        raise InputError(f"wanted 1 to {len(masks)} votes, one a mask at most, got {min_votes}")
    for mask in masks:
        check_mask(mask)
        if mask.shape != masks[0].shape:
            raise InputError(f"masks to agree must have one shape, got {masks[0].shape} and {mask.shape}")
    votes = np.zeros(masks[0].shape, dtype=np.uint8)
    for mask in masks:
        votes += mask
    bounds = mask_bounds(votes > 0)
    inside = masks if bounds is None else [mask[bounds] for mask in masks]
    scores = [1.0 if bounds is None else dice(one, other) for one, other in combinations(inside, 2)]
    agreed = votes >= min_votes
    for array in (agreed, votes):
        array.setflags(write=False)
    return Consensus(agreed, votes, num_masks=len(masks), mean_dice=float(np.mean(scores)))
