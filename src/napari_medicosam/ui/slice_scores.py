"""What the model thinks of the masks that it made, and what is known about each slice of the current object."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.review import SliceReview, review_slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.results import SegmentResult
    from napari_medicosam.ui.annotation import Annotation


def keep_score(annotation: Annotation, result: SegmentResult, area: int) -> None:
    """What the model thinks of a mask of which `area` pixels were written."""
    key = (result.object_id, result.plane)
    annotation.scores.pop(key, None)
    if not math.isnan(result.iou_prediction):  # shapes have no opinion of themselves
        annotation.scores[key] = (result.iou_prediction, area)


def score_of(annotation: Annotation, object_id: int, plane: SlicePlane, mask: NDArray[np.bool_]) -> float:
    """Predicted IoU of an object's mask on a slice; NaN when it is not the model's."""
    predicted, area = annotation.scores.get((object_id, plane), (math.nan, -1))
    return predicted if area == np.count_nonzero(mask) else math.nan


def review(annotation: Annotation, axis: int, seconds: float | None = None) -> tuple[SliceReview, ...] | None:
    """What is known about each slice of the current object along an axis.

    None when it takes longer than `seconds` to know: ask again, it goes on where it was.
    """
    record, object_id = annotation.table.record, annotation.object_id
    if record.is_committed:
        counts, is_counted = annotation.committed.counts(object_id, record.bounds, axis, seconds)
    else:
        counts, is_counted = annotation.edited.counts(axis, seconds)
    if not is_counted:
        return None
    areas = counts.areas(axis)
    predicted = {
        plane.index: score
        for (known, plane), (score, area) in annotation.scores.items()
        if known == object_id and plane.axis == axis and areas[plane.index] == area
    }
    anchors = {plane.index for plane in annotation.user_planes if plane.axis == axis}
    agreements = {
        plane.index: agreement
        for plane, agreement in annotation.table.agreements_of(object_id).items()
        if plane.axis == axis
    }
    return review_slices(areas, counts.shared(axis), predicted, anchors, agreements)
