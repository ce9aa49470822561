"""Strokes of napari's brush in our label maps, and data that others give them, become steps to undo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import box_of_used
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.object_table import MAX_OBJECT_ID, ObjectRecord
from napari_medicosam.errors import InputError
from napari_medicosam.ui import committing, layers
from napari_medicosam.ui.swaps import LabelsSwap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import VoxelBox
    from napari_medicosam.core.history import Step
    from napari_medicosam.ui.annotation import Annotation


@dataclass(frozen=True, slots=True, eq=False)
class _Painted:
    """Labels that were painted in a part of a label map, and where in it."""

    box: VoxelBox
    labels: NDArray[Any]
    where: NDArray[np.bool_]


def write_given(
    annotation: Annotation, kept: NDArray[Any], given: Any, *, is_object: bool
) -> tuple[VoxelBox, NDArray[Any]]:
    """Write other data into a label map where it differs, as a stroke would. Returns where, and what lay there.

    Args:
        annotation: of the time point that may change.
        kept: the label map, with the axes of the image.
        given: integers of the same shape.
        is_object: all that is not 0 is the current object.

    Raises:
        InputError: for another shape, labels that no object can have, or changes at another time point; nothing was
            written then.
    """
    if given.shape != kept.shape:
        raise InputError(
            f"a label map of this image has shape {kept.shape}, got {given.shape}: it was put back"
        )
    given = np.asarray(given)
    if given.min() < 0 or given.max() > MAX_OBJECT_ID:
        raise InputError(
            f"a label map holds objects 1 to {MAX_OBJECT_ID}, got {given.min()} to {given.max()}: it was put back"
        )
    if is_object:
        given = np.multiply(given != 0, annotation.object_id, dtype=kept.dtype)
    here, now = layers.voxels(kept, annotation.time), layers.voxels(given, annotation.time)
    box = box_of_used(now != here)
    if kept.ndim == 4 and np.count_nonzero(given != kept) > np.count_nonzero(now != here):
        raise InputError(
            "only the labels of the time point that is shown can be set, got changes in others: they were put back"
        )
    before = here[box.index].copy()
    here[box.index] = now[box.index]
    return box, before


def keep_painted(annotation: Annotation, box: VoxelBox, before: NDArray[Any], axis: int) -> list[SlicePlane]:
    """A stroke on the object: a step to undo; its slices are the user's from now on.

    Args:
        annotation: the object is its current one.
        box: where something was painted.
        before: what lay there.
        axis: that was sliced along.

    Returns:
        The slices that it changed.

    Raises:
        InputError: for a locked object; the stroke was taken back.
    """
    label_map = annotation.edited.label_map
    if label_map is None or box.is_empty:
        return []
    part = label_map[box.index]
    painted = part.copy()
    part[...] = before
    annotation.check_unlocked()
    step = annotation.begin("paint")
    committing.reopen(annotation, step)
    return _put(annotation, step, _Painted(box, painted, painted != before), axis)


def keep_painted_labels(
    annotation: Annotation, box: VoxelBox, before: NDArray[Any], axis: int
) -> tuple[list[SlicePlane], bool]:
    """A stroke on committed masks: a step to undo; locked objects are put back as they were.

    What was painted as the object that is being edited goes to the mask that is being edited, as a stroke on it: no
    voxel of it is in both label maps.

    Args:
        annotation: both of its label maps are there.
        box: where something was painted.
        before: what lay there.
        axis: that was sliced along.

    Returns:
        The slices of the object being edited that it changed, and whether some of it was put back.
    """
    label_map = annotation.committed.label_map
    if label_map is None or box.is_empty:
        return [], False
    now, locked = label_map[box.index], list(annotation.table.locked_ids)
    kept = (now != before) & (np.isin(now, locked) | np.isin(before, locked))
    now[kept] = before[kept]
    is_mine = (now != before) & (now == annotation.object_id) & annotation.is_edited(annotation.object_id)
    now[is_mine] = 0
    if not (is_mine | (now != before)).any():
        return [], bool(kept.any())
    annotation.committed.changed(box)
    step = annotation.begin("paint labels")
    step.swaps["labels", len(step.swaps)] = LabelsSwap(annotation.committed, box, before)
    is_changed = now != before
    painted, table = np.unique(now[is_changed]), annotation.table
    for object_id in set(painted.tolist()) - {0, *table.records}:  # of napari's own "new label", say
        table = table.with_record(ObjectRecord(object_id, f"object {object_id}"))
    table = table.recounted(before, now, box)
    for object_id in painted.tolist():
        if object_id in table.records:  # what lies there is committed, and opened again like all that is
            table = table.with_committed(object_id)
    changed = np.union1d(before[is_changed], painted)
    for other, index in enumerate(box.start_zyx):
        if box.shape[other] == 1:  # the slice that was painted on
            for object_id in changed.tolist():
                table = table.without_agreement(object_id, SlicePlane(other, index))
    annotation.table = table
    mine = _Painted(box, np.full(box.shape, annotation.object_id, now.dtype), is_mine)
    return _put(annotation, step, mine, axis), bool(kept.any())


def _put(annotation: Annotation, step: Step, painted: _Painted, axis: int) -> list[SlicePlane]:
    """Write a stroke into the mask that is being edited. Returns its slices, which are the user's from now on."""
    label_map, box = annotation.edited.label_map, painted.box
    if label_map is None:
        return []
    is_painted = np.moveaxis(painted.where, axis, 0).any(axis=(1, 2))
    planes = [SlicePlane(axis, box.planes(axis)[index]) for index in np.flatnonzero(is_painted)]
    if not planes:
        return []
    for plane in planes:
        annotation.remember(plane, annotation.mask(plane), step)
    np.copyto(label_map[box.index], painted.labels, where=painted.where)
    annotation.edited.changed(box)
    for plane in planes:
        annotation.write(plane, annotation.mask(plane), None)  # in its label, and out of other objects
        annotation.add_anchor(plane)
    return planes
