"""What the model thinks of the masks that it made, and what is known about each slice of the current object."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.review import SliceReview, review_slices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.results import SegmentResult
    from napari_medicosam.ui.annotation import Annotation

    Key = tuple[int, SlicePlane]

_KEPT = 4
"""Masks of a slice, undone ones among them, whose scores are kept."""


def keep_score(annotation: Annotation, result: SegmentResult, area: int) -> None:
    """What the model thinks of a mask of which `area` pixels were written; of those before, undo may need it again."""
    key = (result.object_id, result.plane)
    kept = [one for one in annotation.scores.get(key, ()) if one[1] != area]
    # Shapes have no opinion of themselves, and an empty slice may be one that nobody was asked about.
    if area and not math.isnan(result.iou_prediction):
        kept.append((result.iou_prediction, area))
    annotation.scores[key] = tuple(kept[-_KEPT:])


def score_of(annotation: Annotation, object_id: int, plane: SlicePlane, mask: NDArray[np.bool_]) -> float:
    """Predicted IoU of an object's mask on a slice; NaN when it is not the model's."""
    predicted = _score(annotation, (object_id, plane), int(np.count_nonzero(mask)))
    return math.nan if predicted is None else predicted


def find_scores(annotation: Annotation) -> None:
    """Wherever a mask is there whose score is known, let that count as the newest."""
    for (object_id, plane), known in list(annotation.scores.items()):
        if len(known) > 1 and object_id in annotation.table.records:
            score_of(annotation, object_id, plane, annotation.mask_of(object_id, plane))


def saved_scores(annotation: Annotation) -> dict[Key, tuple[float, int]]:
    """One score a slice, with its area: the newest."""
    return {key: known[-1] for key, known in annotation.scores.items() if known}


def take_scores(annotation: Annotation, scores: Mapping[Key, tuple[float, int]]) -> None:
    """Know what was saved."""
    annotation.scores.update({key: (score,) for key, score in scores.items()})


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
    planes = [plane for known, plane in annotation.scores if known == object_id and plane.axis == axis]
    found = {plane.index: _score(annotation, (object_id, plane), int(areas[plane.index])) for plane in planes}
    predicted = {index: score for index, score in found.items() if score is not None}
    anchors = {plane.index for plane in annotation.user_planes if plane.axis == axis}
    agreements = {
        plane.index: agreement
        for plane, agreement in annotation.table.agreements_of(object_id).items()
        if plane.axis == axis
    }
    return review_slices(areas, counts.shared(axis), predicted, anchors, agreements)


def _score(annotation: Annotation, key: Key, area: int) -> float | None:
    """What the model thinks of the mask of this area, which from now on counts as the newest."""
    known = annotation.scores.get(key, ())
    found = next((one for one in known if one[1] == area), None)
    if found is None:
        return None
    if found is not known[-1]:
        annotation.scores[key] = (*(one for one in known if one is not found), found)
    return found[0]
