"""Labels that come in cost what they are, whatever the volume's size, and undo takes back exactly these."""

import tracemalloc

import numpy as np
import pytest

from napari_medicosam.errors import InputError

SHAPE = (32, 160, 160)


def some_labels(dtype=np.uint16):
    label_map = np.zeros(SHAPE, dtype)
    label_map[4:12, 20:60, 20:60] = 2
    label_map[8:20, 100:140, 30:50] = 5
    label_map[25, 3, 150] = 300
    return label_map


@pytest.fixture
def session(make_session):
    return make_session(np.zeros(SHAPE, np.uint8))[1]


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, ">i4"])
def test_memory_is_taken_for_the_part_that_has_labels(session, dtype):
    label_map = some_labels(dtype)
    label_map[label_map == 300] = 0
    session.add_labels(label_map)
    session.undo()
    tracemalloc.start()
    session.add_labels(label_map)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < np.prod(SHAPE), "less than a byte a voxel"
    assert session._annotation.history.last.num_bytes == 0, "that nothing was there takes no memory"


def test_undo_and_redo_are_exact_whatever_was_there(session):
    session.add_labels(some_labels())
    before, records = session.label_map(), session.objects
    label_map = np.zeros(SHAPE, np.uint8)
    label_map[6:10, 50:70, 50:70] = 7
    session.add_labels(label_map)
    after, later = session.label_map(), session.objects
    np.testing.assert_array_equal(after, np.where(before == 0, label_map, before))
    for _ in range(2):
        session.undo()
        np.testing.assert_array_equal(session.label_map(), before)
        assert session.objects == records
        session.undo()
        assert not session.label_map().any()
        session.redo()
        np.testing.assert_array_equal(session.label_map(), before)
        session.redo()
        np.testing.assert_array_equal(session.label_map(), after)
        assert session.objects == later
    session.undo()
    session.undo()
    assert session._annotation.history.undone[-1].num_bytes == before[4:26, 3:140, 20:151].nbytes


def test_each_label_is_counted_and_found(session):
    label_map = np.random.default_rng(0).integers(0, 40, SHAPE, np.int16)
    label_map[:, :, :80] = 0
    label_map[10:] = np.where(label_map[10:] > 3, 0, label_map[10:])
    session.add_labels(label_map)
    for record in session.objects[:-1]:
        mask = label_map == record.object_id
        assert record.num_voxels == np.count_nonzero(mask)
        assert mask[record.bounds.index].sum() == record.num_voxels
        assert record.bounds.stop_zyx[0] == (32 if record.object_id < 4 else 10)
    assert [record.object_id for record in session.objects] == list(range(1, 41))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_a_label_below_zero_is_none(session, dtype):
    label_map = np.zeros(SHAPE, dtype)
    label_map[4:12, 20:60, 20:60] = 2
    label_map[31, 5, 5] = -1
    with pytest.raises(InputError, match="1 to 65535, got -1 on slice 31"):
        session.add_labels(label_map)
    assert not session.can_undo


def test_a_label_whose_place_is_taken_is_an_object_without_voxels(session):
    session.add_labels(some_labels())
    hidden = np.zeros(SHAPE, bool)
    hidden[5:8, 30:40, 30:40] = True
    session.add_labels(hidden.astype(np.uint64) * 9, {9: "inside"})
    (record,) = [one for one in session.objects if one.object_id == 9]
    assert (record.name, record.num_voxels, record.is_committed) == ("inside", 0, True)
