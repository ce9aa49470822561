"""In which object another one lies."""

from __future__ import annotations

import numpy as np

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.nesting import find_host


def packed_of(*index):
    volume = np.zeros((4, 20, 20), dtype=bool)
    volume[index] = True
    return PackedMask.of(volume, VoxelBox((0, 0, 0), volume.shape))


def test_the_object_that_a_mask_touches_most_is_its_host():
    labels = np.zeros((4, 20, 20), np.uint16)
    labels[1:3, 2:12, 2:12], labels[1:3, 2:12, 12:18] = 7, 300
    inside = packed_of(slice(1, 3), slice(4, 8), slice(9, 14))  # more of it in 7, and 300 on one side
    labels[1:3, 4:8, 9:14] = 0
    assert find_host(labels, inside, {7, 300}) == 7
    assert find_host(labels, inside, {300}) == 300
    assert find_host(labels, inside, {8}) == 0
    assert find_host(labels, inside, set()) == 0


def test_a_mask_at_the_border_of_the_image_has_a_host():
    labels = np.full((4, 20, 20), 2, np.uint16)
    for index in ((0, slice(0, 3), slice(0, 3)), (3, slice(15, 20), slice(0, 20))):
        assert find_host(labels, packed_of(*index), {2}) == 2


def test_what_only_meets_at_corners_or_above_does_not_touch():
    labels = np.zeros((4, 20, 20), np.uint16)
    labels[1, 0:5, 0:5] = 3
    labels[2] = 4
    assert find_host(labels, packed_of(1, slice(5, 9), slice(5, 9)), {3, 4}) == 0
