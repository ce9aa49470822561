"""What is known about one image: its objects, their prompts and masks, and how to go back a step.

The mask of the current object, while it is being edited, lies in a labels layer of its own (`object_layer`); masks of
committed objects lie in `labels`. No voxel of an object is in both.
"""

from __future__ import annotations

import math
import time as clock
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.effort import EffortLog
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.history import History, Step
from napari_medicosam.core.object_table import ObjectRecord, ObjectTable
from napari_medicosam.core.results import Candidate, Region, SegmentResult, frozen_array
from napari_medicosam.core.review import SliceReview, review_slices
from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.layers import LayerSet
from napari_medicosam.ui.strokes import before_stroke
from napari_medicosam.ui.swaps import EditedSwap, LabelsSwap, SliceSwap, TableSwap

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_medicosam.core.volume_prompts import Prompt, VolumePrompts
    from napari_medicosam.ui.strokes import Edit


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The last mask of an object on a prompted slice as it was written, its low-res logits, and the part of the slice
    that these cover (None: all of it).
    """  # noqa: D205

    written: NDArray[np.bool_]
    low_res_logits: NDArray[np.float32]
    view: Region | None = None
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class MaskHint:
    """What an object already is on a slice: logits with their view (None: the whole slice), or a mask, or neither."""

    logits: NDArray[np.float32] | None = None
    view: Region | None = None
    mask: NDArray[np.bool_] | None = None


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
    extent: VoxelBox = field(default_factory=VoxelBox)
    """Where the mask that is being edited may have voxels."""

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
        return self.current.planes | self.table.anchors_of(self.object_id)

    def check_unlocked(self) -> None:
        """Raise `InputError` when the current object is locked: to be asked before a step begins."""
        if self.table.record.is_locked:
            raise InputError(f"{self.table.record.name!r} is locked: unlock it to change it")

    def is_edited(self, object_id: int) -> bool:
        """True for the object whose mask lies in the object layer."""
        return object_id == self.object_id and not self.table.record.is_committed

    def voxels(self, layer: Labels) -> NDArray[Any]:
        """One of our label maps (z, y, x), of this time point, without a copy."""
        return layers.voxels(layer, self.time)

    def forget(self, layer: Any) -> None:
        """A layer is being removed from the viewer: what was known of masks in it is gone."""
        if layer is not None and layer in (self.labels, self.object_layer):
            self.answers.clear()
            self.history.clear()
        if layer is self.object_layer and layer is not None:
            self.extent = VoxelBox()

    # ------------------------------------------------------------------ steps

    def begin(self, kind: str) -> Step:
        """A step to undo, with the objects and prompts as they are."""
        step = self.history.begin(kind, self.object_id)
        self.effort.note(self.object_id, kind.split()[0], clock.monotonic())
        self.keep_table(step)
        return step

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
        if self.object_layer is None:
            return np.zeros(plane.size_yx(self.shape_zyx), dtype=bool)
        return np.asarray(plane.cut(self.voxels(self.object_layer)) != 0)

    def look_everywhere(self) -> None:
        """Find voxels that something else than us or napari's brush has put into the mask that is being edited."""
        if self.object_layer is not None:
            volume = self.voxels(self.object_layer)
            used = np.flatnonzero([one.max() for one in volume])
            if used.size:
                z0, z1 = int(used[0]), int(used[-1]) + 1
                found = VoxelBox((z0, 0, 0), (z1, volume.shape[1], volume.shape[2]))
                self.extent = self.extent.union(found)

    @property
    def num_open_voxels(self) -> int:
        """Voxels of the object being edited."""
        if self.object_layer is None:
            return 0
        return int(np.count_nonzero(self.voxels(self.object_layer)[self.extent.index]))

    def packed(self) -> PackedMask:
        """The whole mask of the object being edited."""
        if self.object_layer is None:
            return PackedMask(VoxelBox(), np.zeros(0, dtype=np.uint8))
        return PackedMask.of(self.voxels(self.object_layer), self.extent)

    def write(self, plane: SlicePlane, mask: NDArray[np.bool_], step: Step | None) -> None:
        """Write the object's mask on a slice, except where other objects may not be touched.

        The first writing of a step remembers what was there. The layers must exist.
        """
        if self.object_layer is None:
            return
        before = self.mask(plane)
        if step is not None:
            self.remember(plane, before, step)
        region = Region.of_mask(before).union(Region.of_mask(mask))
        if region.is_empty:
            return
        inner = plane.cut(self.voxels(self.object_layer))[region.slices_yx]
        wanted = mask[region.slices_yx]
        if self.labels is not None:
            taken = plane.cut(self.voxels(self.labels))[region.slices_yx]
            if taken.any():
                wanted = wanted & self.policy.writable(taken, self.table, self.object_id)
        inner[...] = np.where(wanted, self.object_id, 0)
        self.extent = self.extent.union(VoxelBox.of_slice(plane, region))

    def write_result(self, result: SegmentResult, step: Step | None) -> None:
        """Write the mask of a slice and keep what the model thinks of it."""
        self.write(result.plane, result.mask, step)
        area = int(np.count_nonzero(self.mask(result.plane)))
        key = (result.object_id, result.plane)
        self.scores.pop(key, None)
        if not math.isnan(result.iou_prediction):  # shapes have no opinion of themselves
            self.scores[key] = (result.iou_prediction, area)

    def score(self, plane: SlicePlane, mask: NDArray[np.bool_]) -> float:
        """Predicted IoU of the current object's mask on a slice; NaN when it is not the model's."""
        predicted, area = self.scores.get((self.object_id, plane), (math.nan, -1))
        return predicted if area == np.count_nonzero(mask) else math.nan

    def review(self, axis: int) -> tuple[SliceReview, ...]:
        """What is known about each slice of the current object along an axis."""
        record = self.table.record
        if record.is_committed and self.labels is not None:
            box = record.bounds
            mask = self.voxels(self.labels)[box.index] == self.object_id
        elif self.object_layer is not None:
            box = self.extent
            mask = self.voxels(self.object_layer)[box.index] != 0
        else:
            return ()
        if box.is_empty:
            return ()
        along = np.moveaxis(mask, axis, 0)
        first = box.start_zyx[axis]
        areas = {first + i: int(np.count_nonzero(one)) for i, one in enumerate(along)}
        predicted = {
            plane.index: score
            for (object_id, plane), (score, area) in self.scores.items()
            if object_id == self.object_id and plane.axis == axis and areas.get(plane.index) == area
        }
        anchors = {plane.index for plane in self.user_planes if plane.axis == axis}
        return review_slices(along, first, predicted, anchors)

    def remember(self, plane: SlicePlane, before: NDArray[np.bool_], step: Step) -> None:
        """What a step must put back on a slice; the first word counts."""
        if plane not in step.swaps:
            region = Region.of_mask(before)
            patch = np.where(before[region.slices_yx], self.object_id, 0).astype(np.uint16)
            step.swaps[plane] = SliceSwap(self, plane, region, patch)
            self.history.trim()

    def write_answer(self, result: SegmentResult, step: Step | None) -> None:
        """Write the mask of a prompted slice and keep its logits for the next correction."""
        self.write_result(result, step)
        written = frozen_array(self.mask(result.plane))
        answer = Answer(written, result.low_res_logits, result.view, result.candidates)
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
        candidate = answer.candidates[(chosen.index(True) + 1) % len(chosen)]
        self.write_answer(
            SegmentResult(
                plane,
                candidate.mask,
                Region.of_mask(candidate.mask),
                candidate.iou_prediction,
                candidate.low_res_logits,
                self.object_id,
                view=answer.view,
                candidates=answer.candidates,
            ),
            step,
        )
        return True

    def replace_edited(self, packed: PackedMask, step: Step) -> None:
        """Put another mask in the place of the whole one that is being edited; other objects are left alone."""
        self._keep_edited(step)
        self.put_edited(packed, self.object_id)
        if self.object_layer is not None and self.labels is not None and not packed.box.is_empty:
            taken = self.voxels(self.labels)[packed.box.index]
            part = self.voxels(self.object_layer)[packed.box.index]
            part[~self.policy.writable(taken, self.table, self.object_id)] = 0

    def mask_hint(self, plane: SlicePlane) -> MaskHint:
        """What the current object already is on the slice: low-res logits of its last answer; or, where it
        was propagated or painted since, its mask; or neither.
        """  # noqa: D205
        own = self.mask(plane)
        answer = self.answers.get((self.object_id, plane))
        if answer is not None and own.any() and np.array_equal(own, answer.written):
            return MaskHint(answer.low_res_logits, answer.view)
        return MaskHint(mask=own) if own.any() else MaskHint()

    def add_anchor(self, plane: SlicePlane) -> None:
        """The user has made or approved the mask of this slice."""
        anchors = self.table.anchors_of(self.object_id) | {plane}
        self.table = self.table.with_anchors(self.object_id, anchors)

    def keep_painted(self, edits: list[Edit], axis: int) -> list[SlicePlane]:
        """A stroke of the brush on the object: a step to undo; its slices are the user's from now on.

        Args:
            edits: of the stroke, after the fact.
            axis: that was sliced along.

        Returns:
            The slices that it changed.

        Raises:
            InputError: for a locked object; the stroke was taken back.
        """
        if self.object_layer is None or not edits:
            return []
        voxels = self.voxels(self.object_layer)
        box, before = before_stroke(voxels, edits)
        part = voxels[box.index]
        painted = part.copy()
        part[...] = before
        self.check_unlocked()
        step = self.begin("paint")
        self.reopen(step)
        changed = np.moveaxis(painted != before, axis, 0).any(axis=(1, 2))
        planes = [
            SlicePlane(axis, index)
            for index, is_changed in zip(box.planes(axis), changed, strict=True)
            if is_changed
        ]
        for plane in planes:
            self.remember(plane, self.mask(plane), step)
        np.copyto(part, painted, where=painted != before)
        self.extent = self.extent.union(box)
        for plane in planes:
            self.write(plane, self.mask(plane), None)  # in the object's label, and out of other objects
            self.add_anchor(plane)
        return planes

    # ------------------------------------------------------------------ committed masks

    def keep_painted_labels(self, edits: list[Edit]) -> bool:
        """A stroke of the brush on committed masks: a step to undo; locked objects are put back as they were.

        Returns:
            Whether some of it was put back.
        """
        if self.labels is None or not edits:
            return False
        label_map = self.voxels(self.labels)
        box, before = before_stroke(label_map, edits)
        now, locked = label_map[box.index], list(self.table.locked_ids)
        kept = (now != before) & (np.isin(now, locked) | np.isin(before, locked))
        now[kept] = before[kept]
        step = self.begin("paint labels")
        step.swaps["labels", len(step.swaps)] = LabelsSwap(self, box, before)
        self.table = self.table.recounted(before, now, box)
        return bool(kept.any())

    def commit(self, step: Step) -> int:
        """Move the mask that is being edited to the committed ones, as the policy allows.

        Returns:
            Number of voxels that it has there.

        Raises:
            InputError: when there is no mask, or the policy leaves none of it.
        """
        self.look_everywhere()
        packed = self.packed()
        if packed.box.is_empty or self.object_layer is None or self.labels is None:
            raise InputError("nothing to commit: segment the object first")
        committed = self.voxels(self.labels)[packed.box.index]
        won, is_free = packed.mask, not committed.any()
        if not is_free:
            won &= self.policy.writable(committed, self.table, self.object_id)
        count = int(np.count_nonzero(won)) if self.policy.inside_class is None or not is_free else 0
        if not count:
            raise InputError(
                f"nothing to commit: all of {self.table.record.name!r} lies where the commit policy, or a locked "
                "object, keeps it out"
            )
        self._keep_edited(step)
        self._keep_labels(step, packed.box)
        before = np.zeros(0, dtype=np.uint16) if is_free else committed[won]
        np.copyto(committed, self.object_id, where=won)
        self._clear_edited()
        lost = np.bincount(before)
        self.table = self.table.with_counts(
            {self.object_id: count},
            {int(label): int(lost[label]) for label in np.flatnonzero(lost)},
            packed.box,
        )
        self.table = self.table.with_record(replace(self.table.record, is_committed=True))
        return count

    def reopen(self, step: Step) -> None:
        """Move the committed mask of the current object, which is not locked, back to where it is edited."""
        record = self.table.record
        if not record.is_committed or self.object_layer is None or self.labels is None:
            return
        box = record.bounds
        voxels = self.voxels(self.labels)[box.index]
        own = voxels == self.object_id
        if own.any():  # otherwise it was erased by hand
            self._keep_edited(step)
            self._keep_labels(step, box)
            np.copyto(voxels, 0, where=own)
            np.copyto(self.voxels(self.object_layer)[box.index], self.object_id, where=own)
            self.extent = box
            self.table = self.table.with_counts({}, {self.object_id: int(np.count_nonzero(own))}, box)
        self.table = self.table.with_record(replace(self.table.record, is_committed=False))

    def delete(self, step: Step) -> None:
        """Remove the current object, which is not locked, with its prompts and masks."""
        self.reopen(step)
        self._keep_edited(step)
        self._clear_edited()
        self.table = self.table.without(self.object_id)

    def put_into(self, label_map: NDArray[Any]) -> None:
        """Write the object that is being edited into a copy of the committed label map (z, y, x) of this time point."""
        self.look_everywhere()
        packed = self.packed()
        if not packed.box.is_empty:
            part = label_map[packed.box.index]
            part[packed.mask & self.policy.writable(part, self.table, self.object_id)] = self.object_id

    def take_objects_of(self, other: Annotation) -> None:
        """Know the objects of another time point of the image, too: names and locks are theirs, masks are not.

        Where nothing is being edited, its current object is the current one here.
        """
        table = self.table
        for object_id, record in other.table.records.items():
            known = table.records.get(object_id, ObjectRecord(object_id, record.name))
            shared = replace(
                record, is_committed=known.is_committed, num_voxels=known.num_voxels, bounds=known.bounds
            )
            table = table.with_record(shared)
        if not self.num_open_voxels:
            table = table.with_current(other.object_id)
        self.table = table

    def next_id(self) -> int:
        """An id that neither an object nor a voxel has."""
        painted = 0 if self.labels is None else int(self.voxels(self.labels).max())
        return max(painted, *self.table.records) + 1

    def add_record(self, name: str | None, class_id: int | None) -> None:
        """A new object becomes the current one; an empty current one is taken instead of another."""
        if self.is_empty:
            record = self.table.record
            record = replace(record, name=name or record.name, class_id=class_id or record.class_id)
        else:
            object_id = self.next_id()
            record = ObjectRecord(object_id, name or f"object {object_id}", class_id)
        self.table = self.table.with_record(record).with_current(record.object_id)

    def write_committed(self, plane: SlicePlane, mask: NDArray[np.bool_], object_id: int) -> None:
        """Write a mask that came after the user went on to another object, as the policy allows; a step of its own."""
        if self.labels is None or object_id not in self.table.records:
            return
        label_slice = plane.cut(self.voxels(self.labels))
        region = Region.of_mask(label_slice == object_id).union(Region.of_mask(mask))
        if region.is_empty:
            return
        box = VoxelBox.of_slice(plane, region)
        step = self.history.begin("late answer", object_id)
        self.keep_table(step)
        self._keep_labels(step, box)
        inner, wanted = label_slice[region.slices_yx], mask[region.slices_yx]
        writable = self.policy.writable(inner, self.table, object_id)
        before = inner.copy()
        inner[writable & (inner == object_id)] = 0
        inner[writable & wanted] = object_id
        table = self.table.recounted(before, inner, box)
        self.table = table.with_record(replace(table.find(object_id), is_committed=True))

    def _keep_edited(self, step: Step) -> None:
        """Remember the whole mask that is being edited; the first word counts."""
        if "edited" not in step.swaps:
            step.swaps["edited"] = EditedSwap(self, self.packed(), self.edited_value())
            self.history.trim()

    def _keep_labels(self, step: Step, box: VoxelBox) -> None:
        """Remember a part of the committed label map as it is now."""
        if self.labels is not None:
            inside = self.voxels(self.labels)[box.index].copy()
            step.swaps["labels", len(step.swaps)] = LabelsSwap(self, box, inside)
            self.history.trim()

    def edited_value(self) -> int:
        """What is written in the layer of the mask that is being edited: the id of its object."""
        if self.object_layer is None or self.extent.is_empty:
            return self.object_id
        return int(self.voxels(self.object_layer)[self.extent.index].max()) or self.object_id

    def _clear_edited(self) -> None:
        if self.object_layer is not None:
            self.voxels(self.object_layer)[self.extent.index] = 0
        self.extent = VoxelBox()

    def put_edited(self, packed: PackedMask, value: int) -> None:
        """Replace the whole mask that is being edited."""
        self._clear_edited()
        if self.object_layer is not None and not packed.box.is_empty:
            self.voxels(self.object_layer)[packed.box.index][packed.mask] = value
            self.extent = packed.box
