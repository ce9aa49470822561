"""What an object takes of another one, and what of it is the other's again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_medicosam.core.boxes import VoxelBox
from napari_medicosam.core.nesting import give_back, newly_taken, still_taken, to_give_back
from napari_medicosam.core.object_table import ObjectRecord, ObjectTable

SHAPE = (4, 20, 20)
WHOLE = VoxelBox((0, 0, 0), SHAPE)
LIVER, KIDNEY, TUMOUR = 7, 300, 9


def organs():
    """Two organs side by side."""
    labels = np.zeros(SHAPE, np.uint16)
    labels[1:3, 2:12, 2:12], labels[1:3, 2:12, 12:18] = LIVER, KIDNEY
    return labels


def with_tumour(index=(slice(1, 3), slice(0, 8), slice(9, 14))):
    """A tumour in both, and beyond them; the table that knows what it took."""
    before = organs()
    labels = before.copy()
    labels[index] = TUMOUR
    bounds = {LIVER: VoxelBox((1, 2, 2), (3, 12, 12))}
    taken = newly_taken(before, labels, WHOLE, TUMOUR, bounds)
    table = ObjectTable().with_taken(TUMOUR, taken)
    for label in (LIVER, KIDNEY, TUMOUR):
        table = table.with_record(ObjectRecord(label, str(label)))
    return labels, table


def test_each_organ_gets_back_what_was_taken_of_it():
    labels, table = with_tumour()
    assert {one.label: one.mask.num_voxels for one in table.taken_of(TUMOUR)} == {LIVER: 36, KIDNEY: 24}
    labels[labels == TUMOUR] = 0
    give_back(labels, table, TUMOUR)
    np.testing.assert_array_equal(labels, organs())


def test_what_is_covered_by_the_object_or_another_one_stays():
    labels, table = with_tumour()
    labels[1][labels[1] == TUMOUR] = 0
    labels[1, 2:4, 9:11] = 5
    kept = still_taken(table.taken_of(TUMOUR), labels, TUMOUR)
    assert sum(one.mask.num_voxels for one in kept) == 30
    edited = np.zeros(SHAPE, bool)
    edited[1, 4, 9] = True
    found = to_give_back(labels, table, TUMOUR, VoxelBox((1, 0, 0), (2, 20, 13)), edited)
    assert {one.label: one.mask.num_voxels for one in found} == {LIVER: 18 - 4 - 1, KIDNEY: 6}


def test_locked_and_deleted_objects_get_nothing():
    labels, table = with_tumour()
    labels[labels == TUMOUR] = 0
    locked = table.with_record(replace(table.find(LIVER), is_locked=True))
    assert {one.label for one in to_give_back(labels, locked, TUMOUR)} == {KIDNEY}
    gone = locked.without(KIDNEY)
    assert not to_give_back(labels, gone, TUMOUR)
    again = gone.with_record(ObjectRecord(KIDNEY, "another one of this number"))
    assert not to_give_back(labels, again, TUMOUR)
    assert not table.without(TUMOUR).taken
