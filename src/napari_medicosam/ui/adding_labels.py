"""Labels that were made before become committed objects of an annotation. Where nothing is costs next to nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.boxes import VoxelBox, box_of_used
from napari_medicosam.core.object_table import MAX_OBJECT_ID, ObjectRecord
from napari_medicosam.errors import InputError
from napari_medicosam.ui.committing import begin_another, keep_labels
from napari_medicosam.ui.swaps import LabelsSwap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from napari_medicosam.core.history import Step
    from napari_medicosam.ui.annotation import Annotation

_FEW = 4
"""So many labels are counted one by one, which is quicker than all at once."""


@dataclass(slots=True)
class _Found:
    """How often a label is there where nothing else is, and on which slices it is at all, from `z0` to before `z1`."""

    z0: int
    z1: int
    num_free: int = 0


def add_labels(
    annotation: Annotation, step: Step, label_map: NDArray[Any], names: Mapping[int, str]
) -> tuple[int, ...]:
    """Each label becomes a committed object; where other objects are already, these stay.

    Args:
        annotation: its layers exist.
        step: to undo.
        label_map: integers or bool (z, y, x).
        names: by label.

    Returns:
        The new objects, by id.

    Raises:
        InputError: for a label that is an object already, or that no label map can hold.
    """
    ours, edited = annotation.committed.label_map, annotation.edited.label_map
    if ours is None or edited is None:
        return ()
    box, table = box_of_used(_checked(label_map)), annotation.table
    inside, there, open_there = label_map[box.index], ours[box.index], edited[box.index]
    found = _find(inside, there, open_there)
    for label in found:
        if label in table.records and not (label == annotation.object_id and annotation.is_empty):
            raise InputError(
                f"object {label} is there already: give the labels other numbers, or delete it first"
            )
    added = {label: _record(label, names, one, box) for label, one in sorted(found.items())}
    if any(map(_is_used, there)):
        keep_labels(annotation, step, box)
    else:
        step.swaps["labels", len(step.swaps)] = LabelsSwap(annotation.committed, box, None)
    _write(inside, there, open_there)
    annotation.committed.changed(box)
    annotation.table = replace(table, records=MappingProxyType({**table.records, **added}))
    if annotation.object_id in added:
        begin_another(annotation)
    return tuple(added)


def _checked(label_map: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Its slices; `InputError` for numbers that no label map can hold."""
    dtype = label_map.dtype
    is_safe = np.can_cast(dtype, np.uint16)
    highest = MAX_OBJECT_ID if is_safe else min(MAX_OBJECT_ID, np.iinfo(dtype).max)
    unsigned = dtype.str.replace("i", "u")  # as such, what is below 0 is higher than that
    for z, one in enumerate(label_map):
        if not is_safe and one.view(unsigned).max() > highest:
            wrong = one[(one < 0) | (one > MAX_OBJECT_ID)]
            raise InputError(
                f"a label map holds objects 1 to {MAX_OBJECT_ID}, got {int(wrong[0])} on slice {z}"
            )
        yield one


def _find(inside: NDArray[Any], there: NDArray[Any], open_there: NDArray[Any]) -> dict[int, _Found]:
    """What labels a part of a label map has, by label; beside it what is committed and what is edited there."""
    found: dict[int, _Found] = {}
    counts: dict[int, int] = {}
    for z, (here, ours, edited) in enumerate(zip(inside, there, open_there, strict=True)):
        labels = here.astype(np.uint16, copy=False)  # narrow numbers are counted quicker
        free = counts = _counts(labels, tuple(counts))  # a slice has mostly the labels of the one before
        if counts and (_is_used(ours) or _is_used(edited)):
            free = _counts(np.where((ours == 0) & (edited == 0), labels, 0), tuple(counts))
        for label in counts:
            one = found.setdefault(label, _Found(z, z))
            one.z1 = z + 1
            one.num_free += free.get(label, 0)
    return found


def _counts(labels_yx: NDArray[Any], likely: tuple[int, ...]) -> dict[int, int]:
    """How many pixels of a slice have each label but 0; quick when the labels are the few likely ones."""
    num_used = np.count_nonzero(labels_yx)
    if len(likely) <= _FEW:
        counts = {label: int(np.count_nonzero(labels_yx == label)) for label in likely}
        if sum(counts.values()) == num_used:
            return {label: count for label, count in counts.items() if count}
    used = labels_yx[labels_yx != 0] if 4 * num_used < labels_yx.size else labels_yx.ravel()
    by_label = np.bincount(used.astype(np.intp, copy=False))
    return {label: int(by_label[label]) for label in np.flatnonzero(by_label).tolist() if label}


def _record(label: int, names: Mapping[int, str], found: _Found, box: VoxelBox) -> ObjectRecord:
    """Of a new object, whose slices are counted from the first one of a box."""
    bounds = VoxelBox()
    if found.num_free:
        (z0, y0, x0), (_, y1, x1) = box.start_zyx, box.stop_zyx
        bounds = VoxelBox((z0 + found.z0, y0, x0), (z0 + found.z1, y1, x1))
    name = names.get(label, f"object {label}")
    return ObjectRecord(label, name, is_committed=True, num_voxels=found.num_free, bounds=bounds)


def _write(inside: NDArray[Any], there: NDArray[Any], open_there: NDArray[Any]) -> None:
    """Write labels where nothing is, a slice at a time. Slices without any are not touched: that would cost memory."""
    for here, ours, edited in zip(inside, there, open_there, strict=True):
        if not _is_used(here):
            continue
        if _is_used(ours) or _is_used(edited):
            np.copyto(ours, here, where=(ours == 0) & (edited == 0) & (here != 0), casting="unsafe")
        else:
            np.copyto(ours, here, casting="unsafe")


def _is_used(labels_yx: NDArray[Any]) -> bool:
    """True where a slice of labels, none of them negative, has any; quicker than `any`."""
    return bool(labels_yx.max())
