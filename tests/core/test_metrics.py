import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_medicosam.core.metrics import dice, hausdorff_95, iou, surface_distance
from napari_medicosam.errors import InputError


@st.composite
def mask_pairs(draw):
    """Two masks that are not empty, 2D or 3D, and pixel sizes."""
    shape = draw(array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9))
    masks = [draw(arrays(bool, shape).filter(np.any)) for _ in range(2)]
    sizes = st.floats(0.1, 10, allow_subnormal=False)
    return (*masks, tuple(draw(sizes) for _ in shape))


def test_scores():
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert (dice(a, b), iou(a, b)) == (1.0, 1.0)
    a[0, :3] = True
    b[0, 1:4] = True
    assert dice(a, b) == pytest.approx(4 / 6)
    assert iou(a, b) == pytest.approx(2 / 4)
    assert dice(a, ~a) == 0.0
    with pytest.raises(InputError, match="one shape"):
        dice(a, b[:2])


def distances_by_definition(mask, truth, spacing):
    """From each surface pixel of `mask`, by a distance map over the whole padded array."""
    mask, truth = (np.pad(m, 2) for m in (mask, truth))
    surface, other = (m & ~ndimage.binary_erosion(m) for m in (mask, truth))
    return ndimage.distance_transform_edt(~other, sampling=spacing)[surface]


@settings(deadline=None)
@given(mask_pairs())
def test_surface_distances_equal_their_definition(pair):
    mask, truth, spacing = pair
    there, back = distances_by_definition(mask, truth, spacing), distances_by_definition(truth, mask, spacing)
    found = surface_distance(mask, truth, spacing)
    assert found == pytest.approx((there.sum() + back.sum()) / (there.size + back.size))
    assert hausdorff_95(mask, truth, spacing) == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95))
    )


@settings(deadline=None)
@given(mask_pairs())
def test_surface_distance_is_symmetric_scales_and_is_never_more_than_for_an_empty_mask(pair):
    mask, truth, spacing = pair
    found = surface_distance(mask, truth, spacing)
    assert surface_distance(truth, mask, spacing) == pytest.approx(found)
    assert surface_distance(mask, truth, [3 * s for s in spacing]) == pytest.approx(3 * found)
    assert surface_distance(mask, mask, spacing) == 0.0
    lost = surface_distance(mask, np.zeros_like(mask), spacing)
    assert found <= hausdorff_95(mask, np.zeros_like(mask), spacing) == lost
    assert lost == pytest.approx(np.hypot.reduce(np.array(mask.shape) * spacing))


def test_surface_distance_of_grown_and_shifted_squares():
    square = np.zeros((40, 60), bool)
    square[10:20, 10:20] = True
    grown = ndimage.binary_dilation(square, np.ones((3, 3), bool))
    # 36 pixels look one pixel out; of the 44 outer ones the corners look diagonally in
    expected = (36 + 40 + 4 * np.sqrt(2)) / 80
    assert surface_distance(square, grown) == pytest.approx(expected)
    assert hausdorff_95(square, np.roll(square, 1, axis=0)) == 1.0


def test_masks_touching_the_border_have_a_surface_there():
    full, half = np.ones((4, 4), bool), np.ones((4, 4), bool)
    half[:, 2:] = False
    assert surface_distance(full, half) == pytest.approx((2 * 1 + 2 * 1 + 4 * 2) / (12 + 8))


def test_surface_distance_of_empty_masks():
    empty, mask = np.zeros((30, 40), bool), np.ones((30, 40), bool)
    assert (surface_distance(empty, empty), hausdorff_95(empty, empty)) == (0.0, 0.0)
    assert surface_distance(empty, mask) == surface_distance(mask, empty) == 50.0
    assert surface_distance(mask, empty, (2, 2)) == hausdorff_95(mask, empty, (2, 2)) == 100.0


def test_surface_distance_refuses_what_does_not_fit():
    mask = np.ones((4, 4), bool)
    with pytest.raises(InputError, match="one shape"):
        surface_distance(mask, mask[:2])
    with pytest.raises(InputError, match="3 pixel sizes"):
        surface_distance(mask[None], mask[None])
    with pytest.raises(InputError, match="above 0"):
        surface_distance(mask, mask, (1, 0))
