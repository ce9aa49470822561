import threading
from dataclasses import replace

import numpy as np
import pytest
from predict_helpers import DictStore

from napari_medicosam.cache import keys
from napari_medicosam.cache.keys import EmbeddingKey, slice_digest
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.cache.store import ZarrEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.results import Region, SegmentRequest
from napari_medicosam.predict import service as service_module
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.predict.zoom import ZoomRule

VOLUME = np.random.default_rng(1).integers(0, 1000, (4, 40, 50)).astype(np.int16)
MAPPING = resolve_intensity("minmax", VOLUME)


def request(index=1, prompts=None, **more):
    prompts = prompts or PromptSet(SlicePlane(0, index), box=BoxPrompt(5, 5, 30, 30))
    return SegmentRequest(prompts.plane.cut(VOLUME), prompts, **more)


def test_a_request_becomes_a_result(tiny):
    service = SegmentationService(tiny, MAPPING, DictStore())
    result = service.segment(request(object_id=3, generation=17))
    assert (result.object_id, result.generation, result.plane) == (3, 17, SlicePlane(0, 1))
    assert result.mask.shape == (40, 50)
    assert result.region == Region.of_mask(result.mask)
    assert not result.mask.flags.writeable
    fed_back = service.segment(request(previous_logits=result.low_res_logits))
    assert not np.array_equal(fed_back.low_res_logits, result.low_res_logits)


def test_a_slice_is_encoded_once(tiny):
    store = DictStore()
    service = SegmentationService(tiny, MAPPING, store)
    assert not service.is_embedded(SlicePlane(0, 1), VOLUME[1])
    for _ in range(3):
        service.segment(request())
    assert service.is_embedded(SlicePlane(0, 1), VOLUME[1])
    service.segment(request(2))
    assert store.puts == [SlicePlane(0, 1), SlicePlane(0, 2)]


def test_pixels_that_change_in_place_are_another_slice(tiny):
    store, volume = DictStore(), VOLUME.copy()
    service = SegmentationService(tiny, MAPPING, store)
    prompts = PromptSet(SlicePlane(0, 1), box=BoxPrompt(5, 5, 30, 30))
    service.fetch_ahead(prompts.plane, volume[1])
    service.segment(SegmentRequest(volume[1], prompts))
    volume[1] = VOLUME[2]
    changed = service.segment(SegmentRequest(volume[1], prompts))
    assert len(store.puts) == 2
    fresh = SegmentationService(tiny, MAPPING, DictStore()).segment(SegmentRequest(VOLUME[2], prompts))
    np.testing.assert_array_equal(changed.low_res_logits, fresh.low_res_logits)


def test_however_often_a_slice_is_asked_about_its_digest_is_computed_once(tiny, monkeypatch):
    asked = []
    for module in (keys, service_module):
        monkeypatch.setattr(module, "slice_digest", lambda image: asked.append(image) or slice_digest(image))
    service = SegmentationService(tiny, MAPPING, DictStore(), ZoomRule("never"))
    service.fetch_ahead(SlicePlane(0, 1), VOLUME[1])
    for _ in range(3):
        service.segment(request())
    service.segment_many([request(object_id=1), request(object_id=2)])
    assert len(asked) == 1


def test_two_threads_that_want_one_slice_encode_it_once(tiny, monkeypatch):
    store, both_have_looked, looked = DictStore(), threading.Barrier(2), set()
    service = SegmentationService(tiny, MAPPING, store)
    real_get = store.get

    def get(plane, digest):
        found = real_get(plane, digest)
        if (
            threading.get_ident() not in looked
        ):  # the first look of each: nobody goes on before both saw nothing
            looked.add(threading.get_ident())
            both_have_looked.wait(30)
        return found

    calls = []
    encode = SliceEncoder.encode
    monkeypatch.setattr(SliceEncoder, "encode", lambda self, image: calls.append(1) or encode(self, image))
    store.get = get
    threads = [threading.Thread(target=service.segment, args=(request(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(calls) == 1


def test_not_here_is_an_empty_mask_without_asking_the_model(tiny):
    store = DictStore()
    stop = PromptSet(SlicePlane(0, 1), (PointPrompt((5, 5), positive=False),))
    result = SegmentationService(tiny, MAPPING, store).segment(request(prompts=stop))
    assert not result.mask.any()
    assert result.region.is_empty
    assert store.puts == []


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_mask_does_not_change_when_its_embedding_is_read_back(tiny, tmp_path, dtype):
    key = EmbeddingKey(tiny.spec, tiny.weights_sha256, MAPPING, dtype)
    first = SegmentationService(tiny, MAPPING, ZarrEmbeddingStore(tmp_path, key, VOLUME.shape)).segment(
        request()
    )
    again = SegmentationService(tiny, MAPPING, ZarrEmbeddingStore(tmp_path, key, VOLUME.shape))
    assert again.is_embedded(SlicePlane(0, 1), VOLUME[1])
    np.testing.assert_array_equal(again.segment(request()).low_res_logits, first.low_res_logits)
    in_memory = SegmentationService(tiny, MAPPING, MemoryEmbeddingStore(10**6).bind(key)).segment(request())
    np.testing.assert_array_equal(in_memory.low_res_logits, first.low_res_logits)


def test_rgb_slices(tiny):
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    mapping = resolve_intensity("auto", image[None], is_rgb=True)
    prompts = PromptSet(SlicePlane(0, 0), (PointPrompt((20, 20)),))
    result = SegmentationService(tiny, mapping, DictStore()).segment(SegmentRequest(image, prompts))
    assert result.mask.shape == (40, 50)


@pytest.mark.parametrize("shape", [(1, 9000), (9000, 1), (2, 300)])
def test_slices_so_long_that_nothing_of_them_would_be_left_at_the_model_s_size(tiny, shape):
    image = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    prompts = PromptSet(SlicePlane(0, 0), box=BoxPrompt(0, 0, *shape))
    result = SegmentationService(tiny, MAPPING, DictStore()).segment(SegmentRequest(image, prompts))
    assert result.mask.shape == shape
    assert np.isfinite(result.low_res_logits).all()


@pytest.fixture
def trusts(tiny, monkeypatch):
    """The tiny model, with what it thinks of its masks as told, and their pixels: without a box, and with one."""
    service = SegmentationService(tiny, MAPPING, DictStore(), ZoomRule("never"))
    said = {False: (0.3, 50), True: (0.7, 60)}
    answers = service._answers

    def as_told(answer, prediction, area):
        mask = (np.arange(answer.mask.size) < area).reshape(answer.mask.shape)
        return replace(answer, iou_prediction=prediction, mask=mask, region=Region.of_mask(mask))

    def told(requests):
        return [
            as_told(answer, *said[one.prompts.box is not None])
            for one, answer in zip(requests, answers(requests), strict=True)
        ]

    monkeypatch.setattr(service, "_answers", told)
    return service, said


NEARBY = BoxPrompt(8, 8, 25, 25)


def clicks(*points, **more):
    return request(prompts=PromptSet(SlicePlane(0, 1), tuple(PointPrompt(*one) for one in points)), **more)


@pytest.mark.parametrize(
    ("alone", "area", "wins"),
    [(0.3, 50, True), (0.4, 50, False), (0.9, 50, False), (0.9, 434, True), (0.9, 433, False)],
)
def test_points_that_failed_are_asked_with_the_box_of_a_slice_beside(trusts, alone, area, wins):
    """Or that found something so large that it cannot be what lies in that box, of 289 pixels."""
    service, said = trusts
    said[False] = alone, area
    result = service.segment(clicks(((12, 12),), nearby_box=NEARBY))
    wanted = PromptSet(SlicePlane(0, 1), (PointPrompt((12, 12)),), box=NEARBY if wins else None)
    np.testing.assert_array_equal(result.mask, service.segment(request(prompts=wanted)).mask)
    assert result.asked_box == (NEARBY if wins else None)


def test_a_box_of_a_slice_beside_is_no_help_where_more_is_known(trusts):
    service, _ = trusts
    drawn = PromptSet(SlicePlane(0, 1), (PointPrompt((12, 12)),), box=BoxPrompt(5, 5, 30, 30))
    logits = np.zeros((tiny_side(service),) * 2, np.float32)
    for asked in (
        request(prompts=drawn, nearby_box=NEARBY),
        clicks(((12, 12),), nearby_box=NEARBY, previous_logits=logits),
        clicks(((12, 12), False), nearby_box=NEARBY),
    ):
        assert service.segment(asked).asked_box == asked.prompts.box


def tiny_side(service):
    return service.model.spec.low_res_size
