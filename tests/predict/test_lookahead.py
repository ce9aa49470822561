"""The slice that is likely to be next is fetched while this one is decoded."""

import threading

import numpy as np
import pytest
from predict_helpers import IDENTITY, DictStore

from napari_medicosam.cache.keys import slice_digest
from napari_medicosam.core.geometry import SlicePlane, SliceStack
from napari_medicosam.errors import CacheError
from napari_medicosam.predict.lookahead import SliceLookahead
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.weights.loading import load_weights

STACK = SliceStack(np.arange(5 * 4 * 3, dtype=np.int16).reshape(5, 4, 3), 0)


class Store:
    """Of a service: who fetched which slice."""

    def __init__(self):
        self.fetched, self.threads = [], set()
        self.has_fetched = threading.Semaphore(0)

    def fetch_ahead(self, plane, image_slice):
        self.threads.add(threading.current_thread())
        if plane.index == 3:
            raise CacheError("damaged")
        assert np.array_equal(image_slice, STACK.pixels(plane.index))
        self.fetched.append(plane.index)
        self.has_fetched.release()


def test_the_following_slice_is_fetched_before_it_is_asked_for():
    store = Store()
    with SliceLookahead(store, STACK) as lookahead:
        assert np.array_equal(lookahead.pixels(0, 1), STACK.pixels(0))
        assert store.has_fetched.acquire(timeout=30)
        assert store.fetched == [1]
        assert np.array_equal(lookahead.pixels(1, 2), STACK.pixels(1))
        assert store.has_fetched.acquire(timeout=30)
        assert np.array_equal(lookahead.pixels(4, 5), STACK.pixels(4))  # it was not the one that came
    assert store.fetched == [1, 2]
    assert threading.current_thread() not in store.threads
    assert not any(thread.is_alive() for thread in store.threads)


def test_what_cannot_be_read_is_said_when_it_is_asked_for():
    store = Store()
    with SliceLookahead(store, STACK) as lookahead:
        lookahead.pixels(2, 3)
        lookahead.pixels(0, 3)
        with pytest.raises(CacheError, match="damaged"):
            lookahead.pixels(3, 4)


def test_a_processor_reads_ahead_and_does_not_encode():
    store = DictStore()
    service = SegmentationService(load_weights("sam_test", "cpu"), IDENTITY, store)
    pixels, plane = np.zeros((20, 20), np.uint8), SlicePlane(0, 0)
    asked = []
    get = store.get
    store.get = lambda *address: asked.append(address) or get(*address)
    service.fetch_ahead(plane, pixels)
    assert asked == [(plane, slice_digest(pixels))]
    assert store.puts == []
