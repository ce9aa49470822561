"""What the log is told about answers of the model: all that it takes to ask again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.mask_log import (
    Answered,
    Propagated,
    PropagatedSlice,
    RunOfObject,
    Target,
)
from napari_medicosam.core.packing import Content

if TYPE_CHECKING:
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.mask_log import Masks
    from napari_medicosam.core.results import SegmentRequest, SegmentResult
    from napari_medicosam.core.session_state import ModelUse
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.tasks import ObjectPart, Propagation


def answered(
    annotation: Annotation, model: ModelUse | None, request: SegmentRequest, previous: int | None
) -> Answered | None:
    """An answer that is about to be written; None when nobody could ask again, and an edit has to tell of it.

    Args:
        annotation: where it is written.
        model: that answered, if that is known.
        request: the question.
        previous: number of the answer whose logits were fed back, if any were.
    """
    is_fed = request.previous_logits is not None
    if model is None or annotation.keeps_own or (is_fed and not annotation.log.knows(previous)):
        return None
    if request.prompts.excluded is not None:  # the log has no place for what was lassoed away
        return None
    prompts, object_id, plane = request.prompts, request.object_id, request.plane
    return Answered(
        model,
        target_of(annotation, _masks_of(annotation, object_id), object_id, plane),
        plane,
        prompts.points,
        prompts.box,
        None if prompts.mask is None else Content.of(prompts.mask),
        previous if is_fed else None,
        request.previous_view,
        request.nearby_box,
        annotation.log.new_number(),
    )


def target_of(annotation: Annotation, masks: Masks, object_id: int, plane: SlicePlane) -> Target:
    """Where the mask of an object on a slice is about to be written."""
    label_map = annotation.committed.label_map
    kept_out: tuple[int, ...] = ()
    if label_map is not None:
        present = np.flatnonzero(np.bincount(plane.cut(label_map).ravel()))
        allowed = annotation.policy.allowed(annotation.table, object_id)
        kept_out = tuple(present[~allowed[present]].tolist())
    return Target(masks, annotation.time, object_id, kept_out)


def propagated(annotation: Annotation, run: Propagation) -> Propagated:
    """A propagation that begins now."""
    return Propagated(annotation.time, run.stack.axis, tuple(_run_of(annotation, part) for part in run.parts))


def propagated_slice(
    annotation: Annotation, of: Propagated, result: SegmentResult, number: int
) -> PropagatedSlice:
    """A result of a propagation that is about to be written."""
    masks = _masks_of(annotation, result.object_id)
    return PropagatedSlice(target_of(annotation, masks, result.object_id, result.plane), of, number)


def _run_of(annotation: Annotation, part: ObjectPart) -> RunOfObject:
    run = part.run
    return RunOfObject(
        part.object_id,
        _masks_of(annotation, part.object_id),
        tuple(
            (one.plane.index, None if math.isnan(one.iou_prediction) else one.iou_prediction)
            for one in run.anchors
        ),
        tuple(sorted(run.stops)),
        run.z_range or (0, annotation.shape_zyx[run.anchors[0].plane.axis]),
        tuple(sorted(run.skip, key=str)),
    )


def _masks_of(annotation: Annotation, object_id: int) -> Masks:
    return "edited" if annotation.is_edited(object_id) else "labels"
