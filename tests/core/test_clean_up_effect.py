import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_medicosam.core.boxes import PackedMask, VoxelBox
from napari_medicosam.core.clean_up_effect import COMES, GOES, effect_of
from napari_medicosam.core.post_processing import CleanUp, clean_up

CUBES = (1.0, 1.0, 1.0)
shapes = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)
masks = shapes.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))
settings_of_all_kinds = st.builds(
    CleanUp,
    largest_component=st.booleans(),
    fill_holes=st.sampled_from(["no", "slices", "volume"]),
    fill_axis=st.integers(0, 2),
    smooth_mm=st.sampled_from([0.0, 0.6, 2.0]),
    min_size_mm3=st.sampled_from([0.0, 3.0]),
)


def whole(mask):
    return VoxelBox((0, 0, 0), mask.shape)


def pieces(mask):
    return ndimage.label(mask, np.ones((3, 3, 3)))[1]


@given(masks, settings_of_all_kinds)
def test_the_effect_is_the_difference_that_a_clean_up_makes(both, settings):
    mask, closed = both
    packed = PackedMask.of(mask, whole(mask))
    effect = effect_of(packed, mask.shape, CUBES, settings, closed[packed.tight_box.index])
    after = clean_up(mask, CUBES, settings) & ~closed
    np.testing.assert_array_equal(effect.after.unpacked(mask.shape), after)

    changes = np.zeros(mask.shape, int)
    changes[effect.box.index] = effect.changes
    np.testing.assert_array_equal(changes == GOES, mask & ~after)
    np.testing.assert_array_equal(changes == COMES, after & ~mask)
    for axis in range(3):
        changed = (mask != after).any(axis=tuple({0, 1, 2} - {axis}))
        assert list(effect.slices[axis]) == np.flatnonzero(changed).tolist()
        if changed.any():
            assert set(effect.box.planes(axis)) >= set(effect.slices[axis])
    assert effect.box.is_empty == (not (mask != after).any())
    assert (effect.num_going, effect.num_coming) == ((mask & ~after).sum(), (after & ~mask).sum())
    assert effect.num_voxels == (mask.sum(), after.sum())
    assert effect.num_pieces == (pieces(mask), pieces(after))


def test_the_work_is_that_of_the_object_and_not_of_the_volume():
    """The volume is so large that nobody could have an array of it."""
    part = np.ones((3, 9, 9), bool)
    part[1, 4, 4] = False
    packed = PackedMask.of(part, whole(part)).moved((50_000, 60_000, 70_000))
    effect = effect_of(packed, (10**5, 10**5, 10**5), CUBES, CleanUp(fill_holes="volume"))
    assert effect.box == VoxelBox((50_001, 60_004, 70_004), (50_002, 60_005, 70_005))
    assert effect.changes.tolist() == [[[COMES]]]
