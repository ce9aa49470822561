"""Where an object ends by what the encoder sees: features of grid points are chosen, not computed."""

from dataclasses import replace

import numpy as np
import pytest

from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.core.results import Region, SegmentResult
from napari_medicosam.predict.likeness import ObjectFeatures, mean_features
from napari_medicosam.predict.propagation import PropagationSettings, propagate

OBJECT, AROUND, OTHER = np.eye(3, dtype=np.float32)
SIDE = 32
"""Pixels of a slice; its grid has 8 points a side."""

WHERE = np.s_[8:16, 8:24]


def mask_at(part=WHERE):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[part] = True
    return mask


class Seen:
    """Slices with `contents` where the object is and `AROUND` elsewhere; every answer is the same mask."""

    def __init__(self, *contents, prediction=0.9):
        self.contents, self.prediction, self.views = contents, prediction, []
        self.stack = SliceStack(np.zeros((len(contents), SIDE, SIDE), np.int16), 0)
        self.view = None

    def fetch_ahead(self, plane, image_slice):
        """Nothing is stored."""

    def features(self, plane, pixels, view=None):
        self.views.append((plane.index, view))
        grid = np.empty((3, SIDE, SIDE), np.float32)
        grid[:] = AROUND[:, None, None]
        grid[:, WHERE[0], WHERE[1]] = self.contents[plane.index][:, None, None]
        return grid[:, ::4, ::4] if view is None else grid[(slice(None), *view.slices_yx)]

    def view_of(self, mask):
        return self.view

    def segment(self, request):
        return self.result(request.plane.index)

    def result(self, index, **more):
        mask = mask_at()
        one = SegmentResult(
            self.stack.plane(index), mask, Region.of_mask(mask), self.prediction, np.zeros((4, 4), np.float32)
        )
        return replace(one, **more)


@pytest.mark.parametrize("shape", [(16, 16), (16, 9), (5, 16)])
def test_a_mean_is_of_the_grid_points_that_the_mask_covers(shape):
    features = np.zeros((2, 4, 4), np.float16)
    features[0, 1, 2], features[1, 0, 1] = 3, 5
    mask = np.zeros(shape, bool)
    mask[4, 8] = True
    np.testing.assert_array_equal(mean_features(features, mask), [3, 0])
    mask[0, 4:7] = True
    np.testing.assert_allclose(mean_features(features, mask), [3 / 4, 15 / 4])


def test_likeness_is_1_as_the_object_and_0_as_its_surroundings():
    half = (OBJECT + AROUND) / np.sqrt(2)
    service = Seen(OBJECT, OBJECT, AROUND, half, OTHER)
    of = ObjectFeatures(service, service.stack, {0: service.result(0)})
    found = [of.likeness(service.result(index)) for index in range(1, 5)]
    np.testing.assert_allclose(found, [1, 0, np.sqrt(0.5), 0], atol=1e-6)
    nothing = replace(service.result(1), mask=np.zeros((SIDE, SIDE), bool), region=Region(0, 0, 0, 0))
    assert of.likeness(nothing) == 1


def test_of_masks_of_the_model_the_surest_is_the_example():
    service = Seen(OBJECT, OTHER, OTHER)
    good, poor = service.result(0), service.result(1, iou_prediction=0.89)
    ends = service.result(2)
    assert ObjectFeatures(service, service.stack, {0: good, 1: poor}).likeness(ends) == pytest.approx(0)
    drawn = replace(poor, iou_prediction=np.nan)
    assert ObjectFeatures(service, service.stack, {0: good, 1: drawn}).likeness(ends) == pytest.approx(1)


def test_views_are_compared_with_views_and_whole_slices_with_whole_slices():
    service = Seen(OBJECT, AROUND)
    view = Region(0, 0, 28, 28)
    in_view = service.result(1, view=view)
    of = ObjectFeatures(service, service.stack, {0: service.result(0)})
    assert of.likeness(in_view) == pytest.approx(0)
    assert {seen for _, seen in service.views} == {None}
    service.view, service.views = Region(4, 4, 30, 30), []
    assert of.likeness(in_view) == pytest.approx(0, abs=1e-6)
    assert set(service.views) == {(1, view), (0, service.view)}


@pytest.mark.parametrize(
    ("weight", "reached"), [(0.75, [1, 3, 4]), (0.3, [1, 0, 3, 4, 5, 6]), (0, [1, 0, 3, 4, 5, 6])]
)
def test_the_way_ends_where_the_features_change(weight, reached):
    service = Seen(AROUND, OBJECT, OBJECT, OBJECT, OBJECT, OTHER, OTHER)
    settings = PropagationSettings(PromptMode(box=True), appearance=0, likeness=weight)
    found = propagate(service, service.stack, [service.result(2)], settings)
    assert [one.plane.index for one in found] == reached
    if not weight:
        assert not service.views, "nothing is encoded for a rule that does not look"
