"""What the model is told about a slice of the current object, frozen: prompts, and what the object already is there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompt_derivation import box_beside, prompts_to_correct
from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.ui.answers import MaskHint, mask_hint
from napari_medicosam.ui.users_word import has_mask_of_its_own

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_medicosam.core.prompts import BoxPrompt, PointPrompt
    from napari_medicosam.core.volume_prompts import VolumePrompts
    from napari_medicosam.ui.annotation import Annotation


def request_for(
    annotation: Annotation, plane: SlicePlane, before: VolumePrompts | None, generation: int
) -> SegmentRequest:
    """All that the model needs to know about the current object on a slice.

    Args:
        annotation: of the object.
        plane: a slice with prompts.
        before: the prompts before the last change. Where it only added some the last mask is refined;
            where it moved or removed one, or for None, the slice starts afresh.
        generation: number of the request.
    """
    size_yx = plane.size_yx(annotation.shape_zyx)
    prompts, hint = annotation.current.on(plane, size_yx), MaskHint()
    if before is not None and annotation.current.grew_from(before, plane):
        hint = mask_hint(annotation, plane)
        if prompts.mask is not None and _differs(prompts.mask, before.on(plane, size_yx).mask):
            # What was drawn now belongs to the object, beside what it was.
            hint = MaskHint(mask=prompts.mask | annotation.mask(plane))
        if hint.logits is not None:
            prompts = replace(prompts, mask=None, box=prompts.box or hint.box)
        elif hint.mask is not None:
            # A mask and a click without a box ruin what was good (docs/tuning.md, Corrections).
            prompts = prompts_to_correct(prompts, hint.mask)
    return SegmentRequest(
        image_slice=np.asarray(plane.cut(annotation.volume)),
        prompts=prompts,
        previous_logits=hint.logits,
        object_id=annotation.object_id,
        generation=generation,
        previous_view=hint.view,
        nearby_box=_box_beside(annotation, plane, prompts.points),
    )


def _box_beside(annotation: Annotation, plane: SlicePlane, points: Iterable[PointPrompt]) -> BoxPrompt | None:
    """About where the object is on the nearest slice that it has a mask on, if one is near."""

    def mask_at(index: int) -> NDArray[np.bool_]:
        beside = SlicePlane(plane.axis, index)
        mask = annotation.mask(beside)
        return mask if has_mask_of_its_own(annotation, beside) else np.zeros_like(mask)

    return box_beside(mask_at, plane.index, annotation.shape_zyx[plane.axis], points)


def _differs(mask: NDArray[np.bool_], other: NDArray[np.bool_] | None) -> bool:
    return other is None or not np.array_equal(mask, other)
