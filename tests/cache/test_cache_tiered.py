from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from cache_helpers import SHAPE, cases, make_key

from napari_medicosam.cache.store import MemoryEmbeddingStore, TieredEmbeddingStore, ZarrEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import CacheError, InputError

if TYPE_CHECKING:
    from pathlib import Path

KEY = make_key()


@pytest.fixture
def pool() -> MemoryEmbeddingStore:
    return MemoryEmbeddingStore(10**6)


def test_put_writes_both(tmp_path: Path, pool: MemoryEmbeddingStore) -> None:
    disk = ZarrEmbeddingStore(tmp_path, KEY, SHAPE)
    store = TieredEmbeddingStore(pool.bind(KEY), disk)
    assert store.dtype == np.float16
    for plane, digest, embedding in cases(0, KEY):
        assert store.get(plane, digest) is None
        store.put(plane, digest, embedding)
        assert store.has(plane, digest)
        np.testing.assert_array_equal(disk.get(plane, digest), embedding)
        np.testing.assert_array_equal(pool.bind(KEY).get(plane, digest), embedding)


def test_a_disk_hit_goes_to_memory(tmp_path: Path, pool: MemoryEmbeddingStore) -> None:
    disk = ZarrEmbeddingStore(tmp_path, KEY, SHAPE)
    plane, digest, embedding = next(cases(0, KEY))
    disk.put(plane, digest, embedding)
    store = TieredEmbeddingStore(pool.bind(KEY), disk)
    first = store.get(plane, digest)
    np.testing.assert_array_equal(first, embedding)
    assert pool.bind(KEY).has(plane, digest)
    for path in tmp_path.rglob("c.*"):
        path.write_bytes(b"damaged")
    np.testing.assert_array_equal(store.get(plane, digest), embedding)  # from memory: the disk is not asked


def test_a_memory_hit_from_elsewhere_completes_the_disk(tmp_path: Path, pool: MemoryEmbeddingStore) -> None:
    # Two slices of one volume with equal pixels (air): encoded once, but both must be done after a restart.
    store = TieredEmbeddingStore(pool.bind(KEY), ZarrEmbeddingStore(tmp_path, KEY, SHAPE))
    _, digest, embedding = next(cases(0, KEY))
    store.put(SlicePlane(0, 1), digest, embedding)
    assert not store.has(SlicePlane(0, 4), digest)
    np.testing.assert_array_equal(store.get(SlicePlane(0, 4), digest), embedding)
    restarted = ZarrEmbeddingStore(tmp_path, KEY, SHAPE)
    assert restarted.has(SlicePlane(0, 4), digest)
    np.testing.assert_array_equal(restarted.get(SlicePlane(0, 4), digest), embedding)


def test_after_a_disk_error_memory_still_serves(tmp_path: Path, pool: MemoryEmbeddingStore) -> None:
    folder = tmp_path / "a file"
    folder.write_text("x")
    store = TieredEmbeddingStore(pool.bind(KEY), ZarrEmbeddingStore(folder, KEY, SHAPE))
    plane, digest, embedding = next(cases(0, KEY))
    with pytest.raises(CacheError, match="cannot write"):
        store.put(plane, digest, embedding)
    np.testing.assert_array_equal(store.get(plane, digest), embedding)
    assert not store.has(plane, digest)


def test_damaged_on_disk_and_not_in_memory(tmp_path: Path, pool: MemoryEmbeddingStore) -> None:
    store = TieredEmbeddingStore(pool.bind(KEY), ZarrEmbeddingStore(tmp_path, KEY, SHAPE))
    plane, digest, embedding = next(cases(0, KEY))
    store.put(plane, digest, embedding)
    pool.clear()
    for path in tmp_path.rglob("c.*"):
        path.write_bytes(b"damaged")
    assert store.get(plane, digest) is None
    store.put(plane, digest, embedding)
    pool.clear()
    np.testing.assert_array_equal(store.get(plane, digest), embedding)


def test_tiers_of_two_dtypes(tmp_path: Path, pool: MemoryEmbeddingStore) -> None:
    with pytest.raises(InputError, match="float32 embeddings, the disk float16"):
        TieredEmbeddingStore(pool.bind(make_key("float32")), ZarrEmbeddingStore(tmp_path, KEY, SHAPE))
