"""Several objects propagated together: each gets what it gets alone, and slices are asked about once."""

import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predict_helpers import DictStore
from skimage.draw import disk

from napari_medicosam.core.appearance import Appearance
from napari_medicosam.core.geometry import SlicePlane, SliceStack
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.core.prompts import BoxPrompt, PromptSet
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.errors import InputError
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.propagation import ObjectRun, PropagationSettings, propagate, propagate_objects
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.predict.zoom import ZoomRule

LOOSE = PropagationSettings(PromptMode(box=True, mask=True), iou_threshold=0.3, min_confidence=0)


def result(plane, mask, object_id):
    return SegmentResult(plane, mask, Region.of_mask(mask), 0.9, np.zeros((4, 4), np.float32), object_id)


class Crowd:
    """Discs with the values of their objects; the 'model' answers with what of an object is in the prompted box."""

    def __init__(self, count=30, ends=((3, 25), (0, 30), (8, 28))):
        self.array = np.zeros((count, 60, 60), np.int16)
        for object_id, (first, last) in enumerate(ends, start=1):
            for index in range(first, last):
                centre = (10 + 18 * (object_id - 1), 14 + index)
                self.array[index][disk(centre, 7, shape=(60, 60))] = object_id
        self.stack = SliceStack(self.array, 0)
        self.asked = []
        """(slice, objects) of each call."""

    def fetch_ahead(self, plane, image_slice):
        """Nothing is stored."""

    def features(self, plane, pixels, view=None):
        return np.ones((1, 1, 1), np.float32)  # everything looks alike

    def segment(self, request):
        return self.segment_many([request])[0]

    def segment_many(self, requests):
        assert len({request.plane for request in requests}) == 1
        self.asked.append((requests[0].plane.index, [request.object_id for request in requests]))
        return [self.answer(request) for request in requests]

    def answer(self, request):
        mask = np.zeros(request.image_slice.shape, bool)
        box = request.prompts.box
        area = (slice(int(box.y0), int(np.ceil(box.y1))), slice(int(box.x0), int(np.ceil(box.x1))))
        mask[area] = request.image_slice[area] == request.object_id
        return result(request.plane, mask, request.object_id)

    def run(self, object_id, *indices, settings=LOOSE, **more):
        anchors = [result(self.stack.plane(i), self.array[i] == object_id, object_id) for i in indices]
        return ObjectRun(anchors, settings, **more)


def masks(results):
    found = [(one.object_id, one.plane, one.mask.tobytes()) for one in results]
    assert len({(object_id, plane) for object_id, plane, _ in found}) == len(found), "a slice came twice"
    return set(found)


def alone(service, stack, run):
    return propagate(
        service, stack, run.anchors, run.settings, stops=run.stops, z_range=run.z_range, skip=run.skip
    )


def runs_of_every_kind(crowd):
    return [
        crowd.run(1, 5, 12, 13, 21),
        crowd.run(2, 9, 20, stops={2, 15}, z_range=(1, 29)),
        crowd.run(3, 10, 26, skip={(10, 26)}, settings=PropagationSettings(iou_threshold=0.9)),
    ]


def test_each_object_gets_what_it_gets_alone():
    crowd = Crowd()
    runs = runs_of_every_kind(crowd)
    wanted = set.union(*(masks(alone(crowd, crowd.stack, run)) for run in runs))
    assert {object_id for object_id, _, _ in wanted} == {1, 2}, "the strict rule of the third keeps nothing"
    assert masks(propagate_objects(crowd, crowd.stack, runs)) == wanted


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_the_anchors_stops_and_ranges(data):
    crowd = Crowd()
    runs = []
    for object_id, (first, last) in enumerate(((3, 25), (0, 30), (8, 28)), start=1):
        inside = st.integers(first, last - 1)
        anchors = data.draw(st.sets(inside, min_size=1, max_size=4))
        stops = data.draw(st.sets(st.integers(0, 29), max_size=2)) - anchors
        z_range = (data.draw(st.integers(0, min(anchors))), data.draw(st.integers(max(anchors) + 1, 30)))
        runs.append(crowd.run(object_id, *anchors, stops=stops, z_range=z_range))
    wanted = set.union(*(masks(alone(crowd, crowd.stack, run)) for run in runs))
    assert masks(propagate_objects(crowd, crowd.stack, runs)) == wanted


def test_objects_meet_on_every_slice_that_several_need():
    crowd = Crowd(ends=((0, 30), (0, 30)))
    list(propagate_objects(crowd, crowd.stack, [crowd.run(1, 10), crowd.run(2, 20)]))
    down, up = [(i, [1, 2] if i < 10 else [2]) for i in range(19, -1, -1)], []
    up = [(i, [1, 2] if i > 20 else [1]) for i in range(11, 30)]
    assert crowd.asked == down + up


def test_gaps_of_several_objects_are_filled_in_two_sweeps_and_their_middles():
    crowd = Crowd(ends=((0, 30), (0, 30)))
    how = {"settings": replace(LOOSE, between="neighbours")}
    pair = [crowd.run(1, 2, 8, 14, z_range=(2, 15), **how), crowd.run(2, 4, 14, z_range=(4, 15), **how)]
    list(propagate_objects(crowd, crowd.stack, pair))
    up = [(3, [1]), (4, [1]), (5, [2]), (6, [2]), (7, [2]), (8, [2]), (9, [1]), (10, [1])]
    down = [(13, [1, 2]), (12, [1, 2]), (11, [2]), (10, [2]), (7, [1]), (6, [1])]
    middles = [(5, [1]), (9, [2]), (11, [1])]
    assert crowd.asked == up + down + middles


def test_gaps_of_several_objects_are_filled_in_one_sweep_from_shapes():
    crowd = Crowd(ends=((0, 30), (0, 30)))
    pair = [crowd.run(1, 2, 8, 14, z_range=(2, 15)), crowd.run(2, 4, 14, z_range=(4, 15))]
    list(propagate_objects(crowd, crowd.stack, pair))
    on = {1: {3, 4, 5, 6, 7, 9, 10, 11, 12, 13}, 2: set(range(5, 14))}
    assert crowd.asked == [(i, [one for one in (1, 2) if i in on[one]]) for i in range(3, 14)]


def test_an_object_that_has_ended_is_not_asked_about_again():
    crowd = Crowd()
    list(propagate_objects(crowd, crowd.stack, [crowd.run(1, 20), crowd.run(2, 20)]))
    assert [who for index, who in crowd.asked if index < 2 or index > 25] == [[2]] * 6
    assert (2, [1, 2]) in crowd.asked  # where the first is not found any more


def test_closing_it_stops_asking():
    crowd = Crowd()
    run = propagate_objects(crowd, crowd.stack, [crowd.run(1, 10), crowd.run(2, 10)])
    assert [next(run).object_id for _ in range(2)] == [1, 2]
    run.close()
    assert len(crowd.asked) == 1


def test_masks_do_not_pile_up():
    crowd = Crowd(ends=((0, 30), (0, 30)))
    seen, most = [], 0
    for found in propagate_objects(crowd, crowd.stack, [crowd.run(1, 0, 29), crowd.run(2, 15)]):
        seen.append(weakref.ref(found.mask))
        del found
        most = max(most, sum(one() is not None for one in seen))
    assert len(seen) == 28 + 29
    assert most <= 4  # of each walk the last, what it goes on from, and half a gap's


def test_runs_that_make_no_sense():
    crowd = Crowd()
    with pytest.raises(InputError, match="object 1 is to be propagated 2 times"):
        next(propagate_objects(crowd, crowd.stack, [crowd.run(1, 10), crowd.run(1, 12)]))
    with pytest.raises(InputError, match="nothing to propagate"):
        next(propagate_objects(crowd, crowd.stack, [crowd.run(1, 10), ObjectRun([])]))
    assert crowd.asked == []
    assert list(propagate_objects(crowd, crowd.stack, [])) == []


@pytest.mark.parametrize("zoom", ["never", "auto"])
def test_a_real_model_says_the_same_to_objects_together(tiny, zoom, monkeypatch):
    volume = np.random.default_rng(0).integers(0, 400, (7, 96, 120)).astype(np.int16)
    volume[:, 20:60, 30:70] += 300
    stack = SliceStack(volume, 0)
    encoded, encode = [], SliceEncoder.encode
    monkeypatch.setattr(
        SliceEncoder, "encode", lambda self, image: encoded.append(image.shape) or encode(self, image)
    )
    service = SegmentationService(tiny, resolve_intensity("minmax", volume), DictStore(), ZoomRule(zoom))
    how = PropagationSettings(PromptMode(box=True), iou_threshold=0, min_confidence=0)
    runs = []
    for object_id, (index, box) in enumerate(
        [(2, (20, 30, 60, 70)), (3, (5, 60, 90, 118)), (3, (10, 10, 22, 24))], start=1
    ):
        prompts = PromptSet(SlicePlane(0, index), box=BoxPrompt(*box))
        anchor = service.segment(SegmentRequest(volume[index], prompts, object_id=object_id))
        assert not anchor.region.is_empty
        runs.append(ObjectRun([anchor], how))
    found = masks(propagate_objects(service, stack, runs))
    whole = [shape for shape in encoded if shape == (96, 120)]
    assert len(whole) <= 7
    assert len(found) > 12
    assert found == set.union(*(masks(alone(service, stack, run)) for run in runs))


# ------------------------------------------------------------------ physical units


@pytest.mark.parametrize(
    ("threshold", "spacing", "reference", "wanted"),
    [
        (0.5, None, 2.0, 0.5),
        (0.5, 2.0, 2.0, 0.5),
        (0.5, 1.0, 2.0, math.sqrt(0.5)),
        (0.6, 4.0, 2.0, 0.36),
        (0.5, 0.1, 2.0, 0.8),  # however thin
        (0.5, 10.0, 2.0, 0.3),  # however thick
        (0.9, 0.1, 2.0, 0.9),  # or as strict as it was wanted
        (0.1, 5.0, 2.0, 0.1),
        (0.0, 0.5, 2.0, 0.0),
        (1.0, 5.0, 2.0, 1.0),
        (0.5, 5.0, None, 0.5),
    ],
)
def test_the_threshold_is_meant_for_a_distance_of_slices(threshold, spacing, reference, wanted):
    stack = SliceStack(np.zeros((2, 3, 4)), 0, spacing and (spacing, 9.0, 9.0))
    how = PropagationSettings(iou_threshold=threshold, reference_spacing_mm=reference)
    assert how.stop_rule(stack).iou_threshold == pytest.approx(wanted)
    assert how.stop_rule(stack).min_confidence == how.min_confidence


@pytest.mark.parametrize(("spacing", "last"), [(None, 29), (2.0, 29), (1.0, 14), (5.0, 29)])
def test_the_same_change_ends_an_object_of_thin_slices_only(spacing, last):
    crowd = Crowd(ends=((0, 30),))
    crowd.array[:] = 0
    crowd.array[:15, 10:30, 10:30] = 1
    crowd.array[15:, 10:22, 10:30] = 1  # IoU 0.6
    stack = SliceStack(crowd.array, 0, spacing and (spacing, 1.0, 1.0))
    how = PropagationSettings(iou_threshold=0.5, min_confidence=0)
    found = propagate(crowd, stack, crowd.run(1, 5).anchors, how)
    assert max(one.plane.index for one in found) == last


def test_no_confidence_wanted_is_none_looked_at():
    rule = PropagationSettings(min_confidence=0).stop_rule(SliceStack(np.zeros((2, 3, 4)), 0))
    assert not rule.ends_at(0.9, -0.1, 0.9)
    assert rule.ends_at(0.4, 0.9, 0.9)


def test_the_box_grows_by_mm():
    array = np.zeros((20, 6, 40), np.int16)
    array[8:12, :, 10:30] = 1
    crowd = Crowd()
    boxes = []
    crowd.answer = lambda request: (
        boxes.append(request.prompts.box) or result(request.plane, request.image_slice == 1, 1)
    )
    stack = SliceStack(array, 1, (3.0, 1.0, 0.5))
    anchor = result(stack.plane(2), array[:, 2] == 1, 1)
    list(propagate(crowd, stack, [anchor], PropagationSettings(box_extension=7, box_extension_mm=1.5)))
    assert [box.bounds for box in boxes] == [(7.5, 7, 12.5, 33)] * 5
    with pytest.raises(InputError, match=r"1\.5 mm needs the size of a pixel"):
        next(propagate(crowd, SliceStack(array, 1), [anchor], PropagationSettings(box_extension_mm=1.5)))


@pytest.mark.parametrize(
    "bad",
    [
        {"box_extension_mm": -1},
        {"box_extension_mm": math.nan},
        {"reference_spacing_mm": 0},
        {"appearance": -0.5},
        {"appearance": math.nan},
        {"reference_spacing_mm": math.inf},
        {"box_extension": math.nan},
    ],
)
def test_lengths_are_checked(bad):
    with pytest.raises(InputError):
        PropagationSettings(**bad)


class Listening(Crowd):
    """Keeps what it was asked."""

    def __init__(self):
        super().__init__()
        self.appearances = {}

    def answer(self, request):
        self.appearances[request.plane.index] = request.appearance
        return super().answer(request)


def test_slices_are_asked_with_the_looks_of_the_annotated_ones_beside_them():
    crowd = Listening()
    mapping = resolve_intensity("minmax", crowd.array)
    how = replace(LOOSE, appearance=0.5)
    run = crowd.run(2, 10, 14, settings=how)
    list(propagate_objects(crowd, crowd.stack, [run]))
    assert crowd.appearances.keys() == {*range(30)} - {10, 14}
    for indices, ends in ((range(10), (10,)), (range(11, 14), (10, 14)), (range(15, 30), (14,))):
        wanted = Appearance([(crowd.array[i], crowd.array[i] == 2) for i in ends], 0.5).log_odds(mapping)
        for index in indices:
            np.testing.assert_array_equal(crowd.appearances[index].log_odds(mapping), wanted)
    assert crowd.appearances[0] is crowd.appearances[9], "counted once"
    for between in ("shapes", "neighbours"):
        crowd = Listening()
        run = crowd.run(2, 10, 14, settings=replace(how, appearance=0, between=between))
        list(propagate_objects(crowd, crowd.stack, [run]))
        assert set(crowd.appearances.values()) == {None}


def test_records_of_before_there_was_an_appearance_know_none():
    record = PropagationSettings().as_record()
    assert PropagationSettings.of_record(record) == PropagationSettings()
    del record["appearance"]
    assert PropagationSettings.of_record(record) == PropagationSettings(appearance=0)
