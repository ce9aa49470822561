"""The grid search against a service whose answers are known, and against propagation itself."""

from dataclasses import replace

import numpy as np
import pytest
from predict_helpers import DictStore

from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.metrics import dice
from napari_medicosam.core.prompt_derivation import PromptMode, derive_box
from napari_medicosam.core.prompts import PromptSet
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.errors import InputError
from napari_medicosam.predict import tuning
from napari_medicosam.predict.propagation import PropagationSettings, propagate
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.predict.tuning import TuningGrid, tune_on_object
from napari_medicosam.predict.zoom import ZoomRule

BOX = PromptMode(box=True)
CURRENT = PropagationSettings(BOX, iou_threshold=0.5, box_extension=0.1, min_confidence=0.85)
SMALL = TuningGrid((BOX, PromptMode(box=True, mask=True)), (0.0, 0.1), (0.5, 0.7, 0.9), (0.0, 0.85))


class Leaky:
    """An object of 24 x 24 on slices 6 to 13 of 20, and beyond slice 13 something of half its size."""

    def __init__(self, axis=0):
        array = np.zeros((20, 40, 40), np.int16)
        array[6:14, 8:32, 8:32] = 1
        self.mask = np.moveaxis(array == 1, 0, axis)
        array[14:, 8:32, 8:23] = 1
        self.array = np.moveaxis(array, 0, axis)
        self.stack = SliceStack(self.array, axis)
        self.asked = []

    def fetch_ahead(self, plane, image_slice):
        """Nothing is stored."""

    def features(self, plane, pixels, view=None):
        return np.ones((1, 1, 1), np.float32)  # everything looks alike

    def segment(self, request):
        return self.segment_many([request])[0]

    def segment_many(self, requests):
        self.asked += [(request.plane.index, len(requests)) for request in requests]
        return [self.answer(request) for request in requests]

    def answer(self, request):
        mask = np.zeros(request.image_slice.shape, bool)
        box = request.prompts.box
        area = (slice(int(box.y0), int(np.ceil(box.y1))), slice(int(box.x0), int(np.ceil(box.x1))))
        mask[area] = request.image_slice[area] == 1
        low = np.zeros((4, 4), np.float32)
        return SegmentResult(request.plane, mask, Region.of_mask(mask), 0.9, low, request.object_id)


def outcome(*args, **more):
    *_, last = tune_on_object(*args, **more)
    return last.result


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_finds_the_rule_that_stops_at_the_end(axis):
    leaky = Leaky(axis)
    result = outcome(leaky, leaky.stack, leaky.mask, CURRENT, grid=SMALL)
    assert result.current.settings == CURRENT
    leaked = 5 * 24 * 15
    assert result.current.dice == pytest.approx(2 * 8 * 24**2 / (2 * 8 * 24**2 + leaked))
    assert result.best.dice == 1.0
    assert result.best.settings == replace(
        CURRENT, iou_threshold=0.7
    )  # one change, and the first in the grid
    assert len(result.ranked) == 2 * 2 * 3 * 2
    scores = [one.dice for one in result.ranked]
    assert scores == sorted(scores, reverse=True)


def test_of_equals_the_current_settings_are_the_best():
    leaky = Leaky()
    for threshold in (0.7, 0.9):
        current = replace(CURRENT, iou_threshold=threshold)
        assert outcome(leaky, leaky.stack, leaky.mask, current, grid=SMALL).best.settings == current


def test_current_settings_beside_the_grid_are_tried_too():
    leaky = Leaky()
    stack = SliceStack(leaky.array, 0, (2.0, 1.0, 1.0))
    current = PropagationSettings(
        PromptMode.parse("box+single_point"), iou_threshold=0.64, min_confidence=0.33, box_extension_mm=2.5
    )
    result = outcome(leaky, stack, leaky.mask, current, grid=SMALL)
    assert result.best == result.current
    assert result.current.settings == current
    assert result.current.dice == 1.0
    assert len(result.ranked) == (2 * 2 + 1) * 4 * 3
    with pytest.raises(InputError, match=r"2\.5 mm"):
        outcome(leaky, leaky.stack, leaky.mask, current, grid=SMALL)


def test_every_score_is_what_propagation_with_these_settings_gets(tiny):
    rng = np.random.default_rng(3)
    volume = rng.integers(0, 200, (12, 64, 72)).astype(np.int16)
    truth = np.zeros(volume.shape, bool)
    for index in range(3, 9):
        truth[index, 10 + index : 40, 15:50] = True
    volume[truth] += 300
    stack = SliceStack(volume, 0, (1.0, 1.0, 1.0))  # half the reference distance
    mapping = resolve_intensity("minmax", volume)
    service = SegmentationService(tiny, mapping, DictStore(), ZoomRule("never"))
    thresholds = (0.0, 0.01, 0.024, 0.03, 0.4, 0.6)  # between the IoUs of the seeded model, squared
    grid = TuningGrid((BOX, PromptMode(points=True)), (0.0, 0.05), thresholds, (0.0, 0.9, 0.97))
    result = outcome(service, stack, truth, PropagationSettings(), grid=grid)
    plane = stack.plane(6)
    asked = PromptSet(plane, box=derive_box(truth[6]))
    sure = service.segment(SegmentRequest(volume[6], asked)).iou_prediction
    low = np.zeros((16, 16), np.float32)
    anchor = SegmentResult(plane, truth[6], Region.of_mask(truth[6]), sure, low)
    for scored in result.ranked:
        found = np.zeros_like(truth)
        found[6] = truth[6]
        for one in propagate(service, stack, [anchor], scored.settings, z_range=(0, 12)):
            found[one.plane.index] = one.mask
        assert scored.dice == pytest.approx(dice(found, truth), abs=1e-12), scored.settings
    assert len({one.dice for one in result.ranked}) > 4, "the seeded model makes a difference"


def test_each_mode_is_followed_once_and_its_extensions_together():
    leaky = Leaky()
    outcome(leaky, leaky.stack, leaky.mask, CURRENT, grid=SMALL)
    # the start, then per mode 9 slices above and 4 + 1 below (where nothing is found) with two extensions
    assert leaky.asked[0] == (10, 1)
    assert leaky.asked[1:] == 2 * [(index, 2) for index in (9, 8, 7, 6, 5, *range(11, 19)) for _ in range(2)]


def test_a_box_that_is_not_used_has_one_extension():
    grid = TuningGrid((PromptMode(mask=True), BOX), (0.0, 0.1, 0.2))
    assert [len(among) for among in tuning._to_follow(CURRENT, grid)] == [3, 1]


def test_progress_goes_up_to_the_total_and_the_result_comes_last():
    leaky = Leaky()
    lines = list(tune_on_object(leaky, leaky.stack, leaky.mask, CURRENT, grid=SMALL))
    done = [line.done for line in lines]
    total = 2 * 2 * 17
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, total)
    assert {line.total for line in lines} == {total}
    assert all(line.result is None for line in lines[:-1])
    assert lines[0].best is None
    assert lines[-2].best == lines[-1].best == lines[-1].result.best


def test_closing_it_stops_asking():
    leaky = Leaky()
    run = tune_on_object(leaky, leaky.stack, leaky.mask, CURRENT, grid=SMALL)
    for _ in range(3):
        next(run)
    asked = len(leaky.asked)
    run.close()
    assert len(leaky.asked) == asked == 3


def test_a_start_of_ones_own():
    leaky = Leaky()
    run = tune_on_object(leaky, leaky.stack, leaky.mask, CURRENT, start=7, grid=SMALL)
    next(run), next(run)
    assert [index for index, _ in leaky.asked] == [7, 6, 6]


def test_where_the_model_finds_nothing_the_slices_beside_say_what_to_expect():
    leaky = Leaky()
    answer = leaky.answer

    def unsure(request):
        found, index = answer(request), request.plane.index
        if index == 10:
            nothing = np.zeros_like(found.mask)
            return replace(found, mask=nothing, region=Region.of_mask(nothing), iou_prediction=9.0)
        return replace(found, iou_prediction=0.9 if index < 14 else 0.5)

    leaky.answer = unsure
    result = outcome(leaky, leaky.stack, leaky.mask, CURRENT, grid=SMALL)
    assert result.current.dice == 1.0
    assert min(one.dice for one in result.ranked) < 1.0


def test_masks_that_cannot_be_tuned_on():
    leaky = Leaky()

    def refused(mask, message, **more):
        with pytest.raises(InputError, match=message):
            next(tune_on_object(leaky, leaky.stack, mask, CURRENT, **more))

    single = leaky.mask.copy()
    single[7:] = False
    refused(np.zeros_like(leaky.mask), "is empty")
    refused(single, "on one slice only")
    refused(leaky.mask[1:], "has shape")
    refused(leaky.mask.astype(np.uint8), "must be boolean")
    refused(leaky.mask, "not on slice 3", start=3)
    with pytest.raises(InputError, match="at least one value"):
        TuningGrid(modes=())
    assert leaky.asked == []
