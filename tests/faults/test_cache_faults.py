"""The cache while the clock jumps, and a damaged slice seen from the service: only that one is encoded again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medicosam.cache import groups
from napari_medicosam.cache.keys import EmbeddingKey, slice_digest
from napari_medicosam.cache.store import ZarrEmbeddingStore
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.core.prompts import BoxPrompt, PromptSet
from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.errors import CacheError
from napari_medicosam.models.specs import get_spec
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.service import SegmentationService
from napari_medicosam.weights.loading import load_weights

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (3, 40, 50)
VOLUME = np.random.default_rng(1).integers(0, 255, SHAPE).astype(np.uint8)
MAPPING = IntensityMapping("identity")
PLANE, DIGEST = SlicePlane(0, 1), slice_digest(VOLUME[1])
KEY = EmbeddingKey(get_spec("sam_test"), "ab" * 32, MAPPING)
EMBEDDING = np.random.default_rng(0).standard_normal(KEY.spec.embedding_shape).astype(np.float16)
YEAR_S = 366 * 86400.0


def store(root: Path) -> ZarrEmbeddingStore:
    return ZarrEmbeddingStore(root, KEY, SHAPE)


@pytest.mark.parametrize("jump", [YEAR_S, -YEAR_S], ids=["ahead", "back"])
def test_what_is_stored_is_found_after_the_clock_jumped(tmp_path, monkeypatch, jump) -> None:
    root = tmp_path / "cache"
    store(root).put(PLANE, DIGEST, EMBEDDING)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    assert np.array_equal(store(root).get(PLANE, DIGEST), EMBEDDING)
    store(root).put(SlicePlane(0, 2), slice_digest(VOLUME[2]), EMBEDDING)
    assert store(root).has(SlicePlane(0, 2), slice_digest(VOLUME[2]))


@pytest.mark.parametrize("jump", [YEAR_S, -YEAR_S], ids=["ahead", "back"])
def test_a_clock_that_jumps_while_a_group_is_made_costs_at_most_an_error(tmp_path, monkeypatch, jump) -> None:
    # Seen from another process after a jump ahead, the folder that is being made looks abandoned, and is swept away.
    root = tmp_path / "cache"
    move = groups._move_into_place

    def jump_and_sweep(temporary: Path, path: Path) -> None:
        now = time.time()
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: now + jump)
            groups.sweep_leftovers(root, path)
        move(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(groups, "_move_into_place", jump_and_sweep)
        if jump > 0:
            with pytest.raises(CacheError, match="cannot write embeddings"):
                store(root).put(PLANE, DIGEST, EMBEDDING)
        else:
            store(root).put(PLANE, DIGEST, EMBEDDING)
    store(root).put(PLANE, DIGEST, EMBEDDING)
    assert np.array_equal(store(root).get(PLANE, DIGEST), EMBEDDING)
    assert [path.name for path in root.iterdir()] == [KEY.group_name(0)]


def test_a_damaged_slice_is_encoded_again_and_no_other(tmp_path, monkeypatch) -> None:
    model = load_weights("sam_test", "cpu")
    key = EmbeddingKey(model.spec, model.weights_sha256, MAPPING)
    encoded: list[bytes] = []
    encode = SliceEncoder.encode

    def counted(self, pixels):
        encoded.append(slice_digest(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(SliceEncoder, "encode", counted)

    def masks() -> list[np.ndarray]:
        service = SegmentationService(model, MAPPING, ZarrEmbeddingStore(tmp_path / "cache", key, SHAPE))
        return [
            service.segment(
                SegmentRequest(VOLUME[index], PromptSet(SlicePlane(0, index), box=BoxPrompt(5, 5, 38, 48)))
            ).mask
            for index in range(3)
        ]

    before = masks()
    assert len(encoded) == 3
    (chunk,) = tmp_path.rglob("embeddings/c.1.0.0.0")
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    after = masks()
    assert encoded[3:] == [DIGEST]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    masks()
    assert len(encoded) == 4
