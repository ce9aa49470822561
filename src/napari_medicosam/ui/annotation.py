"""What is known about one image: its objects, their prompts and masks, and how to go back a step.

The mask of the current object, while it is being edited, lies in a labels layer of its own (`object_layer`); masks of
committed objects lie in `labels`. No voxel of an object is in both.
"""

from __future__ import annotations

import math
import time as clock
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import VoxelBox
from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.drawn_prompts import pasted
from napari_medicosam.core.effort import EffortLog
from napari_medicosam.core.geometry import SlicePlane, SliceStack
from napari_medicosam.core.history import History, Step
from napari_medicosam.core.mask_log import Chosen, MaskLog, Masks, Target
from napari_medicosam.core.mask_writing import write_edited
from napari_medicosam.core.object_table import ObjectTable
from napari_medicosam.core.results import Candidate, Region, SegmentResult, frozen_array
from napari_medicosam.core.review import SliceReview, review_slices
from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.committed_masks import CommittedMasks
from napari_medicosam.ui.edited_mask import EditedMask
from napari_medicosam.ui.layers import LayerSet
from napari_medicosam.ui.swaps import EditedSwap, SliceSwap, TableSwap

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import PackedMask
    from napari_medicosam.core.prompts import BoxPrompt
    from napari_medicosam.core.volume_prompts import Prompt, VolumePrompts


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


@dataclass(eq=False, slots=True)
class Annotation:
    """All that belongs to one image layer, or to one time point of it. Only the GUI thread touches it."""

    image: Image
    volume: Any
    ours: LayerSet = field(default_factory=LayerSet)
    """Shared by all time points of an image, as is `effort`."""
    effort: EffortLog = field(default_factory=EffortLog)
    time: int = 0
    table: ObjectTable = field(default_factory=ObjectTable)
    policy: CommitPolicy = field(default_factory=CommitPolicy)
    answers: dict[tuple[int, SlicePlane], Answer] = field(default_factory=dict)
    scores: dict[tuple[int, SlicePlane], tuple[float, int]] = field(default_factory=dict)
    """Predicted IoU of the masks that the model made, with their areas: of another area, it is another mask."""
    history: History = field(default_factory=History)
    log: MaskLog = field(default_factory=MaskLog)
    """How all masks came about; shared by all time points of an image."""
    edited: EditedMask = field(init=False)
    committed: CommittedMasks = field(init=False)

    def __post_init__(self) -> None:
        self.edited = EditedMask(self.ours, self.shape_zyx, self.time, log=self.log)
        self.committed = CommittedMasks(self.ours, self.shape_zyx, self.time, log=self.log)

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        z, y, x = self.volume.shape[:3]
        return int(z), int(y), int(x)

    @property
    def object_id(self) -> int:
        """The current object."""
        return self.table.current

    @property
    def current(self) -> VolumePrompts:
        """Prompts of the current object."""
        return self.table.prompts_of(self.object_id)

    @property
    def object_layer(self) -> Labels | None:
        """Where the mask of the object that is being edited lies."""
        return self.ours.object_layer

    @property
    def labels(self) -> Labels | None:
        """Where committed masks lie."""
        return self.ours.labels

    @property
    def is_empty(self) -> bool:
        """True when the current object has neither prompts nor a mask."""
        return not self.current.planes and not self.table.record.is_committed and not self.num_open_voxels

    @property
    def user_planes(self) -> frozenset[SlicePlane]:
        """Slices of the current object that the user has prompted, painted or approved."""
        return self.user_planes_of(self.object_id)

    def user_planes_of(self, object_id: int) -> frozenset[SlicePlane]:
        """Slices of an object that the user has prompted, painted or approved."""
        return self.table.prompts_of(object_id).planes | self.table.anchors_of(object_id)

    def check_unlocked(self, object_id: int | None = None) -> None:
        """Raise `InputError` when an object (None: the current one) is locked: to be asked before a step begins."""
        record = self.table.record if object_id is None else self.table.find(object_id)
        if record.is_locked:
            raise InputError(f"{record.name!r} is locked: unlock it to change it")

    def is_edited(self, object_id: int) -> bool:
        """True for the object whose mask lies in the object layer."""
        return object_id == self.object_id and not self.table.record.is_committed

    def forget(self, layer: Any) -> None:
        """A layer is being removed from the viewer: what was known of masks in it is gone."""
        if layer is not None and layer in (self.labels, self.object_layer):
            self.answers.clear()
            self.history.clear()
        if layer is self.object_layer and layer is not None:
            self.edited.forget()
        if layer is self.labels and layer is not None:
            self.committed.forget()

    # ------------------------------------------------------------------ steps

    def begin(self, kind: str) -> Step:
        """A step to undo, with the objects and prompts as they are."""
        step = self.history.begin(kind, self.object_id)
        self.log.action = kind
        self.effort.note(self.object_id, kind.split()[0], clock.monotonic())
        self.keep_table(step)
        return step

    @contextmanager
    def step(self, kind: str) -> Iterator[Step]:
        """A step to undo. An `InputError` in it takes back what was done so far, and there is no step."""
        step = self.begin(kind)
        try:
            yield step
        except InputError:
            step.undo()
            self.history.discard(step)
            raise

    def begin_late(self, object_id: int, kind: str = "late answer") -> Step:
        """A step for an answer that came after the user went on to something else."""
        step = self.history.begin(kind, object_id)
        self.log.action = step.kind
        self.keep_table(step)
        return step

    def step_for(self, step: Step, plane: SlicePlane, object_id: int) -> Step:
        """What a mask that comes now belongs to: a step of its own where a newer one than `step` is in its way.

        Steps are taken back newest first: what was written over a newer one cannot be put back after it.
        """
        newer = self.history.since(step)
        is_free = not newer
        if self.is_edited(object_id):
            changed = [
                key for one in newer for key, swap in one.swaps.items() if not isinstance(swap, TableSwap)
            ]
            is_free = not any(_may_meet(key, plane) for key in changed)
        return step if is_free else self.begin_late(object_id, step.kind)

    def with_strokes_since(self, step: Step, plane: SlicePlane, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The mask, but where the user painted on the slice after this step: there it is as it was painted."""
        for newer in self.history.since(step):
            swap = newer.swaps.get(plane)
            if newer.kind == "paint" and isinstance(swap, SliceSwap):
                before, now = pasted(swap.patch != 0, swap.region, mask.shape), self.mask(plane)
                return np.where(before != now, now, mask)
        return mask

    def note_prompt(self, prompt: Prompt, *, is_correction: bool) -> None:
        """A prompt was made: part of what the object costs."""
        kind = type(prompt).__name__.removeprefix("Volume").lower()
        self.effort.note(self.object_id, kind, clock.monotonic(), is_correction=is_correction)

    def keep_table(self, step: Step) -> None:
        """Remember the objects as they are, of another time point than the step's, too."""
        step.swaps["table", self.time] = TableSwap(self, self.table)

    # ------------------------------------------------------------------ the mask that is being edited

    def mask(self, plane: SlicePlane) -> NDArray[np.bool_]:
        """Where the slice belongs to the object being edited, bool (rows, columns)."""
        return self.edited.mask(plane)

    def mask_of(self, object_id: int, plane: SlicePlane) -> NDArray[np.bool_]:
        """Where the slice belongs to an object, edited or committed, bool (rows, columns)."""
        label_map = self.committed.label_map
        if self.is_edited(object_id) or label_map is None:
            return self.mask(plane)
        return np.asarray(plane.cut(label_map) == object_id)

    def packed_of(self, object_id: int) -> PackedMask:
        """All of an object, edited or committed; empty for one that is neither."""
        if self.is_edited(object_id):
            return self.edited.packed()
        return self.committed.packed(object_id, self.table.find(object_id).bounds)

    def stack(self, axis: int) -> SliceStack:
        """The slices of the image along an axis, with their spacing where the layer has a unit of length."""
        return SliceStack(self.volume, axis, layers.spacing_mm(self.image))

    def extent_of(self, object_id: int) -> VoxelBox:
        """Nothing of an object is outside."""
        return self.edited.extent if self.is_edited(object_id) else self.table.find(object_id).bounds

    @property
    def num_open_voxels(self) -> int:
        """Voxels of the object being edited."""
        return self.edited.num_voxels

    def write(self, plane: SlicePlane, mask: NDArray[np.bool_], step: Step | None) -> None:
        """Write the object's mask on a slice, except where other objects may not be touched.

        The first writing of a step remembers what was there. The layers must exist.
        """
        label_map, taken_map = self.edited.label_map, self.committed.label_map
        if label_map is None:
            return
        if step is not None:
            self.remember(plane, self.mask(plane), step)
        self.table = self.table.without_agreement(self.object_id, plane)
        region = write_edited(
            plane.cut(label_map),
            None if taken_map is None else plane.cut(taken_map),
            mask,
            lambda: self.policy.allowed(self.table, self.object_id),
            self.object_id,
        )
        if not region.is_empty:
            self.edited.changed(VoxelBox.of_slice(plane, region))

    def write_result(self, result: SegmentResult, step: Step | None) -> None:
        """Write the mask of a slice and keep what the model thinks of it."""
        self.write(result.plane, result.mask, step)
        self.keep_score(result, int(np.count_nonzero(self.mask(result.plane))))

    def keep_score(self, result: SegmentResult, area: int) -> None:
        """What the model thinks of a mask of which `area` pixels were written."""
        key = (result.object_id, result.plane)
        self.scores.pop(key, None)
        if not math.isnan(result.iou_prediction):  # shapes have no opinion of themselves
            self.scores[key] = (result.iou_prediction, area)

    def score_of(self, object_id: int, plane: SlicePlane, mask: NDArray[np.bool_]) -> float:
        """Predicted IoU of an object's mask on a slice; NaN when it is not the model's."""
        predicted, area = self.scores.get((object_id, plane), (math.nan, -1))
        return predicted if area == np.count_nonzero(mask) else math.nan

    def review(self, axis: int, seconds: float | None = None) -> tuple[SliceReview, ...] | None:
        """What is known about each slice of the current object along an axis.

        None when it takes longer than `seconds` to know: ask again, it goes on where it was.
        """
        record = self.table.record
        if record.is_committed:
            counts, is_counted = self.committed.counts(self.object_id, record.bounds, axis, seconds)
        else:
            counts, is_counted = self.edited.counts(axis, seconds)
        if not is_counted:
            return None
        areas = counts.areas(axis)
        predicted = {
            plane.index: score
            for (object_id, plane), (score, area) in self.scores.items()
            if object_id == self.object_id and plane.axis == axis and areas[plane.index] == area
        }
        anchors = {plane.index for plane in self.user_planes if plane.axis == axis}
        agreements = {
            plane.index: agreement
            for plane, agreement in self.table.agreements_of(self.object_id).items()
            if plane.axis == axis
        }
        return review_slices(areas, counts.shared(axis), predicted, anchors, agreements)

    def remember(self, plane: SlicePlane, before: NDArray[np.bool_], step: Step) -> None:
        """What a step must put back on a slice; the first word counts."""
        if plane not in step.swaps:
            region = Region.of_mask(before)
            patch = np.where(before[region.slices_yx], self.object_id, 0).astype(np.uint16)
            step.swaps[plane] = SliceSwap(self.edited, plane, region, patch)
            self.history.trim()

    def write_answer(
        self, result: SegmentResult, box: BoxPrompt | None, step: Step | None, number: int | None = None
    ) -> None:
        """Write the mask of a prompted slice and keep its logits, and what was asked, for the next correction."""
        self.write_result(result, step)
        written = frozen_array(self.mask(result.plane))
        answer = Answer(written, result.low_res_logits, result.view, result.candidates, box, number)
        self.answers[result.object_id, result.plane] = answer

    def next_candidate(self, plane: SlicePlane, step: Step) -> bool:
        """Take the next smaller of the masks that the click on a slice may mean, after the smallest the largest.

        Returns:
            False when the model gave one mask alone, or the mask was changed since.
        """
        answer = self.answers.get((self.object_id, plane))
        if answer is None or not answer.candidates or not np.array_equal(self.mask(plane), answer.written):
            return False
        chosen = [np.array_equal(one.low_res_logits, answer.low_res_logits) for one in answer.candidates]
        which = (chosen.index(True) + 1) % len(chosen)
        candidate, entry = answer.candidates[which], None
        result = SegmentResult(
            plane,
            candidate.mask,
            Region.of_mask(candidate.mask),
            candidate.iou_prediction,
            candidate.low_res_logits,
            self.object_id,
            view=answer.view,
            candidates=answer.candidates,
        )
        if answer.number is not None and self.log.knows(answer.number):
            target = self.target("edited", self.object_id, plane)
            entry = Chosen(target, plane, answer.number, which, self.log.new_number())
        with self.log.instead(entry):
            self.write_answer(result, answer.box, step, None if entry is None else entry.number)
        return True

    def target(self, masks: Masks, object_id: int, plane: SlicePlane) -> Target:
        """Where the mask of an object on a slice is about to be written, for the log."""
        label_map = self.committed.label_map
        kept_out: tuple[int, ...] = ()
        if label_map is not None:
            present = np.flatnonzero(np.bincount(plane.cut(label_map).ravel()))
            allowed = self.policy.allowed(self.table, object_id)
            kept_out = tuple(present[~allowed[present]].tolist())
        return Target(masks, self.time, object_id, kept_out)

    def replace_edited(self, packed: PackedMask, step: Step) -> None:
        """Put another mask in the place of the whole one that is being edited; other objects are left alone."""
        self.keep_edited(step)
        self.edited.put(packed, self.object_id)
        label_map, taken_map = self.edited.label_map, self.committed.label_map
        if label_map is not None and taken_map is not None:
            allowed = self.policy.allowed(self.table, self.object_id)
            for index, _ in packed.slices():
                taken = taken_map[index]
                if taken.any():
                    label_map[index][~allowed[taken]] = 0
            self.edited.changed(packed.box)

    def keep_edited(self, step: Step) -> PackedMask:
        """Remember the whole mask that is being edited; the first word counts. Returns it as it is."""
        packed = self.edited.packed()
        if "edited" not in step.swaps:
            step.swaps["edited"] = EditedSwap(self.edited, packed, self.edited.value(self.object_id))
            self.history.trim()
        return packed

    def mask_hint(self, plane: SlicePlane) -> MaskHint:
        """What the current object already is on the slice: low-res logits of its last answer; or, where it
        was propagated or painted since, its mask; or neither.
        """  # noqa: D205
        own = self.mask(plane)
        answer = self.answers.get((self.object_id, plane))
        if answer is not None and own.any() and np.array_equal(own, answer.written):
            return MaskHint(answer.low_res_logits, answer.view, box=answer.box)
        return MaskHint(mask=own) if own.any() else MaskHint()

    def add_anchor(self, plane: SlicePlane) -> None:
        """The user has made or approved the mask of this slice."""
        anchors = self.table.anchors_of(self.object_id) | {plane}
        self.table = self.table.with_anchors(self.object_id, anchors)


def _may_meet(changed: Hashable, plane: SlicePlane) -> bool:
    """False when what a swap changed is another slice along the same axis."""
    return not isinstance(changed, SlicePlane) or changed.axis != plane.axis or changed == plane
