"""Objects from their prompts: each gets what it would get alone, and a slice is asked about once for all of them."""

import numpy as np
import pytest
from predict_helpers import DictStore
from skimage.draw import disk

from napari_medicosam.core.geometry import SlicePlane, SliceStack
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.core.prompts import BoxPrompt, ObjectPrompts, PointPrompt, PromptSet
from napari_medicosam.core.results import Candidate, Region, SegmentResult
from napari_medicosam.errors import InputError
from napari_medicosam.predict.objects import as_clicked, segment_objects
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.predict.service import SegmentationService

SETTINGS = PropagationSettings(PromptMode(box=True), iou_threshold=0.3, min_confidence=0)


class Discs:
    """A volume of discs with the values of their objects; the 'model' finds what of an object is in its box."""

    def __init__(self, ends=((2, 9), (4, 12)), count=12):
        self.array = np.zeros((count, 40, 60), np.int16)
        for object_id, (first, last) in enumerate(ends, start=1):
            self.array[first:last][(slice(None), *disk((20, 30 * object_id - 16), 8, shape=(40, 60)))] = (
                object_id
            )
        self.stack = SliceStack(self.array, 0)
        self.asked = []

    def fetch_ahead(self, plane, image_slice):
        """Nothing is stored."""

    def features(self, plane, pixels, view=None):
        return np.ones((1, 1, 1), np.float32)  # everything looks alike

    def segment(self, request):
        return self.segment_many([request])[0]

    def segment_many(self, requests):
        self.asked.append((requests[0].plane.index, [one.object_id for one in requests]))
        return [self.answer(one) for one in requests]

    def answer(self, request):
        mask = np.zeros(request.image_slice.shape, bool)
        area = tuple(
            slice(*ends)
            for ends in zip(*np.reshape(request.prompts.box.bounds, (2, 2)).astype(int), strict=True)
        )
        mask[area] = request.image_slice[area] == request.object_id
        side = np.zeros((4, 4), np.float32)
        return SegmentResult(request.plane, mask, Region.of_mask(mask), 0.9, side, request.object_id)


def box_on(index, *points):
    return PromptSet(SlicePlane(0, index), points, BoxPrompt(0, 0, 40, 60))


def no(index):
    return PromptSet(SlicePlane(0, index), (PointPrompt((3, 3), positive=False),))


def test_an_object_is_its_prompted_slices_then_the_rest():
    discs = Discs()
    wanted = [ObjectPrompts(1, (box_on(5), no(7)))]
    assert [one.plane.index for one in segment_objects(discs, discs.stack, wanted)] == [5]
    found = list(segment_objects(discs, discs.stack, wanted, SETTINGS))
    assert [one.plane.index for one in found] == [5, 4, 3, 2, 6]
    assert {one.object_id for one in found} == {1}


def test_a_slice_is_asked_about_once_for_all_objects_there():
    discs = Discs()
    wanted = [ObjectPrompts(1, (box_on(8), box_on(5))), ObjectPrompts(2, (box_on(5),))]
    assert len(list(segment_objects(discs, discs.stack, wanted))) == 3
    assert discs.asked == [(5, [1, 2]), (8, [1])]
    list(segment_objects(discs, discs.stack, wanted, SETTINGS))
    assert (4, [1, 2]) in discs.asked


def test_clicks_count_whatever_the_model_says():
    discs = Discs()
    click = PointPrompt((20, 8), positive=False)
    [found] = segment_objects(discs, discs.stack, [ObjectPrompts(1, (box_on(5, click),))])
    whole = discs.array[5] == 1
    assert whole[20, 8]
    assert not found.mask[20, 8]
    assert found.mask[20, 14]
    assert found.region == Region.of_mask(found.mask)
    click = PointPrompt((20, 26))
    [found] = segment_objects(discs, discs.stack, [ObjectPrompts(1, (box_on(5, click),))])
    assert not whole[20, 26]
    assert found.mask[20, 26]
    assert found.region == Region.of_mask(found.mask)


def test_each_of_the_masks_that_a_click_may_mean_holds_it():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:30] = True
    side = np.zeros((4, 4), np.float32)
    prompts = PromptSet(SlicePlane(0, 5), (PointPrompt((20, 32)),))
    one = SegmentResult(
        prompts.plane, mask, Region.of_mask(mask), 0.9, side, candidates=(Candidate(mask, 0.9, side),) * 3
    )
    found = as_clicked(one, prompts)
    assert found.mask[20, 32]
    assert all(candidate.mask[20, 32] for candidate in found.candidates)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([(1, 5), (2, 3)], "object 2.*finds nothing on slice 3"),
        ([(1, 5), (1, 6)], "id 1 is used by 2 objects"),
    ],
)
def test_what_cannot_be_propagated_is_said_before_anything_is(wanted, message):
    discs = Discs()
    prompts = [ObjectPrompts(object_id, (box_on(index),)) for object_id, index in wanted]
    with pytest.raises(InputError, match=message):
        list(segment_objects(discs, discs.stack, prompts, SETTINGS))
    assert {index for index, _ in discs.asked} <= {3, 5}


@pytest.mark.parametrize(
    "settings", [None, SETTINGS, PropagationSettings(PromptMode(points=True), min_confidence=0)]
)
def test_a_model_finds_together_what_it_finds_alone(tiny, settings):
    volume = np.random.default_rng(4).integers(0, 1000, (8, 60, 80)).astype(np.int16)
    volume[2:7, 20:40, 10:30] += 2000
    volume[1:6, 20:40, 45:70] += 1500
    stack = SliceStack(volume, 0)

    def boxed(index, *bounds):
        return PromptSet(SlicePlane(0, index), box=BoxPrompt(*bounds))

    clicked = PromptSet(SlicePlane(0, 2), (PointPrompt((30, 55)),))
    wanted = [
        ObjectPrompts(3, (boxed(4, 18, 8, 42, 32),)),
        ObjectPrompts(1, (clicked, boxed(4, 18, 42, 42, 72))),
        ObjectPrompts(2, (boxed(6, 2, 2, 58, 78), no(5))),
    ]

    def masks(objects):
        service = SegmentationService(tiny, resolve_intensity("minmax", volume), DictStore())
        found = segment_objects(service, stack, objects, settings)
        return {(one.object_id, one.plane): one.mask.tobytes() for one in found}

    alone = {}
    for one in wanted:
        alone |= masks([one])
    assert len(alone) >= (4 if settings is None else 8)
    assert masks(wanted) == alone
