"""The objects of an image as one value: names, classes, locks, prompts and anchors. To change it is to replace it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.arguments import plain_text, whole_number
from napari_medicosam.core.boxes import VoxelBox
from napari_medicosam.core.volume_prompts import VolumePrompts
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.nesting import Taken

MAX_OBJECT_ID = int(np.iinfo(np.uint16).max)


def _empty() -> Mapping[int, Any]:
    return MappingProxyType({})


AxisGap = tuple[int, int | None, int | None]
"""Axis, and numbers of the two slices that bound a gap along it; None at an open end."""


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One object.

    Attributes:
        object_id: its label in the label map, 1..65535.
        name: for people; not unique.
        class_id: of the label classes; None for none.
        is_locked: nothing changes it.
        is_visible: shown in the viewer.
        is_committed: its mask lies in the label map; else it is being edited, or empty.
        num_voxels: that it has in the label map.
        bounds: where in the label map they are; may be wider.

    Raises:
        InputError: for a name that is empty or no text of a file's, or a class that is no whole number of 0 or more.
    """

    object_id: int
    name: str
    class_id: int | None = None
    is_locked: bool = False
    is_visible: bool = True
    is_committed: bool = False
    num_voxels: int = 0
    bounds: VoxelBox = field(default_factory=VoxelBox)

    def __post_init__(self) -> None:
        plain_text(self.name, "an object needs a name")
        class_id: Any = self.class_id
        is_id = isinstance(class_id, (int, np.integer)) and not isinstance(class_id, bool) and class_id >= 0
        if class_id is not None and not is_id:
            raise InputError(
                f"the class of an object must be a whole number of 0 or more, or None, got {class_id!r}"
            )


@dataclass(frozen=True, slots=True)
class ObjectTable:
    """All objects of an image and which one is current.

    Attributes:
        records: by id.
        current: the object that prompts are for.
        prompts: by id.
        anchors: by id, the slices whose masks the user has made or approved: propagation never changes them.
        filled: by id, the gaps that propagation has filled, each with what it was filled from, to know when it must be
            filled again.
        locked_classes: of label classes: their objects are locked, later ones as soon as they are committed.
        agreements: by id, how well the planes that voted on its mask agree on each slice (0..1), until the slice gets
            another mask.
        taken: by id, what the object has taken from others that were committed.
    """

    records: Mapping[int, ObjectRecord] = field(
        default_factory=lambda: MappingProxyType({1: ObjectRecord(1, "object 1")})
    )
    current: int = 1
    prompts: Mapping[int, VolumePrompts] = field(default_factory=_empty)
    anchors: Mapping[int, frozenset[SlicePlane]] = field(default_factory=_empty)
    filled: Mapping[int, Mapping[AxisGap, Hashable]] = field(default_factory=_empty)
    locked_classes: frozenset[int] = frozenset()
    agreements: Mapping[int, Mapping[SlicePlane, float]] = field(default_factory=_empty)
    taken: Mapping[int, tuple[Taken, ...]] = field(default_factory=_empty)

    @property
    def record(self) -> ObjectRecord:
        """The current object."""
        return self.records[self.current]

    def find(self, object_id: int) -> ObjectRecord:
        """The object of this id.

        Raises:
            InputError: when there is none.
        """
        if whole_number(object_id, "the id of an object") not in self.records:
            known = ", ".join(str(known) for known in sorted(self.records))
            raise InputError(f"there is no object {object_id}: wanted one of {known}")
        return self.records[object_id]

    def prompts_of(self, object_id: int) -> VolumePrompts:
        """Its prompts."""
        return self.prompts.get(object_id, VolumePrompts())

    def anchors_of(self, object_id: int) -> frozenset[SlicePlane]:
        """Its anchors."""
        return self.anchors.get(object_id, frozenset())

    def with_record(self, record: ObjectRecord) -> ObjectTable:
        """With an object added or replaced.

        Raises:
            InputError: for an id that a label map cannot hold.
        """
        if not 1 <= record.object_id <= MAX_OBJECT_ID:
            raise InputError(f"a label map holds objects 1 to {MAX_OBJECT_ID}, got {record.object_id}")
        return replace(self, records=_with(self.records, record.object_id, record))

    def with_current(self, object_id: int) -> ObjectTable:
        """With another current object."""
        return replace(self, current=self.find(object_id).object_id)

    def with_prompts(self, object_id: int, prompts: VolumePrompts) -> ObjectTable:
        """With other prompts for an object."""
        return replace(self, prompts=_with(self.prompts, object_id, prompts))

    def with_anchors(self, object_id: int, anchors: frozenset[SlicePlane]) -> ObjectTable:
        """With other anchors for an object."""
        return replace(self, anchors=_with(self.anchors, object_id, anchors))

    def filled_of(self, object_id: int) -> Mapping[AxisGap, Hashable]:
        """Its gaps that were filled, with what from."""
        return self.filled.get(object_id, MappingProxyType({}))

    def with_filled(self, object_id: int, filled: Mapping[AxisGap, Hashable]) -> ObjectTable:
        """With other filled gaps for an object."""
        return replace(self, filled=_with(self.filled, object_id, MappingProxyType(dict(filled))))

    def agreements_of(self, object_id: int) -> Mapping[SlicePlane, float]:
        """How well the planes that voted on its mask agree, by slice."""
        return self.agreements.get(object_id, MappingProxyType({}))

    def with_agreements(self, object_id: int, agreements: Mapping[SlicePlane, float]) -> ObjectTable:
        """With other agreements for an object."""
        known = _with(self.agreements, object_id, MappingProxyType(dict(agreements)))
        return replace(self, agreements=known)

    def taken_of(self, object_id: int) -> tuple[Taken, ...]:
        """What it took from others when it was committed."""
        return self.taken.get(object_id, ())

    def with_taken(self, object_id: int, taken: tuple[Taken, ...]) -> ObjectTable:
        """With other voxels that an object has taken from others."""
        if not taken:
            return (
                self if object_id not in self.taken else replace(self, taken=_without(self.taken, object_id))
            )
        return replace(self, taken=_with(self.taken, object_id, taken))

    def without_agreement(self, object_id: int, plane: SlicePlane) -> ObjectTable:
        """With one slice fewer of an object that planes have voted on."""
        known = self.agreements_of(object_id)
        if plane not in known:
            return self
        return self.with_agreements(object_id, {one: known[one] for one in known if one != plane})

    def without(self, object_id: int) -> ObjectTable:
        """Without an object; when it was the current one, the object before it, or a fresh one, takes its place."""
        self.find(object_id)
        records = {known: record for known, record in self.records.items() if known != object_id}
        if not records:
            records = {1: ObjectRecord(1, "object 1")}
        before = [known for known in records if known < object_id]
        current = self.current if self.current in records else max(before, default=min(records))
        return ObjectTable(
            MappingProxyType(records),
            current,
            _without(self.prompts, object_id),
            _without(self.anchors, object_id),
            _without(self.filled, object_id),
            self.locked_classes,
            _without(self.agreements, object_id),
            MappingProxyType(
                {
                    known: tuple(one for one in taken if one.label != object_id)
                    for known, taken in _without(self.taken, object_id).items()
                }
            ),
        )

    def emptied(self, object_id: int) -> ObjectTable:
        """With an object that has neither prompts nor a mask any more; its name, class and lock stay."""
        known = self.find(object_id)
        record = ObjectRecord(object_id, known.name, known.class_id, known.is_locked, known.is_visible)
        records = _with(self.records, object_id, record)
        return replace(self.without(object_id), records=records, current=self.current)

    def with_class_locked(
        self, class_id: int, object_ids: AbstractSet[int], *, is_locked: bool
    ) -> ObjectTable:
        """With a class locked, or unlocked, and these of its objects."""
        records = {
            known: replace(record, is_locked=is_locked) if known in object_ids else record
            for known, record in self.records.items()
        }
        classes = self.locked_classes | {class_id} if is_locked else self.locked_classes - {class_id}
        return replace(self, records=MappingProxyType(records), locked_classes=classes)

    def with_committed(self, object_id: int) -> ObjectTable:
        """With an object whose mask lies in the label map now; of a locked class it is locked from here on."""
        record = self.find(object_id)
        is_locked = record.is_locked or record.class_id in self.locked_classes
        return self.with_record(replace(record, is_committed=True, is_locked=is_locked))

    def recounted(self, before: NDArray[Any], after: NDArray[Any], box: VoxelBox) -> ObjectTable:
        """With all voxels counted anew, when the part `box` of the label map was `before` and is `after`."""
        changed = before != after
        return self.with_counts(_counts(after[changed]), _counts(before[changed]), box)

    def with_counts(self, gained: Mapping[int, int], lost: Mapping[int, int], box: VoxelBox) -> ObjectTable:
        """With so many voxels more and fewer of some objects, in the part `box` of the label map."""
        records = {}
        for known, record in self.records.items():
            count = record.num_voxels + gained.get(known, 0) - lost.get(known, 0)
            bounds = VoxelBox() if not count else record.bounds
            if gained.get(known, 0):
                bounds = bounds.union(box)
            records[known] = replace(record, num_voxels=count, bounds=bounds)
        return replace(self, records=MappingProxyType(records))

    def ids_of_class(self, class_id: int) -> frozenset[int]:
        """Objects of a class."""
        return frozenset(known for known, record in self.records.items() if record.class_id == class_id)

    @property
    def locked_ids(self) -> frozenset[int]:
        """Objects that nothing may change."""
        return frozenset(known for known, record in self.records.items() if record.is_locked)


def _with(mapping: Mapping[int, Any], key: int, value: Any) -> Mapping[int, Any]:
    return MappingProxyType({**mapping, key: value})


def _without(mapping: Mapping[int, Any], key: int) -> Mapping[int, Any]:
    return MappingProxyType({known: value for known, value in mapping.items() if known != key})


def _counts(labels: NDArray[Any]) -> dict[int, int]:
    counts = np.bincount(labels.ravel())
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}
