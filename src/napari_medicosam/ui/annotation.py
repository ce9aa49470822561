"""What is known about one image: its objects, their prompts, and how to go back a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.results import Region, frozen_array
from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.volume_prompts import VolumePrompts

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Points, Shapes
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.results import SegmentResult

MAX_EDITS = 100
"""Steps that can be undone."""

MAX_OBJECT_ID = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One line of `AnnotationSession.objects`."""

    object_id: int
    name: str
    num_prompted_slices: int


@dataclass(eq=False, slots=True)
class Edit:
    """One step to undo: the prompts before it, and the object's mask on every slice that it changed.

    The object's own pixels say all there is to say, because nothing ever writes over another object.
    """

    object_id: int
    prompts_before: VolumePrompts
    kind: str = ""
    masks_before: dict[SlicePlane, tuple[Region, NDArray[np.bool_]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The last mask of an object on a prompted slice as it lies in the labels, its low-res logits, and the part
    of the slice that these cover (None: all of it).
    """  # noqa: D205

    written: NDArray[np.bool_]
    low_res_logits: NDArray[np.float32]
    view: Region | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MaskHint:
    """What an object already is on a slice: logits with their view (None: the whole slice), or a mask, or neither."""

    logits: NDArray[np.float32] | None = None
    view: Region | None = None
    mask: NDArray[np.bool_] | None = None


@dataclass(eq=False, slots=True)
class Annotation:
    """All that belongs to one image layer. Only the GUI thread touches it."""

    image: Image
    volume: Any
    points: Points | None = None
    boxes: Shapes | None = None
    labels: Labels | None = None
    object_id: int = 1
    names: dict[int, str] = field(default_factory=lambda: {1: "object 1"})
    prompts: dict[int, VolumePrompts] = field(default_factory=dict)
    answers: dict[tuple[int, SlicePlane], Answer] = field(default_factory=dict)
    touched: dict[int, set[SlicePlane]] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        z, y, x = self.volume.shape[:3]
        return int(z), int(y), int(x)

    @property
    def current(self) -> VolumePrompts:
        """Prompts of the current object."""
        return self.prompts.get(self.object_id, VolumePrompts())

    @property
    def layers(self) -> list[Any]:
        """Our layers that exist now, lowest first."""
        return [layer for layer in (self.labels, self.boxes, self.points) if layer is not None]

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """All objects, by id."""
        return tuple(
            ObjectInfo(object_id, name, len(self.prompts.get(object_id, VolumePrompts()).planes))
            for object_id, name in sorted(self.names.items())
        )

    def add_object(self, name: str | None) -> int:
        """A new object with an id that no pixel has; it becomes the current one.

        A current object without prompts and masks is taken instead of another empty one.
        """
        if not self.current.planes and not self.touched.get(self.object_id):
            self.names[self.object_id] = name or self.names[self.object_id]
            return self.object_id
        painted = 0 if self.labels is None else int(self.labels.data.max())
        object_id = max(painted, *self.names) + 1
        if object_id > MAX_OBJECT_ID:
            raise InputError(f"a labels layer holds at most {MAX_OBJECT_ID} objects")
        self.names[object_id] = name or f"object {object_id}"
        self.object_id = object_id
        return object_id

    def forget(self, layer: Any) -> None:
        """A layer was removed from the viewer; when it was ours, the next use makes a new one."""
        if layer is self.labels:
            self.labels = None
            self.answers.clear()
            self.edits.clear()
        self.points = None if layer is self.points else self.points
        self.boxes = None if layer is self.boxes else self.boxes

    def begin_edit(self, kind: str) -> Edit:
        """Remember the prompts of the current object as they are."""
        edit = Edit(self.object_id, self.current, kind)
        self.edits.append(edit)
        del self.edits[:-MAX_EDITS]
        return edit

    def mask(self, plane: SlicePlane, object_id: int) -> NDArray[np.bool_]:
        """Where the slice belongs to the object, bool (rows, columns); nothing without a labels layer."""
        if self.labels is None:
            return np.zeros(plane.size_yx(self.shape_zyx), dtype=bool)
        return layers.object_mask(self.labels, plane, object_id)

    def write(self, plane: SlicePlane, mask: NDArray[np.bool_], object_id: int, edit: Edit | None) -> None:
        """Write a mask into the labels layer, which must exist; the first one of an edit can be undone."""
        if self.labels is None:
            return
        if edit is not None and plane not in edit.masks_before:
            before = self.mask(plane, object_id)
            region = Region.of_mask(before)
            edit.masks_before[plane] = (region, before[region.slices_yx].copy())
        layers.write_region(self.labels, plane, mask, object_id)
        self.touched.setdefault(object_id, set()).add(plane)

    def write_answer(self, result: SegmentResult, edit: Edit | None) -> None:
        """Write the mask of a prompted slice and keep its logits for the next correction."""
        self.write(result.plane, result.mask, result.object_id, edit)
        written = frozen_array(self.mask(result.plane, result.object_id))
        self.answers[result.object_id, result.plane] = Answer(written, result.low_res_logits, result.view)

    def take_back(self, edit: Edit) -> None:
        """Restore prompts and masks of before the edit; the object becomes the current one."""
        self.object_id = edit.object_id
        self.prompts[edit.object_id] = edit.prompts_before
        for plane, (region, patch) in edit.masks_before.items():
            mask = np.zeros(plane.size_yx(self.shape_zyx), dtype=bool)
            mask[region.slices_yx] = patch
            self.write(plane, mask, edit.object_id, None)
            self.answers.pop((edit.object_id, plane), None)

    def mask_hint(self, plane: SlicePlane) -> MaskHint:
        """What the current object already is on the slice: low-res logits of its last answer; or, where it
        was propagated or painted since, its mask; or neither.
        """  # noqa: D205
        own = self.mask(plane, self.object_id)
        answer = self.answers.get((self.object_id, plane))
        if answer is not None and own.any() and np.array_equal(own, answer.written):
            return MaskHint(answer.low_res_logits, answer.view)
        return MaskHint(mask=own) if own.any() else MaskHint()
