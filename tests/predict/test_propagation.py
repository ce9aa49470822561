"""Propagation against a service whose answers are known: the object is a disc that moves and ends."""

import math
from dataclasses import replace

import numpy as np
import pytest
from skimage.draw import disk

from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.core.interpolation import interpolate_between
from napari_medicosam.core.prompt_derivation import PromptMode, derive_box
from napari_medicosam.core.results import Region, SegmentResult
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import PropagationSettings, propagate

SETTINGS = PropagationSettings(PromptMode(box=True, mask=True), iou_threshold=0.5, box_extension=0.05)


def result(plane, mask, object_id=1):
    return SegmentResult(plane, mask, Region.of_mask(mask), 0.9, np.zeros((4, 4), np.float32), object_id)


class Phantom:
    """A volume whose voxels are 1 inside the object; the 'model' answers with what is in the prompted box."""

    def __init__(self, masks, axis=0):
        self.array = np.moveaxis(np.stack(masks).astype(np.int16), 0, axis)
        self.stack = SliceStack(self.array, axis)
        self.asked = []

    def fetch_ahead(self, plane, image_slice):
        """Nothing is stored."""

    def features(self, plane, pixels, view=None):
        return np.ones((1, 1, 1), np.float32)  # everything looks alike

    def segment(self, request):
        self.asked.append(request)
        mask = np.zeros(request.image_slice.shape, bool)
        box = request.prompts.box
        area = (slice(int(box.y0), int(np.ceil(box.y1))), slice(int(box.x0), int(np.ceil(box.x1))))
        mask[area] = request.image_slice[area] == 1
        return result(request.plane, mask, request.object_id)

    def anchor(self, index, object_id=1):
        return result(self.stack.plane(index), self.stack.pixels(index) == 1, object_id)


def discs(count=12, present=range(12), drift=1):
    masks = []
    for index in range(count):
        mask = np.zeros((40, 44), bool)
        if index in present:
            mask[disk((14 + drift * index, 20), 8, shape=mask.shape)] = True
        masks.append(mask)
    return masks


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_anchor_finds_the_object_both_ways_and_stops_where_it_ends(axis):
    phantom = Phantom(discs(present=range(2, 9)), axis)
    found = list(propagate(phantom, phantom.stack, [phantom.anchor(5)], SETTINGS))
    assert [r.plane.index for r in found] == [4, 3, 2, 6, 7, 8]
    assert all(r.plane.axis == axis for r in found)
    for r in found:
        assert np.array_equal(r.mask, phantom.stack.pixels(r.plane.index) == 1)


def test_prompts_come_from_the_slice_beside():
    phantom = Phantom(discs())
    list(propagate(phantom, phantom.stack, [phantom.anchor(5)], SETTINGS, z_range=(5, 8)))
    assert [r.plane.index for r in phantom.asked] == [6, 7]
    for request in phantom.asked:
        before = phantom.stack.pixels(request.plane.index - 1) == 1
        assert np.array_equal(request.prompts.mask, before)
        tight = Region.of_mask(before)
        assert request.prompts.box.y0 == pytest.approx(tight.y0 - 0.05 * (tight.y1 - tight.y0))


def test_the_stop_rule_discards_the_slice_that_breaks_it():
    masks = discs(drift=0)
    masks[8] = np.zeros_like(masks[8])
    masks[8][13:16, 19:22] = True  # much smaller: another thing
    phantom = Phantom(masks)
    found = [r.plane.index for r in propagate(phantom, phantom.stack, [phantom.anchor(5)], SETTINGS)]
    assert 8 not in found
    assert 9 not in found
    assert found[-1] == 7
    loose = PropagationSettings(SETTINGS.mode, iou_threshold=0.0)
    assert 8 in [r.plane.index for r in propagate(phantom, phantom.stack, [phantom.anchor(5)], loose)]


class Doubting(Phantom):
    """Predicts a lower IoU on some slices."""

    def __init__(self, predicted, masks):
        super().__init__(masks)
        self.predicted = predicted

    def features(self, plane, pixels, view=None):
        return np.ones((1, 1, 1), np.float32)  # everything looks alike

    def segment(self, request):
        return replace(super().segment(request), iou_prediction=self.predicted.get(request.plane.index, 0.9))


@pytest.mark.parametrize(
    ("share", "anchor_iou", "last"),
    [(0.85, 0.9, 7), (0.5, 0.9, 11), (0.0, 0.9, 11), (0.85, math.nan, 7), (0.85, 0.7, 11)],
)
def test_it_stops_where_the_model_trusts_its_mask_far_less(share, anchor_iou, last):
    phantom = Doubting({8: 0.6}, discs(drift=0))
    anchor = replace(phantom.anchor(5), iou_prediction=anchor_iou)
    settings = replace(SETTINGS, min_confidence=share)
    found = [r.plane.index for r in propagate(phantom, phantom.stack, [anchor], settings)]
    assert max(found) == last
    assert min(found) == 0


def test_between_two_annotated_slices_nothing_stops_it():
    phantom = Doubting({4: 0.1}, discs())
    anchors = [phantom.anchor(3), phantom.anchor(5)]
    found = list(propagate(phantom, phantom.stack, anchors, SETTINGS, z_range=(3, 6)))
    assert [r.plane.index for r in found] == [4]


@pytest.mark.parametrize(
    ("anchors", "order", "sources"),
    [
        ((3, 4), [], {}),
        ((3, 5), [4], {4: (3, 5)}),
        ((3, 6), [4, 5], {4: (3,), 5: (6,)}),
        ((3, 7), [4, 6, 5], {4: (3,), 6: (7,), 5: (4, 6)}),
        ((2, 7), [3, 4, 6, 5], {3: (2,), 4: (3,), 6: (7,), 5: (6,)}),
    ],
)
def test_between_two_anchors_everything_is_filled_from_both_ends(anchors, order, sources):
    """As the reference does it."""
    phantom = Phantom(discs())
    z_range = (anchors[0], anchors[1] + 1)
    settings = replace(SETTINGS, between="neighbours")
    found = list(
        propagate(phantom, phantom.stack, [phantom.anchor(i) for i in anchors], settings, z_range=z_range)
    )
    assert [r.plane.index for r in found] == order
    for request in phantom.asked:
        wanted = np.any([phantom.stack.pixels(i) == 1 for i in sources[request.plane.index]], axis=0)
        assert np.array_equal(request.prompts.mask, wanted)


def test_between_two_anchors_slices_are_asked_with_the_shape_between():
    phantom = Phantom(discs(drift=2))
    ends = [phantom.anchor(2), phantom.anchor(7)]
    found = list(propagate(phantom, phantom.stack, ends, SETTINGS, z_range=(2, 8)))
    assert [r.plane.index for r in found] == [3, 4, 5, 6]
    shapes = interpolate_between(ends[0].mask, ends[1].mask, 4)
    for request, shape in zip(phantom.asked, shapes, strict=True):
        np.testing.assert_array_equal(request.prompts.mask, shape)
        assert request.prompts.box == derive_box(shape, SETTINGS.box_extension)
    with pytest.raises(InputError, match="shapes or neighbours"):
        PropagationSettings(between="guesses")


def test_the_surest_anchor_is_what_confidence_is_measured_by():
    """A poor mask on the slice beside must not let the way run on through the volume."""
    phantom = Doubting({8: 0.6}, discs(drift=0))
    anchors = [replace(phantom.anchor(3), iou_prediction=0.9), replace(phantom.anchor(5), iou_prediction=0.4)]
    settings = replace(SETTINGS, min_confidence=0.85)
    found = [r.plane.index for r in propagate(phantom, phantom.stack, anchors, settings)]
    assert max(found) == 7


def test_filling_has_no_stop_rule():
    masks = discs(drift=0)
    masks[5] = np.zeros_like(masks[5])
    masks[5][13:16, 19:22] = True
    phantom = Phantom(masks)
    anchors = [phantom.anchor(3), phantom.anchor(8)]
    assert {r.plane.index for r in propagate(phantom, phantom.stack, anchors, SETTINGS, z_range=(3, 9))} == {
        4,
        5,
        6,
        7,
    }


def test_a_slice_without_the_object_does_not_end_the_filling():
    phantom = Phantom(discs(present=[2, 3, 5, 6, 7, 8, 9], drift=0))
    anchors = [phantom.anchor(2), phantom.anchor(9)]
    found = {r.plane.index: r for r in propagate(phantom, phantom.stack, anchors, SETTINGS, z_range=(2, 10))}
    assert sorted(found) == [3, 4, 5, 6, 7, 8]
    assert found[4].region.is_empty
    assert not found[5].region.is_empty


def test_nothing_passes_a_stop_slice():
    phantom = Phantom(discs())
    found = [
        r.plane.index for r in propagate(phantom, phantom.stack, [phantom.anchor(5)], SETTINGS, stops={3, 8})
    ]
    assert sorted(found) == [4, 6, 7]


def test_an_inner_stop_slice_parts_two_anchors():
    phantom = Phantom(discs(drift=0))
    anchors = [phantom.anchor(2), phantom.anchor(9)]
    found = [r.plane.index for r in propagate(phantom, phantom.stack, anchors, SETTINGS, stops={6})]
    assert sorted(found) == [0, 1, 3, 4, 5, 7, 8, 10, 11]
    assert 6 not in found


def test_the_z_range_is_half_open():
    phantom = Phantom(discs())
    found = propagate(phantom, phantom.stack, [phantom.anchor(5)], SETTINGS, z_range=(4, 8))
    assert sorted(r.plane.index for r in found) == [4, 6, 7]


def test_closing_the_generator_stops_asking():
    phantom = Phantom(discs())
    run = propagate(phantom, phantom.stack, [phantom.anchor(5)], SETTINGS)
    next(run)
    run.close()
    assert len(phantom.asked) == 1


@pytest.mark.parametrize(
    ("anchors", "more", "message"),
    [
        ([], {}, "nothing to propagate"),
        ([5, 5], {}, "annotated twice"),
        ([5], {"stops": {5}}, "both annotated and a stop"),
        ([5], {"z_range": (6, 9)}, "outside the z-range"),
        ([5], {"z_range": (3, 99)}, "START < STOP"),
        ([0], {}, "is empty"),
    ],
)
def test_anchors_that_make_no_sense(anchors, more, message):
    phantom = Phantom(discs(present=range(2, 9)))
    with pytest.raises(InputError, match=message):
        list(propagate(phantom, phantom.stack, [phantom.anchor(i) for i in anchors], SETTINGS, **more))


def test_anchors_of_two_objects_or_another_axis():
    phantom = Phantom(discs())
    with pytest.raises(InputError, match="a run an object"):
        list(propagate(phantom, phantom.stack, [phantom.anchor(3), phantom.anchor(5, object_id=2)], SETTINGS))
    with pytest.raises(InputError, match="lies on axis 0"):
        list(propagate(phantom, SliceStack(phantom.array, 1), [phantom.anchor(3)], SETTINGS))


@pytest.mark.parametrize("bad", [{"iou_threshold": 1.5}, {"box_extension": -0.1}, {"min_confidence": 1.1}])
def test_settings_are_checked(bad):
    with pytest.raises(InputError):
        PropagationSettings(**bad)
