import numpy as np
import pytest

from napari_medicosam.core.boxes import VoxelBox, box_of_used
from napari_medicosam.core.slice_counts import MaskPart, SliceCounts

SHAPE = (9, 14, 17)


def truth(mask, axis):
    along = np.moveaxis(mask, axis, 0)
    shared = np.count_nonzero(along[1:] & along[:-1], axis=(1, 2))
    return np.count_nonzero(along, axis=(1, 2)), np.append(shared, 0)


def agree(counts, label_map, axis, label=None):
    mask = label_map != 0 if label is None else label_map == label
    areas, shared = truth(mask, axis)
    np.testing.assert_array_equal(counts.areas(axis), areas)
    np.testing.assert_array_equal(counts.shared(axis), shared)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("label", [None, 2])
def test_counts_follow_a_mask_that_changes(axis, label):
    rng = np.random.default_rng(axis)
    label_map, counts = np.zeros(SHAPE, np.uint16), SliceCounts(SHAPE)
    box = VoxelBox()
    for _ in range(30):
        start = rng.integers(0, SHAPE)
        stop = np.minimum(start + rng.integers(1, 6, 3), SHAPE)
        changed = VoxelBox(tuple(start.tolist()), tuple(stop.tolist()))
        label_map[changed.index] = rng.integers(0, 3, label_map[changed.index].shape)
        box = box.union(changed)
        counts.changed(changed)
        assert counts.update(axis, MaskPart(label_map, box, label))
        agree(counts, label_map, axis, label)


def test_only_what_changed_is_counted_again():
    label_map, counts = np.ones(SHAPE, np.uint16), SliceCounts(SHAPE)
    whole = VoxelBox((0, 0, 0), SHAPE)
    counts.changed(whole)
    counts.update(0, MaskPart(label_map, whole))
    label_map[:] = 0  # behind its back
    counts.changed(VoxelBox((4, 0, 0), (5, 1, 1)))
    counts.update(0, MaskPart(label_map, whole))
    assert np.flatnonzero(counts.areas(0) == 0).tolist() == [3, 4]  # what 3 shares with 4 changed, too
    counts.changed(VoxelBox())
    assert counts.update(0, MaskPart(label_map, whole))
    assert np.flatnonzero(counts.areas(0) == 0).tolist() == [3, 4]  # what 3 shares with 4 changed, too


def test_counting_can_be_done_in_parts():
    label_map, counts = np.ones(SHAPE, np.uint16), SliceCounts(SHAPE)
    whole = VoxelBox((0, 0, 0), SHAPE)
    counts.changed(whole)
    parts = 1
    while not counts.update(1, MaskPart(label_map, whole), seconds=0):
        parts += 1
    assert parts == SHAPE[0]
    agree(counts, label_map, 1)


def test_what_left_the_box_counts_no_more():
    label_map, counts = np.ones(SHAPE, np.uint16), SliceCounts(SHAPE)
    counts.changed(VoxelBox((0, 0, 0), SHAPE))
    for axis in range(3):
        counts.update(axis, MaskPart(label_map, VoxelBox((0, 0, 0), SHAPE)))
    label_map[:] = 0
    label_map[3:5, 2:4, 6:9] = 1
    counts.changed(VoxelBox((0, 0, 0), SHAPE))
    for axis in range(3):
        counts.update(axis, MaskPart(label_map, box_of_used(label_map)))
        agree(counts, label_map, axis)
