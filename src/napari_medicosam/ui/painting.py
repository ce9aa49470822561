"""Strokes of napari's brush in our label maps become steps to undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.ui import committing
from napari_medicosam.ui.strokes import before_stroke
from napari_medicosam.ui.swaps import LabelsSwap

if TYPE_CHECKING:
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.strokes import Edit


def keep_painted(annotation: Annotation, edits: list[Edit], axis: int) -> list[SlicePlane]:
    """A stroke on the object: a step to undo; its slices are the user's from now on.

    Args:
        annotation: the object is its current one.
        edits: of the stroke, after the fact.
        axis: that was sliced along.

    Returns:
        The slices that it changed.

    Raises:
        InputError: for a locked object; the stroke was taken back.
    """
    label_map = annotation.edited.label_map
    if label_map is None or not edits:
        return []
    box, before = before_stroke(label_map, edits)
    part = label_map[box.index]
    painted = part.copy()
    part[...] = before
    annotation.check_unlocked()
    step = annotation.begin("paint")
    committing.reopen(annotation, step)
    changed = np.moveaxis(painted != before, axis, 0).any(axis=(1, 2))
    planes = [
        SlicePlane(axis, index)
        for index, is_changed in zip(box.planes(axis), changed, strict=True)
        if is_changed
    ]
    for plane in planes:
        annotation.remember(plane, annotation.mask(plane), step)
    np.copyto(part, painted, where=painted != before)
    annotation.edited.changed(box)
    for plane in planes:
        annotation.write(
            plane, annotation.mask(plane), None
        )  # in the object's label, and out of other objects
        annotation.add_anchor(plane)
    return planes


def keep_painted_labels(annotation: Annotation, edits: list[Edit]) -> bool:
    """A stroke on committed masks: a step to undo; locked objects are put back as they were.

    Returns:
        Whether some of it was put back.
    """
    label_map = annotation.committed.label_map
    if label_map is None or not edits:
        return False
    box, before = before_stroke(label_map, edits)
    now, locked = label_map[box.index], list(annotation.table.locked_ids)
    kept = (now != before) & (np.isin(now, locked) | np.isin(before, locked))
    now[kept] = before[kept]
    annotation.committed.changed(box)
    step = annotation.begin("paint labels")
    step.swaps["labels", len(step.swaps)] = LabelsSwap(annotation.committed, box, before)
    table = annotation.table.recounted(before, now, box)
    changed = np.union1d(before[before != now], now[before != now])
    for axis, index in enumerate(box.start_zyx):
        if box.shape[axis] == 1:  # the slice that was painted on
            for object_id in changed.tolist():
                table = table.without_agreement(object_id, SlicePlane(axis, index))
    annotation.table = table
    return bool(kept.any())
