"""Objects of an annotation: their masks go to the committed ones and come back, within a step to undo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core import mask_writing
from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.nesting import find_host
from napari_medicosam.core.object_table import MAX_OBJECT_ID, ObjectRecord
from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError
from napari_medicosam.ui.slice_scores import keep_score
from napari_medicosam.ui.swaps import LabelsSwap, StampSwap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.history import Step
    from napari_medicosam.core.results import SegmentResult
    from napari_medicosam.ui.annotation import Annotation


def commit(annotation: Annotation, step: Step) -> int:
    """Move the mask that is being edited to the committed ones, as the policy allows.

    Ask the mask to `look_everywhere` before: something else may have written in it.

    Returns:
        Number of voxels that it has there.

    Raises:
        InputError: when there is no mask, or the policy leaves none of it.
    """
    packed, object_id = annotation.keep_edited(step), annotation.object_id
    if packed.is_empty or annotation.committed.label_map is None:
        if annotation.table.record.is_committed:
            name = annotation.table.record.name
            raise InputError(
                f"nothing to commit: {name!r} is committed already, its next prompt opens it again"
            )
        raise InputError("nothing to commit: segment the object first")
    won, lost = _won(annotation, packed)
    if won.is_empty:
        raise InputError(
            f"nothing to commit: all of {annotation.table.record.name!r} lies where the commit policy, or a locked "
            "object, keeps it out"
        )
    if lost:
        keep_labels(annotation, step, won.box)
    else:
        keep_stamp(annotation, step, won, is_there=True)
    annotation.committed.stamp(won, object_id)
    annotation.edited.clear()
    count = won.num_voxels
    table = annotation.table.with_counts({object_id: count}, lost, won.box)
    annotation.table = table.with_committed(object_id)
    return count


def _won(annotation: Annotation, packed: PackedMask) -> tuple[PackedMask, dict[int, int]]:
    """What the policy leaves of a mask, and how many voxels of it other objects lose, by id."""
    label_map = annotation.committed.label_map
    allowed = annotation.policy.allowed(annotation.table, annotation.object_id)
    if label_map is None or (allowed[0] and annotation.committed.is_free(packed)):
        return packed, {}
    won, own = np.zeros(packed.box.shape, dtype=bool), annotation.own_in(packed.box)
    lost = np.zeros(allowed.size, dtype=np.int64)
    for index, mask in packed.slices():
        taken = label_map[index]
        place = index[0] - packed.box.start_zyx[0]
        here = won[place]
        may_be = mask_writing.writable(taken, allowed, None if own is None else own[place])
        np.logical_and(mask, may_be, out=here)
        lost += np.bincount(taken[here], minlength=lost.size)
    lost[0] = 0
    start = packed.box.start_zyx
    left = PackedMask.of(won, VoxelBox((0, 0, 0), packed.box.shape)).moved(start)
    return left, {int(label): int(lost[label]) for label in np.flatnonzero(lost)}


def reopen(annotation: Annotation, step: Step) -> None:
    """Move the committed mask of the current object, which is not locked, back to where it is edited.

    What it has taken of its organ (`CommitPolicy.inside_class`) is the organ's again until it is committed: what a
    correction takes from a tumour is organ, not background.
    """
    record = annotation.table.record
    if not record.is_committed or annotation.edited.label_map is None:
        return
    packed = annotation.packed_of(record.object_id)
    if not packed.is_empty:  # otherwise it was erased by hand
        annotation.own = record.object_id, packed
        annotation.keep_edited(step)
        beneath = _organ_of_current(annotation, packed)
        keep_stamp(annotation, step, packed, is_there=False, beneath=beneath)
        annotation.committed.stamp(packed, beneath)
        annotation.edited.put(packed, record.object_id)
        count = annotation.num_open_voxels
        given = {beneath: count} if beneath else {}
        annotation.table = annotation.table.with_counts(given, {record.object_id: count}, packed.box)
    annotation.table = annotation.table.with_record(replace(annotation.table.record, is_committed=False))


def _organ_of_current(annotation: Annotation, packed: PackedMask) -> int:
    """The object in which the current one, with this mask, lies, if the policy keeps it inside a class; 0 for none.

    A locked one gains nothing, as it loses nothing.
    """
    table, label_map = annotation.table, annotation.committed.label_map
    class_id = annotation.policy.inside_class
    if class_id is None or label_map is None or table.record.class_id == class_id:
        return 0
    return find_host(label_map, packed, table.ids_of_class(class_id) - table.locked_ids)


def delete(annotation: Annotation, step: Step) -> None:
    """Remove the current object, which is not locked, with its prompts and masks."""
    reopen(annotation, step)
    annotation.keep_edited(step)
    annotation.edited.clear()
    annotation.table = annotation.table.without(annotation.object_id)


def put_into(annotation: Annotation, label_map: NDArray[Any]) -> None:
    """Write the object that is being edited into a copy of the committed label map (z, y, x) of its time point."""
    annotation.edited.look_everywhere()
    allowed = annotation.policy.allowed(annotation.table, annotation.object_id)
    packed = annotation.edited.packed()
    own = annotation.own_in(packed.box)
    for index, mask in packed.slices():
        part, place = label_map[index], index[0] - packed.box.start_zyx[0]
        may_be = mask_writing.writable(part, allowed, None if own is None else own[place])
        part[mask & may_be] = annotation.object_id


def take_objects_of(annotation: Annotation, other: Annotation) -> None:
    """Know the objects of another time point of the image, too: names and locks are theirs, masks are not.

    Where nothing is being edited, its current object is the current one here.
    """
    table = replace(annotation.table, locked_classes=other.table.locked_classes)
    for object_id, record in other.table.records.items():
        known = table.records.get(object_id, ObjectRecord(object_id, record.name))
        shared = replace(
            record, is_committed=known.is_committed, num_voxels=known.num_voxels, bounds=known.bounds
        )
        table = table.with_record(shared)
    if not annotation.num_open_voxels:
        table = table.with_current(other.object_id)
    annotation.table = table


def next_id(annotation: Annotation) -> int:
    """An id that neither an object nor a voxel has."""
    label_map = annotation.committed.label_map
    painted = 0 if label_map is None else max(int(one.max()) for one in label_map)
    return max(painted, *annotation.table.records) + 1


def add_record(annotation: Annotation, name: str | None, class_id: int | None) -> None:
    """A new object becomes the current one; an empty current one is taken instead of another."""
    if annotation.is_empty:
        record = annotation.table.record
        record = replace(
            record, name=name or record.name, class_id=record.class_id if class_id is None else class_id
        )
    else:
        object_id = next_id(annotation)
        record = ObjectRecord(object_id, name or f"object {object_id}", class_id)
    annotation.table = annotation.table.with_record(record).with_current(record.object_id)


def write_result(annotation: Annotation, result: SegmentResult, step: Step) -> None:
    """Write the mask of a slice of a committed object and keep what the model thinks of it."""
    write_committed(annotation, result.plane, result.mask, result.object_id, step)
    area = np.count_nonzero(annotation.mask_of(result.object_id, result.plane))
    keep_score(annotation, result, int(area))


def write_committed(
    annotation: Annotation, plane: SlicePlane, mask: NDArray[np.bool_], object_id: int, step: Step
) -> bool:
    """Write the mask of a slice of a committed object, as the policy allows, and not where one is being edited.

    Returns:
        False when there was nothing to write.
    """
    label_map = annotation.committed.label_map
    if label_map is None or object_id not in annotation.table.records:
        return False
    label_slice = plane.cut(label_map)
    region = Region.of_mask(label_slice == object_id).union(Region.of_mask(mask))
    if region.is_empty:
        return False
    box = VoxelBox.of_slice(plane, region)
    keep_labels(annotation, step, box)
    inner, wanted = label_slice[region.slices_yx], mask[region.slices_yx]
    allowed = annotation.policy.allowed(annotation.table, object_id)
    before = inner.copy()
    mask_writing.write_committed(inner, annotation.mask(plane)[region.slices_yx], wanted, allowed, object_id)
    annotation.committed.changed(box)
    table = annotation.table.recounted(before, inner, box).without_agreement(object_id, plane)
    annotation.table = table.with_record(replace(table.find(object_id), is_committed=True))
    return True


def add_labels(
    annotation: Annotation, step: Step, label_map: NDArray[Any], names: Mapping[int, str]
) -> tuple[int, ...]:
    """Each label becomes a committed object; where other objects are already, these stay.

    Args:
        annotation: its layers exist.
        step: to undo.
        label_map: integers (z, y, x).
        names: by label.

    Returns:
        The new objects, by id.

    Raises:
        InputError: for a label that is an object already, or that no label map can hold.
    """
    ours, edited = annotation.committed.label_map, annotation.edited.label_map
    if ours is None or edited is None:
        return ()
    counts: dict[int, int] = {}
    for z, one in enumerate(label_map):
        wrong = one[(one < 0) | (one > MAX_OBJECT_ID)]
        if wrong.size:
            raise InputError(
                f"a label map holds objects 1 to {MAX_OBJECT_ID}, got {int(wrong[0])} on slice {z}"
            )
        is_free = (ours[z] == 0) & (edited[z] == 0)
        present = np.bincount(one.ravel())
        free = np.bincount(one[is_free].ravel(), minlength=present.size)
        for label in np.flatnonzero(present).tolist():
            counts[label] = counts.get(label, 0) + int(free[label])
    counts.pop(0, None)
    box, table = VoxelBox((0, 0, 0), annotation.shape_zyx), annotation.table
    for label in counts:
        is_taken = label in table.records and not (label == annotation.object_id and annotation.is_empty)
        if is_taken:
            raise InputError(
                f"object {label} is there already: give the labels other numbers, or delete it first"
            )
        table = table.with_record(ObjectRecord(label, names.get(label, f"object {label}"), is_committed=True))
    keep_labels(annotation, step, box)
    for z, one in enumerate(label_map):
        np.copyto(ours[z], one, where=(ours[z] == 0) & (edited[z] == 0) & (one > 0), casting="unsafe")
    annotation.committed.changed(box)
    annotation.table = table.with_counts(counts, {}, box)
    if annotation.object_id in counts:
        _begin_another(annotation)
    return tuple(sorted(counts))


def describe(annotation: Annotation, records: Iterable[ObjectRecord], locked_classes: frozenset[int]) -> None:
    """Take names, classes and locks of these objects; those that have no label are there all the same, empty."""
    table = replace(annotation.table, locked_classes=locked_classes)
    for one in records:
        known = table.records.get(one.object_id, one)
        known = replace(known, name=one.name, class_id=one.class_id, is_locked=one.is_locked)
        table = table.with_record(known)
    annotation.table = table
    if table.record.is_locked:  # prompts are for one that may change
        _begin_another(annotation)


def _begin_another(annotation: Annotation) -> None:
    object_id = next_id(annotation)
    record = ObjectRecord(object_id, f"object {object_id}")
    annotation.table = annotation.table.with_record(record).with_current(object_id)


def keep_stamp(
    annotation: Annotation, step: Step, packed: PackedMask, *, is_there: bool, beneath: int = 0
) -> None:
    """Remember that the current object's mask comes to the committed label map, or goes.

    Without it there is `beneath` (a label, or 0 for no object) in all of its place.
    """
    swap = StampSwap(annotation.committed, packed, annotation.object_id, is_there, beneath)
    step.swaps["labels", len(step.swaps)] = swap
    annotation.history.trim()


def keep_labels(annotation: Annotation, step: Step, box: VoxelBox) -> None:
    """Remember a part of the committed label map as it is now."""
    label_map = annotation.committed.label_map
    if label_map is not None:
        inside = label_map[box.index].copy()
        step.swaps["labels", len(step.swaps)] = LabelsSwap(annotation.committed, box, inside)
        annotation.history.trim()
