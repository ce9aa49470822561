import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_medicosam.core.boxes import PackedMask, VoxelBox, box_of_used
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.results import Region


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_rectangle_of_a_slice_as_a_box(axis):
    volume = np.zeros((7, 9, 11), bool)
    plane, region = SlicePlane(axis, 3), Region(1, 2, 4, 6)
    plane.cut(volume)[region.slices_yx] = True
    box = VoxelBox.of_slice(plane, region)
    assert box == box_of_used(volume)
    assert volume[box.index].all()
    assert list(box.planes(axis)) == [3]


@given(arrays(np.uint16, array_shapes(min_dims=3, max_dims=3), elements=st.sampled_from([0, 0, 0, 7])))
def test_the_box_of_what_is_used_is_tight(volume):
    where = np.argwhere(volume)
    box = box_of_used(volume)
    assert box.is_empty == (len(where) == 0)
    if len(where):
        assert box == VoxelBox(tuple(where.min(axis=0)), tuple(where.max(axis=0) + 1))


@given(arrays(np.uint16, array_shapes(min_dims=3, max_dims=3), elements=st.sampled_from([0, 0, 0, 7])))
def test_the_tight_box_of_a_packed_mask_is_that_of_the_mask_and_what_is_inside_its(volume):
    packed = PackedMask.of(volume, VoxelBox((0, 0, 0), volume.shape))
    box = packed.tight_box
    assert box == box_of_used(volume)
    if not box.is_empty:
        np.testing.assert_array_equal(packed.inside(box), volume[box.index] != 0)


def test_empty_boxes():
    assert VoxelBox().is_empty
    assert VoxelBox.of_slice(SlicePlane(0, 3), Region(0, 0, 0, 0)).is_empty
    assert box_of_used(np.zeros((2, 3, 4), bool)).is_empty
    other = VoxelBox((1, 1, 1), (2, 2, 2))
    assert VoxelBox().union(other) == other.union(VoxelBox()) == other
    assert list(VoxelBox().planes(0)) == []


def test_a_packed_mask_is_the_mask():
    rng = np.random.default_rng(0)
    volume = np.zeros((8, 20, 30), np.uint16)
    volume[2:5, 3:14, 7:22] = rng.integers(0, 3, (3, 11, 15)) * 9
    volume[3] = 0
    whole = VoxelBox((0, 0, 0), (8, 20, 30))
    for label, wanted in ((None, volume != 0), (9, volume == 9), (18, volume == 18)):
        packed = PackedMask.of(volume, whole, label)
        assert packed.box == VoxelBox((2, 0, 0), (5, 20, 30))
        again, by_slice = np.zeros((2, *volume.shape), bool)
        again[packed.box.index] = packed.mask
        for index, mask in packed.slices():
            by_slice[index] = mask
        np.testing.assert_array_equal(again, wanted)
        np.testing.assert_array_equal(by_slice, wanted)
        assert [index[0] for index, _ in packed.slices()] == [2, 4]
        assert packed.num_voxels == np.count_nonzero(wanted)
        assert packed.num_bytes < packed.mask.size / 7
    assert PackedMask.of(volume, VoxelBox((6, 0, 0), (8, 5, 5))).is_empty
    nothing = PackedMask.of(volume, whole, 7)
    assert nothing.is_empty
    assert nothing.mask.shape == (0, 0, 0)
    assert not list(nothing.slices())


@pytest.mark.parametrize(
    "box", [((0, 0, 0), (6, 9, 9)), ((2, 0, 4), (5, 5, 6)), ((3, 3, 3), (4, 4, 4)), ((5, 0, 0), (6, 9, 9))]
)
def test_a_packed_mask_in_any_box_of_the_volume(box):
    volume = np.zeros((6, 9, 9), bool)
    volume[1:4, 2:5, 3:8] = np.random.default_rng(0).random((3, 3, 5)) < 0.6
    packed, wanted = PackedMask.of(volume, VoxelBox((1, 1, 2), (4, 6, 9))), VoxelBox(*box)
    np.testing.assert_array_equal(packed.anywhere(wanted), volume[wanted.index])
    assert not PackedMask().anywhere(wanted).any()
