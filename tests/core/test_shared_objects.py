from dataclasses import replace

import pytest

from napari_medicosam.core.boxes import VoxelBox
from napari_medicosam.core.object_table import ObjectRecord, ObjectTable
from napari_medicosam.core.shared_objects import locked_in, shared_changes, shared_of, with_shared

BOX = VoxelBox((0, 0, 0), (1, 2, 3))


@pytest.fixture
def table():
    """An object "a" with a mask, and an empty "b", the current one."""
    records = (
        ObjectRecord(1, "a", 4, is_committed=True, num_voxels=6, bounds=BOX),
        ObjectRecord(2, "b"),
    )
    known = ObjectTable()
    for record in records:
        known = known.with_record(record)
    return known.with_current(2)


def test_what_is_the_same_is_no_change(table):
    assert shared_changes(shared_of(table), table) == {}
    assert with_shared(table, shared_of(table)) is table
    assert shared_changes(shared_of(table), table.with_counts({1: 3}, {}, BOX)) == {}


def test_a_table_takes_names_and_locks_and_keeps_its_masks(table):
    other = table.with_record(ObjectRecord(1, "c", None, is_visible=False)).with_class_locked(
        7, {1}, is_locked=True
    )
    changed = shared_changes(shared_of(table), other)
    assert changed == {
        (1, "name"): "c",
        (1, "class_id"): None,
        (1, "is_locked"): True,
        (1, "is_visible"): False,
        (7, "is_class_locked"): True,
    }
    values = shared_of(table) | changed
    taken = with_shared(table, values)
    assert taken.records[1] == ObjectRecord(1, "c", None, True, False, True, 6, BOX)
    assert taken.locked_classes == {7}
    assert locked_in(values) == {1}
    back = with_shared(taken, values | shared_changes(values, table))
    assert back == table


def test_objects_come_and_go(table):
    other = table.with_record(ObjectRecord(5, "e", 2)).without(2)
    changed = shared_changes(shared_of(table), other)
    assert changed[2, "is_there"] is False
    taken = with_shared(table, shared_of(table) | changed)
    assert list(taken.records) == [1, 5]
    assert taken.current == 1
    again = other.with_record(ObjectRecord(2, "b"))
    assert shared_changes(shared_of(table) | changed, again) == {
        key: value for key, value in shared_of(again).items() if key[0] == 2
    }


def test_an_emptied_object_keeps_its_name_and_lock(table):
    known = replace(table.with_anchors(1, frozenset([3])), current=1)
    left = known.emptied(1)
    assert left.record == ObjectRecord(1, "a", 4)
    assert not left.anchors_of(1)
    assert left.records[2] == table.records[2]
    only = ObjectTable().with_record(ObjectRecord(5, "e")).without(1).with_current(5).emptied(5)
    assert list(only.records) == [5]
