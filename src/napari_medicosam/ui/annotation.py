"""What is known about one image: its objects, their prompts and masks, and how to go back a step.

The mask of the current object, while it is being edited, is in a label map of its own (`edited`); masks of committed
objects are in `committed`. No voxel of an object is in both. Layers show them, and may be removed and made again.
"""

from __future__ import annotations

import time as clock
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.core.effort import EffortLog
from napari_medicosam.core.geometry import SlicePlane, SliceStack
from napari_medicosam.core.history import History, Step
from napari_medicosam.core.mask_log import MaskLog
from napari_medicosam.core.mask_writing import writable, write_edited
from napari_medicosam.core.object_table import ObjectTable
from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.committed_masks import CommittedMasks
from napari_medicosam.ui.edited_mask import EditedMask
from napari_medicosam.ui.layers import LayerSet
from napari_medicosam.ui.spacing import spacing_mm
from napari_medicosam.ui.swaps import EditedSwap, SharedSwap, SliceSwap, TableSwap

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from napari_medicosam.core.volume_prompts import Prompt, VolumePrompts
    from napari_medicosam.ui.answers import Answer
    from napari_medicosam.ui.shared_objects import SharedObjects


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
    scores: dict[tuple[int, SlicePlane], tuple[tuple[float, int], ...]] = field(default_factory=dict)
    """Predicted IoU of the masks that the model made, with their areas, the newest last: of another area, it is another
    mask."""
    history: History = field(default_factory=History)
    log: MaskLog = field(default_factory=MaskLog)
    """How all masks came about; shared by all time points of an image."""
    shared: SharedObjects | None = None
    """Of an image over time: its objects are those of the other time points."""
    own: tuple[int, PackedMask] = field(default_factory=lambda: (0, PackedMask()))
    """Which object was opened again last, and its mask then: no policy takes that from it."""
    cut_off: set[int] = field(default_factory=set)
    """Objects whose last propagation was stopped after it began and before it was through."""
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
        """Where the mask of the object that is being edited is shown."""
        return self.ours.object_layer

    @property
    def labels(self) -> Labels | None:
        """Where committed masks are shown."""
        return self.ours.labels

    @property
    def is_empty(self) -> bool:
        """True when the current object has neither prompts nor a mask, at any time point."""
        return not any(known.has(self.object_id) for known in self.times)

    @property
    def times(self) -> list[Annotation]:
        """All time points of the image that are known, this one, too."""
        return [self] if self.shared is None else self.shared.times

    def has(self, object_id: int) -> bool:
        """True when an object has prompts or a mask here."""
        record = self.table.records.get(object_id)
        if record is None:
            return False
        is_open = self.is_edited(object_id) and self.num_open_voxels > 0
        return record.is_committed or is_open or bool(self.table.prompts_of(object_id).planes)

    def num_others_with(self, object_id: int) -> int:
        """At how many other time points an object has prompts or a mask."""
        return sum(known is not self and known.has(object_id) for known in self.times)

    @property
    def is_untouched(self) -> bool:
        """True when nobody has done anything yet that is still there."""
        return self.is_empty and len(self.table.records) == 1

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

    # ------------------------------------------------------------------ steps

    def begin(self, kind: str) -> Step:
        """A step to undo, with the objects and prompts as they are."""
        self.tell_strokes()
        self.share()
        step = self.history.begin(kind, self.object_id)
        self.log.action = kind
        self.effort.note(self.object_id, kind.split()[0], clock.monotonic())
        self.keep_table(step)
        return step

    def tell_strokes(self) -> None:
        """What is being painted is a step of its own, before anything else is."""
        for labels in (self.ours.object_layer, self.ours.labels):
            layers.tell_strokes(labels)

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
        self.share()

    def begin_late(self, object_id: int, kind: str = "late answer") -> Step:
        """A step for an answer that came after the user went on to something else."""
        self.tell_strokes()
        self.share()
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
                key
                for one in newer
                for key, swap in one.swaps.items()
                if not isinstance(swap, (TableSwap, SharedSwap))
            ]
            is_free = not any(_may_meet(key, plane) for key in changed)
        return step if is_free else self.begin_late(object_id, step.kind)

    def forget_if_empty(self, step: Step) -> None:
        """Nothing came of a step that remembers the objects alone: there is nothing to take back."""
        if set(step.swaps) <= {("table", self.time)}:
            self.history.discard(step)

    def note_prompt(self, prompt: Prompt, *, is_correction: bool) -> None:
        """A prompt was made: part of what the object costs."""
        kind = type(prompt).__name__.removeprefix("Volume").lower()
        self.effort.note(self.object_id, kind, clock.monotonic(), is_correction=is_correction)

    def share(self) -> None:
        """What the newest step changed for all time points is so at the others."""
        if self.shared is not None:
            self.shared.note(self)

    def keep_table(self, step: Step) -> None:
        """Remember the objects as they are."""
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
        return SliceStack(self.volume, axis, spacing_mm(self.image))

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
            self.own_on(plane),
        )
        if not region.is_empty:
            self.edited.changed(VoxelBox.of_slice(plane, region))

    def put_back(self, plane: SlicePlane, mask: NDArray[np.bool_]) -> None:
        """Write what the object was on a slice of the user's, whatever the policy is by now."""
        region = Region.of_mask(mask)
        self.edited.swap_slice(plane, region, self._patch(mask, region))
        self.table = self.table.without_agreement(self.object_id, plane)

    @property
    def keeps_own(self) -> bool:
        """True while the object being edited may be where it was, although the policy gives it nothing that is free."""
        object_id = self.own[0]
        return object_id == self.object_id and not self.policy.allowed(self.table, object_id)[0]

    @property
    def own_of_current(self) -> PackedMask:
        """Where the object being edited was when it was opened again; empty for one that was not."""
        return self.own[1] if self.own[0] == self.object_id else PackedMask()

    def gives_back(self, object_id: int) -> bool:
        """True for a committed object that has taken voxels of others: where it is written, they may get them back."""
        return not self.is_edited(object_id) and bool(self.table.taken_of(object_id))

    def own_in(self, box: VoxelBox) -> NDArray[np.bool_] | None:
        """Where the object being edited was when it was opened again, bool, the shape of the box; None: no matter."""
        return self.own[1].anywhere(box) if self.keeps_own else None

    def own_on(self, plane: SlicePlane) -> NDArray[np.bool_] | None:
        """As `own_in`, bool (rows, columns) of a slice."""
        rows, columns = plane.size_yx(self.shape_zyx)
        own = self.own_in(VoxelBox.of_slice(plane, Region(0, 0, rows, columns)))
        return None if own is None else own.squeeze(plane.axis)

    def remember(self, plane: SlicePlane, before: NDArray[np.bool_], step: Step) -> None:
        """What a step must put back on a slice; the first word counts."""
        if plane not in step.swaps:
            region = Region.of_mask(before)
            step.swaps[plane] = SliceSwap(self.edited, plane, region, self._patch(before, region))
            self.history.trim()

    def _patch(self, mask: NDArray[np.bool_], region: Region) -> NDArray[np.uint16]:
        """The part of a mask as it is written, in the label of the object."""
        return np.where(mask[region.slices_yx], self.object_id, 0).astype(np.uint16)

    def replace_edited(self, packed: PackedMask, step: Step) -> None:
        """Put another mask in the place of the whole one that is being edited; other objects are left alone."""
        self.keep_edited(step)
        self.edited.put(packed, self.object_id)
        label_map, taken_map = self.edited.label_map, self.committed.label_map
        if label_map is not None and taken_map is not None:
            allowed = self.policy.allowed(self.table, self.object_id)
            own, is_cut = self.own_in(packed.box), False
            for index, _ in packed.slices():
                taken = taken_map[index]
                if taken.any() or not allowed[0]:
                    here = None if own is None else own[index[0] - packed.box.start_zyx[0]]
                    label_map[index][~writable(taken, allowed, here)] = 0
                    is_cut = True
            if is_cut:
                self.edited.changed(packed.box)

    def keep_edited(self, step: Step) -> PackedMask:
        """Remember the whole mask that is being edited; the first word counts. Returns it as it is."""
        packed = self.edited.packed()
        if "edited" not in step.swaps:
            step.swaps["edited"] = EditedSwap(self.edited, packed, self.edited.value(self.object_id))
            self.history.trim()
        return packed

    def add_anchor(self, plane: SlicePlane) -> None:
        """The user has made or approved the mask of this slice."""
        anchors = self.table.anchors_of(self.object_id) | {plane}
        self.table = self.table.with_anchors(self.object_id, anchors)


def _may_meet(changed: Hashable, plane: SlicePlane) -> bool:
    """False when what a swap changed is another slice along the same axis."""
    return not isinstance(changed, SlicePlane) or changed.axis != plane.axis or changed == plane
