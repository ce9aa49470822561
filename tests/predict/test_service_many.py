"""Several objects of one slice asked together get what each gets alone."""

import numpy as np
import pytest
from predict_helpers import DictStore

from napari_medicosam.core.appearance import Appearance
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.results import Region, SegmentRequest
from napari_medicosam.errors import InputError
from napari_medicosam.predict import predictor as predictor_module
from napari_medicosam.predict import service as service_module
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.predictor import Predictor
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.predict.zoom import ZoomRule

VOLUME = np.random.default_rng(4).integers(0, 1000, (3, 120, 150)).astype(np.int16)
VOLUME[:, 40:70, 50:80] += 2000
MAPPING = resolve_intensity("minmax", VOLUME)
PLANE = SlicePlane(0, 1)
NEVER, AUTO = ZoomRule("never"), ZoomRule("auto", max_share=0.2)


def make_service(tiny, zoom=NEVER):
    return SegmentationService(tiny, MAPPING, DictStore(), zoom)


def request(*points, box=None, mask=None, index=1, image=VOLUME, object_id=1, **more):
    prompts = PromptSet(SlicePlane(0, index), points, box, mask)
    return SegmentRequest(image[index], prompts, object_id=object_id, **more)


def mixed():
    """One of every layout of prompts, and two of some."""
    mask = np.zeros((120, 150), bool)
    mask[20:100, 30:120] = True
    logits = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    inside, outside = PointPrompt((50, 60)), PointPrompt((10, 10), positive=False)
    return [
        request(box=BoxPrompt(5, 5, 100, 140), object_id=9, generation=3),
        request(inside, object_id=4),
        request(outside, object_id=5),
        request(box=BoxPrompt(40.5, 50, 70, 80), object_id=2),
        request(inside, outside, mask=mask),
        request(box=BoxPrompt(30, 20, 90, 130), previous_logits=logits),
        request(PointPrompt((100, 20))),
        request(box=BoxPrompt(41, 51, 69, 79), object_id=7),
    ]


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, alone in zip(found, wanted, strict=True):
        assert (one.plane, one.object_id, one.generation) == (alone.plane, alone.object_id, alone.generation)
        assert (one.view, one.region) == (alone.view, alone.region)
        np.testing.assert_array_equal(one.mask, alone.mask)
        np.testing.assert_allclose(one.low_res_logits, alone.low_res_logits, rtol=0, atol=2e-5)
        assert one.iou_prediction == pytest.approx(alone.iou_prediction, abs=1e-5)
        assert len(one.candidates) == len(alone.candidates)
        for candidate, other in zip(one.candidates, alone.candidates, strict=True):
            np.testing.assert_array_equal(candidate.mask, other.mask)


@pytest.mark.parametrize("zoom", [NEVER, AUTO], ids=["whole slice", "views"])
def test_together_each_gets_what_it_gets_alone(tiny, zoom):
    alone = [make_service(tiny, zoom).segment(one) for one in mixed()]
    assert len({result.mask.tobytes() for result in alone}) > 4, "the seeded model tells objects apart"
    assert len({result.view for result in alone}) == (1 if zoom is NEVER else 3)
    assert_same(make_service(tiny, zoom).segment_many(mixed()), alone)


def test_on_processors_each_is_the_same_to_the_last_bit(tiny):
    requests = mixed()
    for found, one in zip(make_service(tiny).segment_many(requests), requests, strict=True):
        np.testing.assert_array_equal(found.low_res_logits, make_service(tiny).segment(one).low_res_logits)


@pytest.fixture
def calls(monkeypatch):
    """Shapes that were encoded, and how many objects each decoder call was about."""
    seen, encode, decode = ([], []), SliceEncoder.encode, Predictor._decode
    monkeypatch.setattr(
        SliceEncoder, "encode", lambda self, image: seen[0].append(image.shape) or encode(self, image)
    )
    monkeypatch.setattr(
        Predictor,
        "_decode",
        lambda self, features, size, questions, three: (
            seen[1].append(len(questions)) or decode(self, features, size, questions, three)
        ),
    )
    return seen


def boxes(count):
    return [request(box=BoxPrompt(3 + i, 5, 110, 140 - i), object_id=i + 1) for i in range(count)]


def test_the_slice_is_encoded_once_and_on_processors_each_object_is_decoded_alone(tiny, calls):
    results = make_service(tiny).segment_many(boxes(3))
    assert [result.object_id for result in results] == [1, 2, 3]
    assert calls == ([(120, 150)], [1, 1, 1])


@pytest.fixture
def batching(monkeypatch):
    """The device of the model only decides how many are decoded at once: as on a GPU."""
    monkeypatch.setattr(predictor_module, "_is_full_with_one", lambda device: False)


def test_elsewhere_those_of_one_layout_share_a_decoder_call(tiny, calls, batching):
    assert_same(
        make_service(tiny).segment_many(mixed()), [make_service(tiny).segment(one) for one in mixed()]
    )
    assert max(calls[1]) == 3


def test_batches_have_a_limit(tiny, calls, batching, monkeypatch):
    monkeypatch.setattr(service_module, "MAX_BATCH", 3)
    results = make_service(tiny).segment_many(boxes(7))
    assert calls == ([(120, 150)], [3, 3, 1])
    assert_same(results, [make_service(tiny).segment(one) for one in boxes(7)])


def test_a_view_of_its_own_is_encoded_for_itself_and_a_shared_one_once(tiny, calls):
    small = [BoxPrompt(41, 51, 69, 79), BoxPrompt(41, 51, 68, 79), BoxPrompt(90, 10, 110, 30)]
    requests = [request(box=box, object_id=n + 1) for n, box in enumerate(small)] + boxes(2)
    results = make_service(tiny, AUTO).segment_many(requests)
    assert results[0].view == results[1].view != results[2].view
    assert [result.view is None for result in results] == [False, False, False, True, True]
    assert calls[1] == [1] * 5
    assert sorted(calls[0]) == sorted([results[0].view.size_yx, results[2].view.size_yx, (120, 150)])


def test_nothing_asked_is_nothing_answered(tiny, calls):
    assert make_service(tiny).segment_many([]) == []
    stops = [request(PointPrompt((5, 5), positive=False)) for _ in range(2)]
    assert all(result.region.is_empty for result in make_service(tiny).segment_many(stops))
    assert calls == ([], [])


def test_requests_on_several_slices_are_refused(tiny):
    box = BoxPrompt(5, 5, 30, 30)
    with pytest.raises(InputError, match="on one slice"):
        make_service(tiny).segment_many([request(box=box), request(box=box, index=2)])
    with pytest.raises(InputError, match="the same pixels"):
        make_service(tiny).segment_many([request(box=box), request(box=box, image=VOLUME + 1)])


@pytest.mark.parametrize("zoom", [NEVER, AUTO])
def test_masks_agree_with_an_appearance(tiny, zoom):
    """Seen twice as weights are random: what speaks for the object must come, what speaks against it must go."""
    mask = np.zeros((120, 150), bool)
    mask[40:70, 50:80] = True
    service = make_service(tiny, zoom)
    plain = service.segment(request(box=BoxPrompt(35, 45, 75, 85)))
    found = {}
    for weight in (-1e3, 1e3):
        looks = Appearance([(VOLUME[1], mask)], weight)
        found[weight] = service.segment(request(box=BoxPrompt(35, 45, 75, 85), appearance=looks))
        assert found[weight].iou_prediction == plain.iou_prediction
        assert found[weight].region == Region.of_mask(found[weight].mask)
    inner = (slice(44, 66), slice(54, 76))
    assert found[1e3].mask[inner].all()
    assert not found[-1e3].mask[inner].any()
