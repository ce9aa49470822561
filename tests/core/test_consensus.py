from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_medicosam.core.consensus import consensus
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.metrics import dice
from napari_medicosam.errors import InputError


@st.composite
def several_masks(draw):
    shape = draw(array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5))
    return draw(st.lists(arrays(bool, shape), min_size=2, max_size=4))


@given(several_masks(), st.data())
def test_a_voxel_is_in_when_enough_masks_have_it(masks, data):
    min_votes = data.draw(st.integers(1, len(masks)))
    found = consensus(masks, min_votes)
    np.testing.assert_array_equal(found.votes, np.sum(masks, axis=0))
    np.testing.assert_array_equal(found.mask, np.sum(masks, axis=0) >= min_votes)
    assert found.mean_dice == pytest.approx(np.mean([dice(a, b) for a, b in combinations(masks, 2)]))


@given(several_masks(), st.integers(0, 2))
def test_the_agreement_of_a_slice_is_dice_over_all_pairs(masks, axis):
    found = consensus(masks).slice_agreement(axis)
    assert found.shape == (masks[0].shape[axis],)
    for index, agreement in enumerate(found):
        parts = [mask.take(index, axis) for mask in masks]
        shared = sum(np.count_nonzero(a & b) for a, b in combinations(parts, 2))
        either = sum(a.sum() + b.sum() for a, b in combinations(parts, 2))
        assert agreement == pytest.approx(2 * shared / either if either else np.nan, nan_ok=True)


@given(several_masks())
def test_equal_masks_agree_and_for_two_the_agreement_is_their_dice(masks):
    same = consensus([masks[0]] * 3)
    np.testing.assert_array_equal(same.mask, masks[0])
    assert same.mean_dice == 1.0
    assert same.doubtful_slices(0, below=1.0) == ()
    pair = consensus(masks[:2]).slice_agreement()
    for index in np.flatnonzero((masks[0] | masks[1]).any(axis=(1, 2))):
        assert pair[index] == pytest.approx(dice(masks[0][index], masks[1][index]))


def test_doubtful_slices_come_worst_first_and_empty_ones_not_at_all():
    masks = np.zeros((3, 6, 8, 8), bool)
    masks[:, 1, 2:6, 2:6] = True  # all agree
    masks[0, 2, 2:6, 2:6] = True  # one alone
    masks[:2, 3, 2:6, 2:6] = True  # two of three
    masks[0, 5, 0, 0] = True  # one alone again
    found = consensus(list(masks))
    np.testing.assert_allclose(found.slice_agreement(), [np.nan, 1.0, 0.0, 0.5, np.nan, 0.0])
    assert found.doubtful_slices() == (2, 5, 3)
    assert found.doubtful_slices(below=0.5) == (2, 5)
    assert np.flatnonzero(found.mask.any(axis=(1, 2))).tolist() == [1, 3]


def test_nothing_of_a_consensus_can_be_changed_and_nothing_is():
    masks = [np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)]
    found = consensus(masks)
    for array in (found.mask, found.votes):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert not masks[0].any()
    assert masks[1].all()
    empty = consensus([masks[0]] * 3)
    assert empty.mean_dice == 1.0
    assert np.isnan(empty.slice_agreement(1)).all()


def test_masks_that_cannot_be_compared_are_errors():
    mask = np.ones((3, 4, 5), bool)
    with pytest.raises(InputError, match="2 to 255"):
        consensus([mask])
    with pytest.raises(InputError, match="one shape"):
        consensus([mask, mask[1:]])
    with pytest.raises(InputError, match="boolean"):
        consensus([mask, mask.astype(np.uint8)])
    for votes in (0, 4):
        with pytest.raises(InputError, match="votes"):
            consensus([mask] * 3, min_votes=votes)
    with pytest.raises(InputError, match="axis"):
        consensus([mask, mask]).slice_agreement(3)


def test_agreement_is_known_by_plane_where_there_is_any_mask():
    masks = np.zeros((3, 2, 3, 4), bool)
    masks[:, 1, 0, :2] = True
    masks[0, 1, 2, 0] = True
    known = consensus(list(masks)).agreement_by_plane()
    planes = [SlicePlane(0, 1), SlicePlane(1, 0), SlicePlane(1, 2), SlicePlane(2, 0), SlicePlane(2, 1)]
    assert list(known) == planes
    assert known[SlicePlane(1, 0)] == 1.0
    assert known[SlicePlane(1, 2)] == 0.0
    assert known[SlicePlane(2, 0)] == pytest.approx(6 / 8)
