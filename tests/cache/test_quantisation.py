from __future__ import annotations

import numpy as np
import pytest
from cache_helpers import SHAPE, cases, encode, make_key, volume
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_medicosam.cache.keys import slice_digest
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.cache.quantisation import dequantise, quantise
from napari_medicosam.cache.store import TieredEmbeddingStore, ZarrEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane

KEY = make_key("int8", grid_size=32)
PLANE = SlicePlane(0, 2)
PIXELS = PLANE.cut(volume(0))
DIGEST = slice_digest(PIXELS)
EMBEDDING = encode(PIXELS, KEY)


@example(np.full((1, 2, 2), 1e-45, np.float32))
@settings(max_examples=300, deadline=None)
@given(arrays(np.float32, (3, 2, 4), elements=st.floats(-60000, 60000, width=32)))
def test_no_value_is_off_by_more_than_half_a_step_and_nothing_drifts(embedding):
    numbers, exponents = quantise(embedding)
    read = dequantise(numbers, exponents)
    step = np.exp2(exponents.astype(float))[:, None, None]
    assert (np.abs(read.astype(float) - embedding) <= step / 2).all()
    largest = np.abs(embedding).max(axis=(1, 2))
    assert (np.exp2(exponents.astype(float)) <= np.maximum(largest / 63.5, 2.0**-24))[largest > 0].all()
    assert np.array_equal(dequantise(*quantise(read)), read)
    assert np.array_equal(dequantise(*quantise(-embedding)), -read)


def test_a_store_gives_back_what_it_said_it_would(tmp_path):
    store = ZarrEmbeddingStore(tmp_path / "embeddings", KEY, SHAPE)
    promised = store.put(PLANE, DIGEST, EMBEDDING)
    read = ZarrEmbeddingStore(tmp_path / "embeddings", KEY, SHAPE).get(PLANE, DIGEST)
    assert read.dtype == promised.dtype == store.dtype == np.float16
    assert np.array_equal(read, promised)
    assert not read.flags.writeable
    error = np.abs(read - EMBEDDING).max(axis=(1, 2))
    assert (error > 0).any()
    assert (error <= np.abs(EMBEDDING).max(axis=(1, 2)) / 63.5 / 2).all()


def test_it_takes_about_half_the_bytes_of_float16(tmp_path):
    sizes = {}
    for dtype in ("float16", "int8"):
        key = make_key(dtype, grid_size=32)
        store = ZarrEmbeddingStore(tmp_path / dtype, key, SHAPE)
        for case in cases(0, key):
            store.put(*case)
        chunks = (tmp_path / dtype / key.group_name(0)).glob("*/c.*")
        sizes[dtype] = sum(path.stat().st_size for path in chunks)
    assert sizes["int8"] <= 0.53 * sizes["float16"]


def test_what_moves_from_memory_to_disk_stays_the_same(tmp_path):
    pool = MemoryEmbeddingStore(1 << 20)
    promised = pool.bind(KEY).put(PLANE, DIGEST, EMBEDDING)
    disk = ZarrEmbeddingStore(tmp_path / "embeddings", KEY, SHAPE)
    assert np.array_equal(TieredEmbeddingStore(pool.bind(KEY), disk).get(PLANE, DIGEST), promised)
    assert np.array_equal(disk.get(PLANE, DIGEST), promised)


@pytest.mark.parametrize("position", [17, 20, 51])
def test_a_damaged_entry_is_encoded_again(tmp_path, position):
    store = ZarrEmbeddingStore(tmp_path / "embeddings", KEY, SHAPE)
    store.put(PLANE, DIGEST, EMBEDDING)
    array = store._groups[0].slice_digest
    entry = np.asarray(array[PLANE.index])
    assert len(entry) == 20 + KEY.spec.embedding_shape[0]
    entry[position] ^= 1  # the seal, the first and the last exponent; its own checksum is right
    array[PLANE.index] = entry
    assert store.get(PLANE, DIGEST) is None
    promised = store.put(PLANE, DIGEST, EMBEDDING)
    assert np.array_equal(store.get(PLANE, DIGEST), promised)
