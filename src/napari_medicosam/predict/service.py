"""What the widget and the command ask: a request in, a result out. Encodes what was never encoded before.

Where the `ZoomRule` says so, a small object is looked at in a view of the slice, which is encoded as an image of its
own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.cache.keys import slice_digest
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.core.resize import MASK_PROMPT_LOGIT
from napari_medicosam.core.results import Candidate, Region, SegmentRequest, SegmentResult, frozen_array
from napari_medicosam.core.views import logits_between_views, mask_in_slice, prompts_in_view
from napari_medicosam.errors import InputError
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.predictor import Embedding, Predictor
from napari_medicosam.predict.zoom import DEFAULT_ZOOM, ZoomRule, bounds_of_found, choose_view, object_bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.weights.loading import LoadedModel

VIEW_BYTES = 1 << 28
"""Memory for the embeddings of views of one service: 128 of the light models."""


class SegmentationService:
    """One model, one intensity mapping, one embedding store; may be called from any thread.

    Args:
        model: from `load_weights`.
        mapping: for all slices (`resolve_intensity`), and for views of them.
        store: made for the same model and mapping (`EmbeddingKey`). Holds whole slices only: on disk one slice has
            one embedding. Those of views stay in memory, as long as the service lives.
        zoom: which objects are looked at in a view, and in which.
    """

    def __init__(
        self,
        model: LoadedModel,
        mapping: IntensityMapping,
        store: EmbeddingStore,
        zoom: ZoomRule = DEFAULT_ZOOM,
    ) -> None:
        self.model = model
        self.mapping = mapping
        self.zoom = zoom
        self._store = store
        self._views = MemoryEmbeddingStore(VIEW_BYTES)
        self._encoder = SliceEncoder(model, mapping)
        self._predictor = Predictor(model)
        self._encoding = threading.Lock()

    def segment(self, request: SegmentRequest) -> SegmentResult:
        """The mask that the request's prompts stand for.

        A request that only says "not here" (`PromptSet.is_stop`) gets an empty mask without asking the model. One
        with nothing but points, which say little about the object's size, is first asked on the whole slice, and
        again in a view of what was found there when that is small; of the two answers the one counts of which the
        model thinks better, as a view around the wrong thing shows nothing of the right one.
        """
        prompts, view, logits = request.prompts, request.previous_view, request.previous_logits
        if prompts.is_stop:
            return self._nothing(request)
        size_yx = (request.image_slice.shape[0], request.image_slice.shape[1])
        if self.zoom.policy == "never":
            return self._look(request, None, logits, view)
        bounds = object_bounds(prompts, size_yx, logits, view)
        if bounds is not None:
            wanted = choose_view(self.zoom, bounds, prompts.points, size_yx, view)
            return self._look(request, wanted, logits, view)
        first = self._look(request, None, logits, view)
        found = bounds_of_found(first.mask, prompts.points)
        wanted = found and choose_view(self.zoom, found, prompts.points, size_yx, view)
        if wanted is None:
            return first
        if self.zoom.reuse_first_mask:
            logits, view = first.low_res_logits, None
        second = self._look(request, wanted, logits, view)
        if second.region.is_empty or second.iou_prediction < first.iou_prediction:
            return first
        return second

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

    def _look(
        self,
        request: SegmentRequest,
        view: Region | None,
        logits: NDArray[np.float32] | None,
        logits_view: Region | None,
    ) -> SegmentResult:
        """Ask in a view of the slice (None: on all of it), with low-res logits of the same or of another view."""
        size_yx = (request.image_slice.shape[0], request.image_slice.shape[1])
        if logits is not None:
            logits = logits_between_views(logits, logits_view, view, size_yx)
        if view is None:
            embedding, prompts = self.embed(request.plane, request.image_slice), request.prompts
        else:
            embedding = self._embed_view(request.image_slice[view.slices_yx])
            prompts = prompts_in_view(request.prompts, view)
        prediction = self._predictor.predict(embedding, prompts, logits)
        found = [
            Candidate(
                frozen_array(mask if view is None else mask_in_slice(mask, view, size_yx)),
                float(iou_prediction),
                frozen_array(low_res_logits),
            )
            for mask, iou_prediction, low_res_logits in zip(
                prediction.masks, prediction.iou_predictions, prediction.low_res_logits, strict=True
            )
        ]
        best = found[prediction.best]
        by_size = sorted(found, key=lambda one: -int(np.count_nonzero(one.mask)))
        return SegmentResult(
            plane=request.plane,
            mask=best.mask,
            region=Region.of_mask(best.mask),
            iou_prediction=best.iou_prediction,
            low_res_logits=best.low_res_logits,
            object_id=request.object_id,
            generation=request.generation,
            view=view,
            candidates=tuple(by_size) if len(found) > 1 else (),
        )

    def _embed_view(self, pixels: NDArray[Any]) -> Embedding:
        """The embedding of a view, from memory, else encoded; rounded as one of a whole slice."""
        digest = slice_digest(pixels)
        features = self._views.find("", digest)
        if features is None:
            with self._encoding:
                features = self._views.find("", digest)
                if features is None:
                    features = frozen_array(self._encoder.encode(pixels), self._store.dtype)
                    if not np.isfinite(features).all():
                        raise InputError(
                            f"the embedding of a view holds values not finite in {features.dtype}"
                        )
                    self._views.keep("", digest, features)
        return Embedding(features, (pixels.shape[0], pixels.shape[1]))

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
