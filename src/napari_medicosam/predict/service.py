"""What the widget and the command ask: a request in, a result out. Encodes what was never encoded before."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.cache.keys import slice_digest
from napari_medicosam.core.resize import MASK_PROMPT_LOGIT
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult, frozen_array
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.predictor import Embedding, Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.predict.predictor import Prediction
    from napari_medicosam.weights.loading import LoadedModel


class SegmentationService:
    """One model, one intensity mapping, one embedding store; may be called from any thread.

    Args:
        model: from `load_weights`.
        mapping: for all slices (`resolve_intensity`).
        store: made for the same model and mapping (`EmbeddingKey`).
    """

    def __init__(self, model: LoadedModel, mapping: IntensityMapping, store: EmbeddingStore) -> None:
        self.model = model
        self.mapping = mapping
        self._store = store
        self._encoder = SliceEncoder(model, mapping)
        self._predictor = Predictor(model)
        self._encoding = threading.Lock()

    def segment(self, request: SegmentRequest) -> SegmentResult:
        """The mask that the request's prompts stand for.

        A request that only says "not here" (`PromptSet.is_stop`) gets an empty mask without asking the model.
        """
        if request.prompts.is_stop:
            return self._nothing(request)
        embedding = self.embed(request.plane, request.image_slice)
        prediction = self._predictor.predict(embedding, request.prompts, request.previous_logits)
        return _result(request, prediction)

    def embed(self, plane: SlicePlane, image_slice: NDArray[Any]) -> Embedding:
        """The slice's embedding: from the store, else encoded and stored.

        What is returned has been rounded to the store's dtype either way, so that a mask does not change when
        its embedding is read back tomorrow.
        """
        size_yx = (image_slice.shape[0], image_slice.shape[1])
        digest = slice_digest(image_slice)
        features = self._store.get(plane, digest)
        if features is None:
            with self._encoding:  # a second thread that wants the same slice waits, and then finds it
                features = self._store.get(plane, digest)
                if features is None:
                    features = self._encoder.encode(image_slice).astype(self._store.dtype)
                    self._store.put(plane, digest, features)
        return Embedding(features, size_yx)

    def is_embedded(self, plane: SlicePlane, image_slice: NDArray[Any]) -> bool:
        """True when asking about this slice will not have to encode it."""
        return self._store.has(plane, slice_digest(image_slice))

    def _nothing(self, request: SegmentRequest) -> SegmentResult:
        side = self.model.spec.low_res_size
        return SegmentResult(
            plane=request.plane,
            mask=frozen_array(np.zeros(request.image_slice.shape[:2], dtype=bool)),
            region=Region(0, 0, 0, 0),
            iou_prediction=1.0,  # not the model's estimate: the user said so
            low_res_logits=frozen_array(np.full((side, side), -MASK_PROMPT_LOGIT, dtype=np.float32)),
            object_id=request.object_id,
            generation=request.generation,
        )


def _result(request: SegmentRequest, prediction: Prediction) -> SegmentResult:
    mask = frozen_array(prediction.masks[prediction.best])
    return SegmentResult(
        plane=request.plane,
        mask=mask,
        region=Region.of_mask(mask),
        iou_prediction=float(prediction.iou_predictions[prediction.best]),
        low_res_logits=frozen_array(prediction.low_res_logits[prediction.best]),
        object_id=request.object_id,
        generation=request.generation,
    )
