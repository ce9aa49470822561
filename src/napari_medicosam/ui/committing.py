"""Objects of an annotation: their masks go to the committed ones and come back, within a step to undo."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core import mask_writing
from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.nesting import give_back, newly_taken, still_taken, to_give_back
from napari_medicosam.core.object_table import ObjectRecord
from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError
from napari_medicosam.ui.slice_scores import keep_score
from napari_medicosam.ui.swaps import LabelsSwap, StampSwap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    taken = annotation.table.taken_of(object_id)
    count = won.num_voxels
    if lost or taken:
        annotation.edited.clear()
        with _settled(annotation, step, won.box):
            annotation.committed.stamp(won, object_id)
    else:
        keep_stamp(annotation, step, won, is_there=True)
        annotation.committed.stamp(won, object_id)
        annotation.edited.clear()
        annotation.table = annotation.table.with_counts({object_id: count}, {}, won.box)
    annotation.table = annotation.table.with_committed(object_id)
    return count


def leave(annotation: Annotation, step: Step) -> None:
    """Commit the current object, as far as it has a mask; of one that has lost it, what it took is theirs again.

    Raises:
        InputError: when the policy leaves nothing of its mask.
    """
    if annotation.num_open_voxels:
        commit(annotation, step)
    elif not annotation.table.record.is_committed:
        _give_back(annotation, step)


def _give_back(annotation: Annotation, step: Step) -> None:
    """All that the current object has taken is theirs again that it took it from: there is no mask of it."""
    if annotation.table.taken_of(annotation.object_id):
        with _settled(annotation, step, VoxelBox()):
            pass


@contextmanager
def _settled(annotation: Annotation, step: Step, box: VoxelBox) -> Iterator[None]:
    """The current object is written, or erased, in a part of the committed label map, which a step remembers.

    What it takes there from others is remembered, and what it has left of what it took before is theirs again. All
    voxels are counted.
    """
    object_id, label_map = annotation.object_id, annotation.committed.label_map
    if label_map is None:
        yield
        return
    for one in annotation.table.taken_of(object_id):
        box = box.union(one.mask.box)
    before = keep_labels(annotation, step, box)
    yield
    for one in to_give_back(label_map, annotation.table, object_id):
        annotation.committed.stamp(one.mask, one.label)
    table, now = annotation.table, label_map[box.index]
    bounds = {known: record.bounds for known, record in table.records.items()}
    taken = still_taken(table.taken_of(object_id), label_map, object_id)
    taken += newly_taken(before, now, box, object_id, bounds)
    annotation.table = table.recounted(before, now, box).with_taken(object_id, taken)


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
    """Move the committed mask of the current object, which is not locked, back to where it is edited."""
    record = annotation.table.record
    if not record.is_committed or annotation.edited.label_map is None:
        return
    packed = annotation.packed_of(record.object_id)
    if not packed.is_empty:  # otherwise it was erased by hand
        annotation.own = record.object_id, packed
        annotation.keep_edited(step)
        keep_stamp(annotation, step, packed, is_there=False)
        annotation.committed.stamp(packed, 0)
        annotation.edited.put(packed, record.object_id)
        count = annotation.num_open_voxels
        annotation.table = annotation.table.with_counts({}, {record.object_id: count}, packed.box)
    annotation.table = annotation.table.with_record(replace(annotation.table.record, is_committed=False))


def delete(annotation: Annotation, step: Step) -> None:
    """Remove the current object, which is not locked, with its prompts and masks.

    Where it has some at other time points, it stays as an empty one.
    """
    reopen(annotation, step)
    annotation.keep_edited(step)
    annotation.edited.clear()
    _give_back(annotation, step)
    table, object_id = annotation.table, annotation.object_id
    is_elsewhere = annotation.num_others_with(object_id) > 0
    annotation.table = table.emptied(object_id) if is_elsewhere else table.without(object_id)


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
    if not annotation.table.record.is_committed:
        give_back(label_map, annotation.table, annotation.object_id)


def next_id(annotation: Annotation) -> int:
    """An id that neither an object nor a voxel has, at any time point."""
    known = 0 if annotation.shared is None else annotation.shared.highest_id
    # Only in the one that is shown may somebody else have painted.
    painted = max(one.committed.highest_label(is_told=one is not annotation) for one in annotation.times)
    return max(known, painted, *annotation.table.records) + 1


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
    box, table = VoxelBox.of_slice(plane, region), annotation.table
    before = keep_labels(annotation, step, box)
    inner, wanted = label_slice[region.slices_yx], mask[region.slices_yx]
    allowed = annotation.policy.allowed(table, object_id)
    mask_writing.write_committed(inner, annotation.mask(plane)[region.slices_yx], wanted, allowed, object_id)
    for one in to_give_back(label_map, table, object_id, box, annotation.edited.label_map):
        np.copyto(label_map[one.mask.box.index], one.label, where=one.mask.mask)
    annotation.committed.changed(box)
    now = label_map[box.index]
    bounds = {known: record.bounds for known, record in table.records.items()}
    taken = (*table.taken_of(object_id), *newly_taken(before, now, box, object_id, bounds))
    table = table.recounted(before, now, box).with_taken(object_id, taken).without_agreement(object_id, plane)
    annotation.table = table.with_record(replace(table.find(object_id), is_committed=True))
    return True


def describe(annotation: Annotation, records: Iterable[ObjectRecord], locked_classes: frozenset[int]) -> None:
    """Take names, classes and locks of these objects; those that have no label are there all the same, empty."""
    table = replace(annotation.table, locked_classes=locked_classes)
    for one in records:
        known = table.records.get(one.object_id, one)
        known = replace(known, name=one.name, class_id=one.class_id, is_locked=one.is_locked)
        table = table.with_record(known)
    annotation.table = table
    if table.record.is_locked:  # prompts are for one that may change
        begin_another(annotation)


def begin_another(annotation: Annotation) -> None:
    """A new, empty object becomes the current one."""
    object_id = next_id(annotation)
    record = ObjectRecord(object_id, f"object {object_id}")
    annotation.table = annotation.table.with_record(record).with_current(object_id)


def keep_stamp(annotation: Annotation, step: Step, packed: PackedMask, *, is_there: bool) -> None:
    """Remember that the current object's mask comes to the committed label map, where it is 0 otherwise, or goes."""
    swap = StampSwap(annotation.committed, packed, annotation.object_id, is_there)
    step.swaps["labels", len(step.swaps)] = swap
    annotation.history.trim()


def keep_labels(annotation: Annotation, step: Step, box: VoxelBox) -> NDArray[Any]:
    """Remember a part of the committed label map as it is now, and return it; the layer must exist."""
    label_map = annotation.committed.label_map
    inside: NDArray[Any] = (
        np.zeros(box.shape, np.uint16) if label_map is None else label_map[box.index].copy()
    )
    if label_map is not None:
        step.swaps["labels", len(step.swaps)] = LabelsSwap(annotation.committed, box, inside)
        annotation.history.trim()
    return inside
