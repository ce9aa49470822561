"""Views to embeddings: with gradients where the encoder learns, from a store where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from napari_medicosam.cache.keys import EmbeddingKey, slice_digest
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import IntensityMapping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from segment_anything.modeling import Sam
    from torch import Tensor

    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.training.batches import Draw
    from napari_medicosam.training.views import TrainingView
    from napari_medicosam.weights.loading import LoadedModel


class Encoding(Protocol):
    """How a micro-batch of images becomes embeddings."""

    def encode(self, draws: Sequence[Draw], views: Sequence[TrainingView]) -> Tensor:
        """Embeddings (B, C, h, w) float32; they require grad when the encoder learns."""


class LearningEncoder:
    """Runs the encoder each time, with gradients for its trainable parameters."""

    def __init__(self, sam: Sam, autocast: Callable[[], AbstractContextManager[object]]) -> None:
        self._sam = sam
        self._autocast = autocast

    def encode(self, draws: Sequence[Draw], views: Sequence[TrainingView]) -> Tensor:
        """Embeddings (B, C, h, w) with a graph behind them."""
        with self._autocast():
            embeddings: Tensor = self._sam.image_encoder(_model_input(self._sam, views))
        return embeddings.float()


class FrozenEncoder:
    """Encodes each version of an image once and reads it from the store from then on.

    Args:
        sam: the model; its encoder does not change.
        store: one "slice" for each version of each image: see `version_key`.
        variants: versions an image has.
        autocast: gives the context for forward passes.
    """

    def __init__(
        self,
        sam: Sam,
        store: EmbeddingStore,
        variants: int,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._sam = sam
        self._store = store
        self._variants = variants
        self._autocast = autocast

    def encode(self, draws: Sequence[Draw], views: Sequence[TrainingView]) -> Tensor:
        """Embeddings (B, C, h, w) without gradient, rounded to the store's dtype whether stored or new."""
        embeddings = [self._one(draw, view) for draw, view in zip(draws, views, strict=True)]
        return torch.from_numpy(np.stack(embeddings).astype(np.float32)).to(self._sam.device)

    def _one(self, draw: Draw, view: TrainingView) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
        plane = SlicePlane(0, draw.sample * self._variants + draw.variant)
        pixels = np.ascontiguousarray(view.image.numpy().transpose(1, 2, 0))
        digest = slice_digest(pixels)
        features = self._store.get(plane, digest)
        if features is None:
            with torch.no_grad(), self._autocast():
                embedding = self._sam.image_encoder(_model_input(self._sam, [view]))[0]
            features = embedding.float().cpu().numpy().astype(self._store.dtype)
            self._store.put(plane, digest, features)
        return features


def _model_input(sam: Sam, views: Sequence[TrainingView]) -> Tensor:
    """(B, 3, S, S) float32, normalized, then padded with 0 below and right."""
    return torch.stack([sam.preprocess(view.image.to(sam.device)) for view in views])


def version_key(model: LoadedModel) -> EmbeddingKey:
    """Of embeddings of 0..255 views: the same store, key and digests as inference uses."""
    return EmbeddingKey(model.spec, model.weights_sha256, IntensityMapping("identity"))
