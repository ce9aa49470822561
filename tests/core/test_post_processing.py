import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_medicosam.core.post_processing import CleanUp, clean_up
from napari_medicosam.errors import InputError

CUBES = (1.0, 1.0, 1.0)
masks = arrays(bool, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7))
settings_of_all_kinds = st.builds(
    CleanUp,
    largest_component=st.booleans(),
    fill_holes=st.sampled_from(["no", "slices", "volume"]),
    fill_axis=st.integers(0, 2),
    smooth_mm=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    min_size_mm3=st.sampled_from([0.0, 3.0, 1000.0]),
)
spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 4.0])] * 3)


def ball(shape, centre, radius, spacing=CUBES):
    z, y, x = ((np.arange(n) - c) * s for n, c, s in zip(shape, centre, spacing, strict=True))
    return z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= radius**2


@given(masks, spacings, settings_of_all_kinds)
def test_whatever_is_done_the_mask_stays_in_its_bounding_box_and_the_input_as_it_is(mask, spacing, settings):
    before = mask.copy()
    found = clean_up(mask, spacing, settings)
    np.testing.assert_array_equal(mask, before)
    assert found.shape == mask.shape
    assert found.dtype == bool
    assert not np.shares_memory(found, mask)
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        used, allowed = (np.flatnonzero(m.any(axis=others)) for m in (found, mask))
        assert set(used) <= set(range(min(allowed, default=0), max(allowed, default=-1) + 1))
    if settings.min_size_mm3 == 0:
        assert found.any() == mask.any()


@given(masks, spacings, settings_of_all_kinds)
def test_the_place_in_a_larger_volume_does_not_matter(mask, spacing, settings):
    """The same object away from all borders: cut-out or volume, the pixels are the same."""
    tight, far = (np.pad(mask, n) for n in (1, 9))
    if settings.smooth_mm > 0:
        tight = np.pad(mask, 2)  # no side of the object lies on the border, where it would go on
    width = (far.shape[0] - tight.shape[0]) // 2
    inner = (slice(width, -width),) * 3
    np.testing.assert_array_equal(clean_up(tight, spacing, settings), clean_up(far, spacing, settings)[inner])


@given(masks)
def test_the_defaults_do_nothing(mask):
    np.testing.assert_array_equal(clean_up(mask, CUBES, CleanUp()), mask)


@given(masks)
def test_holes_are_what_scipy_calls_holes(mask):
    if min(mask.shape) > 1:
        found = clean_up(mask, CUBES, CleanUp(fill_holes="volume"))
        np.testing.assert_array_equal(found, ndimage.binary_fill_holes(mask))
    for axis in range(3):
        found = clean_up(mask, CUBES, CleanUp(fill_holes="slices", fill_axis=axis))
        expected = [ndimage.binary_fill_holes(part) for part in np.moveaxis(mask, axis, 0)]
        np.testing.assert_array_equal(np.moveaxis(found, axis, 0), expected)


def test_a_tube_has_holes_in_its_slices_but_none_in_the_volume():
    tube = np.zeros((9, 12, 12), bool)
    tube[2:7, 2:10, 2:10] = True
    tube[2:7, 4:8, 4:8] = False
    np.testing.assert_array_equal(clean_up(tube, CUBES, CleanUp(fill_holes="volume")), tube)
    filled = clean_up(tube, CUBES, CleanUp(fill_holes="slices"))
    assert filled[2:7, 2:10, 2:10].all()
    np.testing.assert_array_equal(clean_up(tube, CUBES, CleanUp(fill_holes="slices", fill_axis=1)), tube)


def test_a_2d_ring_is_filled_in_its_plane():
    ring = np.zeros((1, 9, 9), bool)
    ring[0, 1:8, 1:8] = True
    ring[0, 3:6, 3:6] = False
    for how in ("slices", "volume"):
        assert clean_up(ring, CUBES, CleanUp(fill_holes=how))[0, 1:8, 1:8].all()


def test_a_thin_wall_is_filled_before_it_could_be_smoothed_away():
    shell = ball((25, 25, 25), (12, 12, 12), 10)
    solid = shell.copy()
    shell &= ~ndimage.binary_erosion(shell)
    found = clean_up(shell, CUBES, CleanUp(fill_holes="volume", smooth_mm=1.5))
    assert found.sum() == pytest.approx(solid.sum() * (1 - 3 * (1.5 / 10) ** 2), rel=0.02)


def test_smoothing_closes_a_bay_and_its_rest_is_filled():
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 5:35, 5:35] = True
    mask[0, 14:26, 14:26] = False
    mask[0, 19:21, 26:35] = False  # a narrow way out
    assert not clean_up(mask, CUBES, CleanUp(fill_holes="slices"))[0, 20, 20]
    assert not clean_up(mask, CUBES, CleanUp(smooth_mm=2.0))[0, 20, 20]
    assert clean_up(mask, CUBES, CleanUp(fill_holes="slices", smooth_mm=2.0))[0, 10:30, 10:30].all()


@pytest.mark.parametrize("spacing", [CUBES, (4.0, 0.5, 1.0)])
def test_smoothing_takes_off_crumbs_and_respects_the_spacing(spacing):
    shape = tuple(round(40 / s) for s in spacing)
    centre = tuple(n // 2 for n in shape)
    clean = ball(shape, centre, 13, spacing)
    rng = np.random.default_rng(0)
    rough = clean ^ (ndimage.binary_dilation(clean) & (rng.random(shape) < 0.1))
    smooth = clean_up(rough, spacing, CleanUp(smooth_mm=1.5, largest_component=True))
    assert (smooth ^ clean).sum() < 0.7 * (rough ^ clean).sum()
    assert smooth.sum() == pytest.approx(clean.sum() * (1 - 3 * (1.5 / 13) ** 2), rel=0.05)


def test_smoothing_is_in_mm_along_every_axis():
    # 2 voxels along z are 8 mm and stay, along x 1 mm and go; beside a block, so that no component is lost
    spacing, settings = (4.0, 1.0, 0.5), CleanUp(smooth_mm=2.0)
    mask = np.zeros((20, 60, 60), bool)
    mask[5:15, 10:30, 20:50] = True
    mask[9:11, 30:45, 20:50] = True
    mask[5:15, 30:45, 34:36] = True
    found = clean_up(mask, spacing, settings)
    assert found[9:11, 38, 25].all()
    assert not found[5:8, 33:45, 30:40].any()


@pytest.mark.parametrize(("thickness", "stays"), [(2, False), (4, True)])
def test_plates_are_lost_below_1_3_sigma(thickness, stays):
    plate = np.zeros((40, 60, 20), bool)
    plate[:, :30] = True
    plate[20 : 20 + thickness, 30:] = True  # hangs on a block: the component is not lost as a whole
    assert clean_up(plate, CUBES, CleanUp(smooth_mm=2.3))[20:24, 50:].any() == stays


def test_a_component_that_smoothing_would_take_away_stays_as_it_was():
    mask = np.zeros((20, 40, 40), bool)
    mask[5:15, 5:20, 5:20] = True
    vessel = np.zeros_like(mask)
    vessel[2:18, 30, 30] = True
    found = clean_up(mask | vessel, CUBES, CleanUp(smooth_mm=2.0))
    np.testing.assert_array_equal(found & (np.arange(40) > 25), vessel)
    assert found[5, 5, 5] != mask[5, 5, 5]  # the block's corner is rounded


def test_what_touches_the_border_of_the_volume_goes_on_there():
    block = np.zeros((10, 20, 20), bool)
    block[:, 5:15] = True  # touches both ends along z and x
    np.testing.assert_array_equal(clean_up(block, CUBES, CleanUp(smooth_mm=2.0)), block)
    corner = np.zeros((10, 20, 20), bool)
    corner[:6, :10, :10] = True
    found = clean_up(corner, CUBES, CleanUp(smooth_mm=1.5))
    assert found[0, 0, 0]
    assert not found[5, 9, 9]


def test_small_components_are_removed_by_their_volume_in_mm3():
    mask = np.zeros((4, 20, 20), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True  # one component: they touch by a corner
    mask[2, 10, 10:15] = True
    spacing = (3.0, 0.5, 0.5)  # 0.75 mm3 a voxel
    for size, left in [(0.0, 7), (1.5, 7), (1.51, 5), (3.75, 5), (3.76, 0)]:
        assert clean_up(mask, spacing, CleanUp(min_size_mm3=size)).sum() == left


def test_the_largest_component_is_chosen_after_smoothing():
    mask = np.zeros((1, 40, 90), bool)
    mask[0, 5:35, 5:35] = True
    mask[0, 10:30, 45:65] = True
    mask[0, 20, 35:45] = True  # a bridge one pixel wide
    assert clean_up(mask, CUBES, CleanUp(largest_component=True))[0, 20, 60]
    found = clean_up(mask, CUBES, CleanUp(largest_component=True, smooth_mm=1.5))
    assert found[0, 20, 20]
    assert not found[..., 45:].any()


def test_unusable_settings_and_masks_are_errors():
    for wrong in (
        {"fill_holes": "yes"},
        {"fill_axis": 3},
        {"smooth_mm": -1.0},
        {"smooth_mm": float("nan")},
        {"min_size_mm3": float("inf")},
    ):
        with pytest.raises(InputError):
            CleanUp(**wrong)
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(InputError, match="boolean"):
        clean_up(mask.astype(np.uint8), CUBES, CleanUp())
    with pytest.raises(InputError, match="boolean"):
        clean_up(mask[0], CUBES, CleanUp())
    with pytest.raises(InputError, match="spacing"):
        clean_up(mask, (1.0, 0.0, 1.0), CleanUp())
