from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_medicosam.core.interpolation import interpolate_between, interpolate_slices
from napari_medicosam.core.metrics import dice
from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError


def disc(centre, radius, size=(60, 80)):
    y, x = np.ogrid[: size[0], : size[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def num_components(mask):
    return ndimage.label(mask, structure=np.ones((3, 3)))[1]


@st.composite
def mask_pairs(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
    return tuple(draw(arrays(bool, shape).filter(np.any)) for _ in range(2))


@given(mask_pairs(), st.integers(0, 6))
def test_what_lies_between_is_there_and_stays_in_the_rectangle_around_both(pair, num_between):
    lower, upper = pair
    before = lower.copy(), upper.copy()
    between = interpolate_between(lower, upper, num_between)
    assert between.shape == (num_between, *lower.shape)
    assert between.dtype == bool
    around = Region.of_mask(lower).union(Region.of_mask(upper))
    for mask in between:
        region = Region.of_mask(mask)
        assert not region.is_empty
        assert around.union(region) == around
    np.testing.assert_array_equal((lower, upper), before)


@given(mask_pairs(), st.integers(1, 4))
def test_equal_masks_give_themselves(pair, num_between):
    np.testing.assert_array_equal(interpolate_between(pair[0], pair[0], num_between), [pair[0]] * num_between)


@given(
    arrays(bool, (5, 6)).filter(np.any),
    st.tuples(st.integers(0, 20), st.integers(0, 20)),
    st.tuples(st.integers(0, 20), st.integers(0, 20)),
    st.integers(1, 9),
)
def test_a_shape_that_only_moves_keeps_its_shape_on_a_straight_way(shape, start, end, num_between):
    lower, upper = np.zeros((2, 25, 26), bool)
    lower[start[0] : start[0] + 5, start[1] : start[1] + 6] = shape
    upper[end[0] : end[0] + 5, end[1] : end[1] + 6] = shape
    for number, mask in enumerate(interpolate_between(lower, upper, num_between), start=1):
        share = number / (num_between + 1)
        assert mask.sum() == shape.sum()
        centre = np.argwhere(mask).mean(axis=0)
        expected = (1 - share) * np.argwhere(lower).mean(axis=0) + share * np.argwhere(upper).mean(axis=0)
        assert np.abs(centre - expected).max() <= 0.5 + 1e-9


@given(mask_pairs(), st.integers(1, 5))
def test_turned_and_mirrored_masks_give_the_same_turned_and_mirrored(pair, num_between):
    expected = interpolate_between(*pair, num_between)
    transposed = interpolate_between(pair[0].T, pair[1].T, num_between)
    np.testing.assert_array_equal(transposed, expected.transpose(0, 2, 1))


@pytest.mark.parametrize("radii", [(5, 20), (20, 5)])
def test_the_area_between_nested_discs_changes_steadily(radii):
    lower, upper = disc((30, 40), radii[0]), disc((30, 40), radii[1])
    between = interpolate_between(lower, upper, 9)
    areas = [mask.sum() for mask in (lower, *between, upper)]
    steps = {np.sign(after - before) for before, after in pairwise(areas)}
    assert steps == {np.sign(radii[1] - radii[0])}
    small, large = sorted((lower, upper), key=np.sum)
    for number, mask in enumerate(between, start=1):
        assert not (small & ~mask).any()
        assert not (mask & ~large).any()
        radius = radii[0] + (radii[1] - radii[0]) * number / 10
        assert dice(mask, disc((30, 40), radius)) > 0.95


@given(st.integers(2, 12), st.integers(2, 12), st.integers(13, 46), st.integers(13, 66))
def test_between_discs_that_do_not_overlap_there_are_discs(first, second, y, x):
    lower, upper = disc((14, 14), first), disc((y, x), second)
    for number, mask in enumerate(interpolate_between(lower, upper, 5), start=1):
        assert num_components(mask) == 1
        share = number / 6
        centre = np.argwhere(mask).mean(axis=0)
        assert np.abs(centre - [14 + share * (y - 14), 14 + share * (x - 14)]).max() <= 0.6
        assert mask.sum() == pytest.approx(np.pi * (first + share * (second - first)) ** 2, rel=0.35)


def test_a_branch_beside_an_object_does_not_move_it():
    trunk, branch = disc((30, 20), 12), disc((30, 65), 8)
    for mask in interpolate_between(trunk, trunk | branch, 5):
        np.testing.assert_array_equal(mask[:, :40], trunk[:, :40])


def test_a_ring_keeps_its_hole():
    lower, upper = (disc((30, 40), r) & ~disc((30, 40), r / 2) for r in (12, 24))
    for mask in interpolate_between(lower, upper, 5):
        assert num_components(mask) == 1
        assert ndimage.label(~mask)[1] == 2


def test_where_thin_shapes_do_not_fit_together_the_nearer_one_is_taken():
    one, two = np.zeros((2, 20, 40), bool)
    one[10, 20] = True
    two[10, [8, 32]] = True  # one vessel becomes two
    between = interpolate_between(one, two, 4)
    np.testing.assert_array_equal(between[[0, 1]], [one, one])
    np.testing.assert_array_equal(between[[2, 3]], [two, two])
    one, two = np.zeros((2, 20, 60), bool)
    one[10, 5] = True
    two[10, [23, 47]] = True
    between = interpolate_between(one, two, 4)
    assert [np.flatnonzero(mask[10]).tolist() for mask in between] == [[11], [17], [11, 35], [17, 41]]


def test_half_way_between_object_and_background_is_background():
    lower, upper = np.zeros((2, 3, 9), bool)
    lower[1, 4] = True
    upper[1, 3:6] = True
    np.testing.assert_array_equal(interpolate_between(lower, upper, 1), [lower])


def test_objects_cut_off_by_the_border_stay_at_it():
    lower, upper = np.zeros((2, 30, 30), bool)
    lower[5:15, :6] = True
    upper[5:15, :18] = True
    for mask in interpolate_between(lower, upper, 5):
        assert mask[10, 0]
        assert Region.of_mask(mask).x0 == 0


def test_every_gap_between_neighbours_is_filled_but_those_with_a_stop():
    anchors = {20: disc((30, 50), 8), 3: disc((30, 30), 5), 7: disc((30, 34), 9), 8: disc((30, 35), 9)}
    found = list(interpolate_slices(anchors))
    assert [index for index, _ in found] == [4, 5, 6, *range(9, 20)]
    np.testing.assert_array_equal([m for _, m in found[:3]], interpolate_between(anchors[3], anchors[7], 3))
    np.testing.assert_array_equal([m for _, m in found[3:]], interpolate_between(anchors[8], anchors[20], 11))
    stopped = list(interpolate_slices(anchors, stops={0, 15, 25}))
    assert [index for index, _ in stopped] == [4, 5, 6]
    assert list(interpolate_slices({3: anchors[3]})) == []
    assert list(interpolate_slices({})) == []


def test_gaps_are_computed_when_asked_for(monkeypatch):
    asked = []

    def counting(*arguments):
        asked.append(arguments[2])
        return interpolate_between(*arguments)

    monkeypatch.setattr("napari_medicosam.core.interpolation.interpolate_between", counting)
    anchors = {0: disc((30, 30), 5), 4: disc((30, 30), 9), 9: disc((30, 30), 5)}
    found = interpolate_slices(anchors)
    next(found)
    assert asked == [3]
    assert len(list(found)) == 6
    assert asked == [3, 4]


def test_masks_that_do_not_fit_are_errors():
    mask = disc((30, 40), 5)
    with pytest.raises(InputError, match="above is empty"):
        interpolate_between(mask, ~mask & mask, 3)
    with pytest.raises(InputError, match="one shape"):
        interpolate_between(mask, mask[1:], 3)
    with pytest.raises(InputError, match="boolean"):
        interpolate_between(mask.astype(np.uint8), mask, 3)
    with pytest.raises(InputError, match="0 or more"):
        interpolate_between(mask, mask, -1)
    with pytest.raises(InputError, match="slice 7 is empty"):
        next(interpolate_slices({2: mask, 4: mask, 7: mask & ~mask}))
    with pytest.raises(InputError, match="slice 4 is both"):
        next(interpolate_slices({2: mask, 4: mask}, stops={4}))
