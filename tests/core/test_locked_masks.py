import numpy as np

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.locked_masks import LockedMasks

WHOLE = VoxelBox((0, 0, 0), (6, 10, 12))


def a_label_map():
    label_map = np.zeros((6, 10, 12), np.uint16)
    label_map[1:4, 2:7, 3:9] = 1
    label_map[3:5, 7:10, 0:4] = 2
    label_map[5, 0:2] = 3
    return label_map


def locked(label_map, *ids):
    masks = LockedMasks()
    masks.follow(ids, lambda one: PackedMask.of(label_map, WHOLE, one))
    return masks


def test_what_was_lost_comes_back_and_what_was_gained_goes():
    label_map = a_label_map()
    masks = locked(label_map, 1, 2)
    before = label_map.copy()
    label_map[2, 0:10, 5] = 7  # across object 1, and beside it
    label_map[3] = 1  # over object 2 and the background
    label_map[4, 8, 2] = 0
    differing = masks.put_back(label_map)
    assert differing == [SlicePlane(0, 2), SlicePlane(0, 3), SlicePlane(0, 4)]
    before[2, [0, 1, 7, 8, 9], 5] = 7  # who is not locked may be painted
    np.testing.assert_array_equal(label_map, before)
    assert not masks.put_back(label_map)


def test_one_slice_of_any_axis_can_be_looked_at():
    label_map = a_label_map()
    masks = locked(label_map, 1)
    before = label_map.copy()
    label_map[:, 4] = 0
    assert not masks.put_back(label_map, [SlicePlane(1, 5)])
    assert masks.put_back(label_map, [SlicePlane(1, 4)]) == [SlicePlane(1, 4)]
    np.testing.assert_array_equal(label_map, before)


def test_only_those_that_are_locked_are_kept_and_as_they_were_when_they_were_locked():
    label_map = a_label_map()
    masks = locked(label_map, 1)
    label_map[2, 2, 3] = 0
    masks.follow([1, 3], lambda one: PackedMask.of(label_map, WHOLE, one))
    masks.put_back(label_map)
    assert label_map[2, 2, 3] == 1
    masks.follow([3], lambda one: PackedMask.of(label_map, WHOLE, one))
    label_map[...] = 0
    masks.put_back(label_map)
    np.testing.assert_array_equal(np.unique(label_map), [0, 3])
