"""The last answer about each prompted slice: written, chosen among candidates, refined by the next click."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.mask_log import Chosen
from napari_medicosam.core.results import Candidate, Region, SegmentResult, frozen_array
from napari_medicosam.ui.log_entries import target_of
from napari_medicosam.ui.slice_scores import keep_score
from napari_medicosam.ui.users_word import has_mask_of_its_own, with_users_word

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.history import Step
    from napari_medicosam.core.prompts import BoxPrompt
    from napari_medicosam.core.volume_prompts import VolumePrompts
    from napari_medicosam.ui.annotation import Annotation


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The last mask of an object on a prompted slice as it was written, its low-res logits, the part of the slice
    that these cover (None: all of it), the box that it was asked with, drawn or not, and its number in the log.
    """  # noqa: D205

    written: NDArray[np.bool_]
    low_res_logits: NDArray[np.float32]
    view: Region | None = None
    candidates: tuple[Candidate, ...] = ()
    box: BoxPrompt | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MaskHint:
    """What an object already is on a slice: logits with their view (None: the whole slice) and the box they were asked
    with, or a mask, or neither.
    """  # noqa: D205

    logits: NDArray[np.float32] | None = None
    view: Region | None = None
    mask: NDArray[np.bool_] | None = None
    box: BoxPrompt | None = None


def with_mask(result: SegmentResult, mask: NDArray[np.bool_]) -> SegmentResult:
    """The same result with another mask; itself when it is the same one."""
    return result if mask is result.mask else replace(result, mask=mask, region=Region.of_mask(mask))


def write_result(annotation: Annotation, result: SegmentResult, step: Step | None) -> None:
    """Write the mask of a slice of the object being edited and keep what the model thinks of it."""
    annotation.write(result.plane, result.mask, step)
    keep_score(annotation, result, int(np.count_nonzero(annotation.mask(result.plane))))


def write_answer(
    annotation: Annotation,
    result: SegmentResult,
    box: BoxPrompt | None,
    step: Step | None,
    number: int | None = None,
) -> None:
    """Write the mask of a prompted slice and keep its logits, and what was asked, for the next correction."""
    write_result(annotation, result, step)
    written = frozen_array(annotation.mask(result.plane))
    answer = Answer(written, result.low_res_logits, result.view, result.candidates, box, number)
    annotation.answers[result.object_id, result.plane] = answer


def is_as_answered(annotation: Annotation, plane: SlicePlane) -> bool:
    """True where the mask of a slice of the current object is its last answer, and was not changed since."""
    answer = annotation.answers.get((annotation.object_id, plane))
    return answer is not None and np.array_equal(annotation.mask(plane), answer.written)


def has_candidates(annotation: Annotation, plane: SlicePlane) -> bool:
    """True where the model gave several masks for the one click on a slice, and the mask was not changed since."""
    answer = annotation.answers.get((annotation.object_id, plane))
    return answer is not None and bool(answer.candidates) and is_as_answered(annotation, plane)


def next_candidate(annotation: Annotation, plane: SlicePlane, step: Step) -> None:
    """Take the next smaller of the masks that the click on a slice may mean, after the smallest the largest.

    There has to be one: `has_candidates`.
    """
    object_id = annotation.object_id
    answer = annotation.answers[object_id, plane]
    chosen = [np.array_equal(one.low_res_logits, answer.low_res_logits) for one in answer.candidates]
    which = (chosen.index(True) + 1) % len(chosen)
    candidate, entry = answer.candidates[which], None
    result = SegmentResult(
        plane,
        candidate.mask,
        Region.of_mask(candidate.mask),
        candidate.iou_prediction,
        candidate.low_res_logits,
        object_id,
        view=answer.view,
        candidates=answer.candidates,
    )
    kept = with_mask(result, with_users_word(annotation, object_id, plane, result.mask))
    is_told = kept is result and annotation.log.knows(answer.number) and not annotation.keeps_own
    if is_told and answer.number is not None:
        target = target_of(annotation, "edited", object_id, plane)
        entry = Chosen(target, plane, answer.number, which, annotation.log.new_number())
    with annotation.log.instead(entry):
        write_answer(annotation, kept, answer.box, step, None if entry is None else entry.number)


def lasso_away(annotation: Annotation, plane: SlicePlane, before: VolumePrompts, step: Step) -> bool:
    """Take what was lassoed away since `before` from the current object's mask on a slice, and nothing beside it.

    The model is not asked: what it says then is worse than the mask that was there (docs/tuning.md, Corrections).

    Returns:
        False, and nothing is done, where the object has no mask yet or other prompts were changed, too.
    """
    away = annotation.current.lassoed_away_since(before, plane, plane.size_yx(annotation.shape_zyx))
    if away is None or not has_mask_of_its_own(annotation, plane):
        return False
    left = with_users_word(annotation, annotation.object_id, plane, annotation.mask(plane) & ~away)
    annotation.write(plane, left, step)
    return True


def mask_hint(annotation: Annotation, plane: SlicePlane) -> MaskHint:
    """What the current object already is on the slice: low-res logits of its last answer; or, where it
    was propagated or painted since, its mask; or neither.
    """  # noqa: D205
    own = annotation.mask(plane)
    answer = annotation.answers.get((annotation.object_id, plane))
    if answer is not None and own.any() and np.array_equal(own, answer.written):
        return MaskHint(answer.low_res_logits, answer.view, box=answer.box)
    return MaskHint(mask=own) if has_mask_of_its_own(annotation, plane) else MaskHint()
