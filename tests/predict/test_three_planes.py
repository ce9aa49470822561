"""Voting along three axes, with a service whose answers are known."""

import numpy as np
import pytest

from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.core.metrics import dice
from napari_medicosam.core.results import Region, SegmentResult
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.predict.three_planes import agree_on_three_planes

SHAPE = (20, 30, 34)


class Sees:
    """Whatever is bright in the box; nothing on the slices of `blind`."""

    def __init__(self, blind=()):
        self.blind, self.asked = blind, []

    def fetch_ahead(self, plane, image_slice):
        """Nothing is stored."""

    def features(self, plane, pixels, view=None):
        return np.ones((1, 1, 1), np.float32)  # everything looks alike

    def segment(self, request):
        self.asked.append(request.plane)
        box = Region(*(round(v) for v in request.prompts.box.bounds))
        mask = np.zeros(request.image_slice.shape, bool)
        if request.plane not in self.blind:
            mask[box.slices_yx] = request.image_slice[box.slices_yx] > 0
        return SegmentResult(request.plane, mask, Region.of_mask(mask), 0.9, np.zeros((4, 4), np.float32))


@pytest.fixture
def scan():
    array = np.zeros(SHAPE, np.uint8)
    array[5:14, 8:20, 10:26] = 1
    return array


def run(service, scan, mask, axis=0):
    steps = list(agree_on_three_planes(service, SliceStack(scan, axis), mask, PropagationSettings()))
    assert [one.result is None for one in steps] == [True] * (len(steps) - 1) + [False]
    assert [one.done for one in steps] == sorted(one.done for one in steps)
    assert steps[-1].done == steps[-1].total
    return steps[-1].result


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_leak_along_one_axis_is_outvoted(scan, axis):
    truth = scan > 0
    leaked = truth.copy()
    leak = np.moveaxis(leaked, axis, 0)
    last = np.flatnonzero(leak.any(axis=(1, 2)))[-1]
    leak[last : last + 3] = leak[last - 1]
    service = Sees()
    found = run(service, scan, leaked, axis)
    np.testing.assert_array_equal(found.mask, truth)
    assert {plane.axis for plane in service.asked} == {0, 1, 2} - {axis}
    assert max(np.flatnonzero(found.votes.any(axis=(1, 2)))) < SHAPE[0]
    assert found.doubtful_slices(axis), "where the three do not agree is where to look"


def test_what_is_missing_along_one_axis_is_found_along_the_others(scan):
    truth = scan > 0
    holes = truth.copy()
    holes[8:10] = False
    found = run(Sees(), scan, holes)
    np.testing.assert_array_equal(found.mask, truth)
    assert dice(holes, truth) < dice(found.mask, truth)


def test_the_other_axes_go_little_further_than_the_object(scan):
    scan[:, :, :] = 1
    mask = np.zeros(SHAPE, bool)
    mask[5:14, 10:20, 10:20] = True
    service = Sees()
    run(service, scan, mask)
    for axis in (1, 2):
        indices = [plane.index for plane in service.asked if plane.axis == axis]
        assert min(indices) >= 8
        assert max(indices) <= 21


def test_where_the_model_finds_nothing_the_mask_itself_is_the_start(scan):
    truth = scan > 0
    from napari_medicosam.core.geometry import SlicePlane

    found = run(Sees(blind={SlicePlane(1, 8)}), scan, truth)
    np.testing.assert_array_equal(found.mask, truth)


@pytest.mark.parametrize(("shape", "message"), [((20, 30, 33), "the mask has shape"), (SHAPE, "is empty")])
def test_masks_that_cannot_be_agreed_on(scan, shape, message):
    with pytest.raises(InputError, match=message):
        next(agree_on_three_planes(Sees(), SliceStack(scan, 0), np.zeros(shape, bool), PropagationSettings()))


def test_closing_it_asks_nothing_more(scan):
    service = Sees()
    steps = agree_on_three_planes(service, SliceStack(scan, 0), scan > 0, PropagationSettings())
    for _ in range(3):
        next(steps)
    asked = len(service.asked)
    steps.close()
    assert len(service.asked) == asked < 5
