"""Where a segmented object deserves a second look: what is known about each of its slices, and which are doubtful."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.consensus import LOW_AGREEMENT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

LOW_IOU_PREDICTION = 0.6
"""Below it the model itself does not trust its mask."""

LOW_NEIGHBOUR_IOU = 0.5
"""Below it a mask has little to do with the one beside it."""

AREA_JUMP = 1.8
"""From one slice to the next no object of a few slices grows or shrinks so much, except at its ends."""

STEEP_END = 0.4
"""Share of an object's largest area: hardly any object ends with more (docs/tuning.md, Ends)."""


@dataclass(frozen=True, slots=True)
class SliceReview:
    """One slice of one object.

    Attributes:
        index: number of the slice.
        area: pixels of the mask.
        iou_prediction: the model's estimate when it made this mask; None where the user did.
        neighbour_iou: the higher of its IoUs with the slices beside it that have a mask; None without such.
        is_anchor: the user has prompted, painted or approved it.
        agreement: how well the planes that voted on the mask agree here (`Consensus.slice_agreement`), 0..1; None where
            none voted, or where the mask is another one since, as for anchors.
        reasons: why it is doubtful, for people; empty when it is not, as always for anchors.
    """

    index: int
    area: int
    iou_prediction: float | None
    neighbour_iou: float | None
    is_anchor: bool
    agreement: float | None = None
    reasons: tuple[str, ...] = ()


def review_slices(
    areas: NDArray[np.int64],
    shared: NDArray[np.int64],
    iou_predictions: Mapping[int, float],
    anchors: AbstractSet[int] = frozenset(),
    agreements: Mapping[int, float] = MappingProxyType({}),
) -> tuple[SliceReview, ...]:
    """What is known about each slice from the first to the last that has a mask.

    What one of three planes found beyond these ends was outvoted there, and is nobody's doubt. An end is doubtful where
    the object is still large, unless the image ends there, or the slice or the empty one beyond it is the user's.

    Args:
        areas: int64 (slices,), pixels of the mask on each slice of the volume.
        shared: int64 (slices,), pixels that each slice's mask shares with that of the next slice.
        iou_predictions: of the model, by number of the slice, where they belong to the mask that is there.
        anchors: numbers of the user's slices.
        agreements: of the planes that voted on the mask, by number of the slice.
    """
    used = np.flatnonzero(areas)
    if used.size == 0:
        return ()
    steep_ends = _steep_ends(areas, anchors)
    reviews = []
    for index in range(int(used[0]), int(used[-1]) + 1):
        area, neighbours, ious = int(areas[index]), [], []
        for other in (index - 1, index + 1):
            if 0 <= other < len(areas) and areas[other]:
                both = int(shared[min(index, other)])
                neighbours.append(int(areas[other]))
                ious.append(both / (area + int(areas[other]) - both))
        is_anchor = index in anchors
        review = SliceReview(
            index,
            area,
            None if is_anchor else iou_predictions.get(index),
            max(ious, default=None) if area else None,
            is_anchor,
            None if is_anchor else agreements.get(index),
        )
        reviews.append(_judged(review, neighbours, steep_ends.get(index)))
    return tuple(reviews)


def next_doubtful(reviews: tuple[SliceReview, ...], index: int) -> int | None:
    """Number of the doubtful slice after `index`, from the start again after the last; None when none is doubtful."""
    doubtful = [review.index for review in reviews if review.reasons]
    return next((one for one in doubtful if one > index), doubtful[0] if doubtful else None)


def _steep_ends(areas: NDArray[np.int64], anchors: AbstractSet[int]) -> dict[int, float]:
    """Outer slices of an object, nobody's word, that are too large for ends: their shares of the largest area."""
    used = np.flatnonzero(areas)
    first, last = int(used[0]), int(used[-1])
    count, largest = last - first + 1, int(areas.max())
    # The outermost of a ball's slices have up to this share, much where there are few.
    most = max(STEEP_END, 4 * (count - 1) / count**2) if count > 1 else 1.0
    ends = {}
    for index, beyond in ((first, first - 1), (last, last + 1)):
        is_open = 0 <= beyond < len(areas) and not {index, beyond} & anchors
        share = int(areas[index]) / largest
        if is_open and share > most:
            ends[index] = share
    return ends


def _judged(review: SliceReview, neighbours: list[int], end_share: float | None) -> SliceReview:
    if review.is_anchor:
        return review
    reasons = []
    if not review.area:
        reasons.append("empty between two slices that are not")
    if review.iou_prediction is not None and review.iou_prediction < LOW_IOU_PREDICTION:
        reasons.append(f"the model expects an IoU of {review.iou_prediction:.2f} only")
    if review.agreement is not None and review.agreement < LOW_AGREEMENT:
        reasons.append(f"the three planes agree by {review.agreement:.2f} only")
    # Beside its ends an object may change much, so there must be neighbours on both sides, and both must disagree.
    is_inside = len(neighbours) == 2 and review.area > 0
    if is_inside and review.neighbour_iou is not None and review.neighbour_iou < LOW_NEIGHBOUR_IOU:
        reasons.append(f"IoU of at most {review.neighbour_iou:.2f} with the slices beside it")
    if is_inside and all(abs(math.log(review.area / area)) > math.log(AREA_JUMP) for area in neighbours):
        reasons.append("its area is unlike that of both slices beside it")
    if end_share is not None:
        reasons.append(f"the object ends here with {100 * end_share:.0f} % of its largest area")
    return replace(review, reasons=tuple(reasons))
