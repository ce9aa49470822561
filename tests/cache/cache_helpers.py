"""Shared by the cache tests and by the processes that they start and kill."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.cache.keys import EmbeddingKey, slice_digest
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import IntensityMapping
from napari_medicosam.models.specs import get_spec

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (6, 5, 4)
WINDOW = IntensityMapping("window", -160.0, 240.0, "ct-soft-tissue")


def make_key(dtype: str = "float16", grid_size: int = 4) -> EmbeddingKey:
    spec = replace(get_spec("sam_test"), grid_size=grid_size)
    return EmbeddingKey(spec, "ab" * 32, WINDOW, dtype)


def volume(seed: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1000, 1000, shape, dtype=np.int16)


def encode(image_slice: NDArray[np.int16], key: EmbeddingKey) -> NDArray[np.float32]:
    """Stands for an image encoder: depends on every pixel, always gives the same."""
    seed = int.from_bytes(slice_digest(image_slice), "little")
    return np.random.default_rng(seed).standard_normal(key.spec.embedding_shape, dtype=np.float32)


def cases(seed: int, key: EmbeddingKey, axis: int = 0, shape: tuple[int, int, int] = SHAPE):
    """(plane, digest, embedding as stored) of every slice of a volume."""
    array = volume(seed, shape)
    for index in range(shape[axis]):
        plane = SlicePlane(axis, index)
        pixels = plane.cut(array)
        yield plane, slice_digest(pixels), key.prepare(encode(pixels, key))
