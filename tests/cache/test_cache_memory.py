from __future__ import annotations

import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cache_helpers import cases, make_key

from napari_medicosam.cache.store import MemoryEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = make_key()
ENTRY_BYTES = 32 * 4 * 4 * 2


def test_round_trip_and_copy() -> None:
    store = MemoryEmbeddingStore(10**6).bind(KEY)
    plane, digest, embedding = next(cases(0, KEY))
    assert store.get(plane, digest) is None
    assert not store.has(plane, digest)
    source = embedding.copy()
    store.put(plane, digest, source)
    source[:] = 0
    got = store.get(plane, digest)
    assert got is not None
    assert store.has(plane, digest)
    assert got.dtype == store.dtype == np.float16
    np.testing.assert_array_equal(got, embedding)
    with pytest.raises(ValueError, match="read-only"):
        got[0, 0, 0] = 1


def test_least_recently_used_goes_first_and_the_limit_is_in_bytes() -> None:
    pool = MemoryEmbeddingStore(3 * ENTRY_BYTES)
    store = pool.bind(KEY)
    (p0, d0, e0), (p1, d1, e1), (p2, d2, e2), (p3, d3, e3), *_ = cases(0, KEY)
    store.put(p0, d0, e0)
    store.put(p1, d1, e1)
    store.put(p2, d2, e2)
    assert store.get(p0, d0) is not None  # now slice 1 is the oldest
    assert store.has(p1, d1)  # a look does not count as use
    store.put(p3, d3, e3)
    assert [store.has(p, d) for p, d in ((p0, d0), (p1, d1), (p2, d2), (p3, d3))] == [True, False, True, True]
    assert pool.num_bytes == 3 * ENTRY_BYTES
    store.put(p3, d3, e3)  # again: counted once
    assert pool.num_bytes == 3 * ENTRY_BYTES
    # One float32 entry is as large as two of the others.
    wide = pool.bind(make_key("float32"))
    wide.put(p0, d0, e0)
    assert len(pool) == 2
    assert pool.num_bytes == 3 * ENTRY_BYTES
    pool.clear()
    assert (len(pool), pool.num_bytes) == (0, 0)
    assert store.get(p3, d3) is None


def test_what_is_larger_than_the_pool_drops_nothing() -> None:
    pool = MemoryEmbeddingStore(ENTRY_BYTES)
    plane, digest, embedding = next(cases(0, KEY))
    pool.bind(KEY).put(plane, digest, embedding)
    pool.bind(make_key("float32")).put(plane, digest, embedding)
    assert pool.bind(KEY).has(plane, digest)
    assert not pool.bind(make_key("float32")).has(plane, digest)
    nothing = MemoryEmbeddingStore(0).bind(KEY)
    nothing.put(plane, digest, embedding)
    assert nothing.get(plane, digest) is None


def test_found_by_content_not_by_place() -> None:
    pool = MemoryEmbeddingStore(10**6)
    store = pool.bind(KEY)
    _, digest, embedding = next(cases(0, KEY))
    store.put(SlicePlane(0, 3), digest, embedding)
    assert pool.bind(make_key()).has(SlicePlane(0, 999), digest)  # another volume, an equal key
    assert not store.has(SlicePlane(1, 3), digest)  # the axis is part of the key
    other = pool.bind(replace(KEY, weights_sha256="cd" * 32))
    assert other.get(SlicePlane(0, 3), digest) is None
    assert store.get(SlicePlane(0, 3), digest[::-1]) is None


def test_bad_input() -> None:
    with pytest.raises(InputError, match="-1 bytes"):
        MemoryEmbeddingStore(-1)
    store = MemoryEmbeddingStore(10**6).bind(KEY)
    with pytest.raises(InputError, match="16 bytes"):
        store.put(SlicePlane(0, 0), b"", np.zeros((32, 4, 4), np.float16))
    with pytest.raises(InputError, match=r"got float16 of shape \(4, 4\)"):
        store.put(SlicePlane(0, 0), b"x" * 16, np.zeros((4, 4), np.float16))


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Threads take turns all the time, so that a missing lock shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_many_threads_keep_the_count() -> None:
    pool = MemoryEmbeddingStore(4 * ENTRY_BYTES)
    everything = [(digest, embedding) for seed in (0, 1) for _, digest, embedding in cases(seed, KEY)]
    barrier = threading.Barrier(4)
    wrong: list[BaseException | str] = []

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).integers(0, len(everything), 20_000).tolist()
        barrier.wait()
        try:
            for number in order:
                digest, embedding = everything[number]
                got = pool.find("group", digest)
                if got is None:
                    pool.keep("group", digest, embedding)
                elif got is not embedding:
                    wrong.append(f"slice {number}")
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pool.num_bytes == len(pool) * ENTRY_BYTES == 4 * ENTRY_BYTES
