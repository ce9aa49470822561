"""What the widget and the command ask: a request in, a result out. Encodes what was never encoded before.

Where the `ZoomRule` says so, a small object is looked at in a view of the slice, which is encoded as an image of its
own.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.cache.keys import RecentDigests, same_pixels, slice_digest
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.core.resize import MASK_PROMPT_LOGIT
from napari_medicosam.core.results import Candidate, Region, SegmentRequest, SegmentResult, frozen_array
from napari_medicosam.core.views import logits_between_views, mask_in_slice, prompts_in_view
from napari_medicosam.errors import InputError
from napari_medicosam.predict.encoder import SliceEncoder
from napari_medicosam.predict.predictor import Embedding, Prediction, Predictor, Question
from napari_medicosam.predict.zoom import DEFAULT_ZOOM, ZoomRule, bounds_of_found, choose_view, object_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medicosam.cache.store import EmbeddingStore
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.intensity import IntensityMapping
    from napari_medicosam.models.encoder_runtimes import EncoderRuntime
    from napari_medicosam.weights.loading import LoadedModel

VIEW_BYTES = 1 << 28
"""Memory for the embeddings of views of one service: 128 of the light models."""

NEARBY_SHARE = 0.5
"""Of what the model thinks of its mask from points and the box of a slice beside: below it points alone have failed. It
always thinks better of a mask from a box, so the box must not win by a little (docs/tuning.md)."""

NEARBY_GROWTH = 1.5
"""Of the area of that box: an object does not grow by more from slice to slice; a larger mask is of something else."""

MAX_BATCH = 16
"""Objects that share a decoder call: upscaled to the model's size, each mask takes 4 MB on its way."""

ENCODE_BATCH = 8
"""Slices that share an encoder call on GPUs; processors are full with one."""


class SegmentationService:
    """One model, one intensity mapping, one embedding store; may be called from any thread.

    Args:
        model: from `load_weights`.
        mapping: for all slices (`resolve_intensity`), and for views of them.
        store: made for the same model and mapping (`EmbeddingKey`). Holds whole slices only: on disk one slice has
            one embedding. Those of views stay in memory, as long as the service lives.
        zoom: which objects are looked at in a view, and in which.
        runtime: that encodes (`open_runtime`), of the precision of the store's key; None takes torch's.
    """

    def __init__(
        self,
        model: LoadedModel,
        mapping: IntensityMapping,
        store: EmbeddingStore,
        zoom: ZoomRule = DEFAULT_ZOOM,
        runtime: EncoderRuntime | None = None,
    ) -> None:
        self.model = model
        self.mapping = mapping
        self.zoom = zoom
        self._store = store
        self._views = MemoryEmbeddingStore(VIEW_BYTES)
        self._encoder = SliceEncoder(model, mapping, runtime)
        self._predictor = Predictor(model)
        self.encode_batch = 1 if model.sam.device.type == "cpu" else ENCODE_BATCH
        self._encoding = threading.Lock()
        self._digests = RecentDigests()

    @property
    def runtime(self) -> str:
        """Name of what encodes."""
        return self._encoder.runtime.name

    def segment(self, request: SegmentRequest) -> SegmentResult:
        """The mask that the request's prompts stand for.

        A request that only says "not here" (`PromptSet.is_stop`) gets an empty mask without asking the model. One
        with nothing but points, which say little about the object's size, is first asked on the whole slice, and
        again in a view of what was found there when that is small; of the two answers the one counts of which the
        model thinks better, as a view around the wrong thing shows nothing of the right one. Where the object is known
        on a slice beside (`SegmentRequest.nearby_box`) and the model thinks little of what points find, or that is far
        larger than the box, the box helps.
        """
        return self.segment_many([request])[0]

    def segment_many(self, requests: Sequence[SegmentRequest]) -> list[SegmentResult]:
        """The answers of `segment` to requests on one slice, in the order asked.

        The slice is embedded once, and all that are asked on the whole of it, or in one view of it, share decoder
        calls (`Predictor.predict_batch`); where another view of it is wanted, that is looked at for itself.

        Raises:
            InputError: for requests on different slices.
        """
        _check_one_slice(requests)
        found = self._answers(requests)
        numbers, boxed = [], []
        for number, request in enumerate(requests):
            with_box = _with_nearby_box(request)
            if with_box is not None:
                numbers.append(number)
                boxed.append(with_box)
        for number, other in zip(numbers, self._answers(boxed), strict=True):
            if not other.region.is_empty and _is_vague(found[number], other):
                found[number] = other
        return found

    def _answers(self, requests: Sequence[SegmentRequest]) -> list[SegmentResult]:
        firsts = {n: self._first_look(r) for n, r in enumerate(requests) if not r.prompts.is_stop}
        found = self._see(requests, firsts)
        seconds = {
            number: look
            for number, result in found.items()
            if (look := self._second_look(requests[number], firsts[number], result)) is not None
        }
        for number, second in self._see(requests, seconds).items():
            if not second.region.is_empty and second.iou_prediction >= found[number].iou_prediction:
                found[number] = second
        return [found.get(number) or self._nothing(request) for number, request in enumerate(requests)]

    def embed(self, plane: SlicePlane, image_slice: NDArray[Any]) -> Embedding:
        """The slice's embedding: from the store, else encoded and stored.

        What is returned has been rounded as the store rounds either way, so that a mask does not change when its
        embedding is read back tomorrow.
        """
        return self._embed(plane, image_slice, slice_digest(image_slice))

    def _embed(self, plane: SlicePlane, image_slice: NDArray[Any], digest: bytes) -> Embedding:
        features = self._store.get(plane, digest)
        if features is None:
            with self._encoding:  # a second thread that wants the same slice waits, and then finds it
                features = self._store.get(plane, digest)
                if features is None:
                    features = self._store.put(plane, digest, self._encoder.encode(image_slice))
        return Embedding(features, (image_slice.shape[0], image_slice.shape[1]))

    def embed_many(self, planes: Sequence[SlicePlane], image_slices: Sequence[NDArray[Any]]) -> None:
        """Store the embeddings of slices, those that are missing in one call of the encoder.

        As many as `encode_batch` at a time are worth their memory.
        """
        digests = [slice_digest(one) for one in image_slices]
        with self._encoding:
            missing = [
                n
                for n, (plane, digest) in enumerate(zip(planes, digests, strict=True))
                if not self._store.has(plane, digest)
            ]
            if missing:
                found = self._encoder.encode_batch([image_slices[n] for n in missing])
                for n, features in zip(missing, found, strict=True):
                    self._store.put(planes[n], digests[n], features)

    def fetch_ahead(self, plane: SlicePlane, image_slice: NDArray[Any]) -> None:
        """Have the slice's embedding at hand while another slice is decoded, from a thread beside the one that does.

        On a processor it is only read from the store, as encoding would take the cores that decode.
        """
        if self.model.sam.device.type == "cpu":
            self._store.get(plane, self._digests.of(frozen_array(image_slice)))
        else:
            self.embed(plane, image_slice)

    def is_embedded(self, plane: SlicePlane, image_slice: NDArray[Any]) -> bool:
        """True when asking about this slice will not have to encode it."""
        return self._store.has(plane, slice_digest(image_slice))

    def features(
        self, plane: SlicePlane, image_slice: NDArray[Any], view: Region | None = None
    ) -> NDArray[np.floating]:
        """The embedding (channels, h, w) of a slice, or of a view of it; what was encoded lately is not again."""
        seen = (
            self.embed(plane, image_slice) if view is None else self._embed_view(image_slice[view.slices_yx])
        )
        return seen.features

    def view_of(self, mask: NDArray[np.bool_]) -> Region | None:
        """In which an object of this mask (rows, columns), not empty, is looked at; None for the whole slice."""
        return choose_view(self.zoom, Region.of_mask(mask), (), (mask.shape[0], mask.shape[1]))

    def _first_look(self, request: SegmentRequest) -> _Look:
        view, logits = request.previous_view, request.previous_logits
        if self.zoom.policy == "never":
            return _Look(None, logits, view, is_last=True)
        size_yx = _size_yx(request)
        bounds = object_bounds(request.prompts, size_yx, logits, view)
        if bounds is None:
            return _Look(None, logits, view, is_last=False)
        wanted = choose_view(self.zoom, bounds, request.prompts.points, size_yx, view)
        return _Look(wanted, logits, view, is_last=True)

    def _second_look(self, request: SegmentRequest, look: _Look, first: SegmentResult) -> _Look | None:
        """In a view of what was found by points alone; None where that is not small, or nothing."""
        if look.is_last:
            return None
        points, size_yx = request.prompts.points, _size_yx(request)
        found = bounds_of_found(first.mask, points)
        wanted = found and choose_view(self.zoom, found, points, size_yx, look.logits_view)
        if wanted is None:
            return None
        if self.zoom.reuse_first_mask:
            return _Look(wanted, first.low_res_logits, None, is_last=True)
        return _Look(wanted, look.logits, look.logits_view, is_last=True)

    def _see(
        self, requests: Sequence[SegmentRequest], looks: Mapping[int, _Look]
    ) -> dict[int, SegmentResult]:
        """What is found by looks at one slice, by the numbers of their requests."""
        of_view: dict[Region | None, list[int]] = defaultdict(list)
        for number, look in looks.items():
            of_view[look.view].append(number)
        results: dict[int, SegmentResult] = {}
        for view, numbers in of_view.items():
            request = requests[numbers[0]]
            if view is None:
                digest = self._digests.of(request.image_slice)
                embedding = self._embed(request.plane, request.image_slice, digest)
            else:
                embedding = self._embed_view(request.image_slice[view.slices_yx])
            for start in range(0, len(numbers), MAX_BATCH):
                few = numbers[start : start + MAX_BATCH]
                questions = [_question(requests[number], looks[number]) for number in few]
                predictions = self._predictor.predict_batch(embedding, questions)
                for number, prediction in zip(few, predictions, strict=True):
                    results[number] = _result(requests[number], view, self.mapping, prediction)
        return results

    def _embed_view(self, pixels: NDArray[Any]) -> Embedding:
        """The embedding of a view, from memory, else encoded; in the dtype of those that are read from the store."""
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


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """How a request is asked.

    Attributes:
        view: the part of its slice that is shown; None for all of it.
        logits: low-res logits that are fed back, if any.
        logits_view: what they cover.
        is_last: no second look follows, in a view of what this one finds.
    """

    view: Region | None
    logits: NDArray[np.float32] | None
    logits_view: Region | None
    is_last: bool


def _check_one_slice(requests: Sequence[SegmentRequest]) -> None:
    if len(requests) < 2:
        return
    planes = {request.plane for request in requests}
    if len(planes) > 1:
        raise InputError(f"requests must be on one slice to be asked together, got {planes}")
    first, *others = (request.image_slice for request in requests)
    if not all(same_pixels(first, other) for other in others):
        raise InputError(f"requests to be asked together must have the same pixels of {requests[0].plane}")


def _with_nearby_box(request: SegmentRequest) -> SegmentRequest | None:
    """The same question with the box of a slice beside; None where more is known than points."""
    prompts, box = request.prompts, request.nearby_box
    is_vague = not (
        prompts.is_stop or prompts.box or prompts.mask is not None or request.previous_logits is not None
    )
    if box is None or not is_vague:
        return None
    return replace(request, prompts=replace(prompts, box=box), nearby_box=None)


def _is_vague(found: SegmentResult, other: SegmentResult) -> bool:
    """Whether the answer to points alone counts for less than the one that was asked with the box of a slice beside."""
    box = other.asked_box
    is_doubted = found.iou_prediction < NEARBY_SHARE * other.iou_prediction
    is_too_large = box is not None and int(np.count_nonzero(found.mask)) > NEARBY_GROWTH * box.area
    return is_doubted or is_too_large


def _size_yx(request: SegmentRequest) -> tuple[int, int]:
    return request.image_slice.shape[0], request.image_slice.shape[1]


def _question(request: SegmentRequest, look: _Look) -> Question:
    logits, view = look.logits, look.view
    if logits is not None:
        logits = logits_between_views(logits, look.logits_view, view, _size_yx(request))
    return Question(request.prompts if view is None else prompts_in_view(request.prompts, view), logits)


def _result(
    request: SegmentRequest, view: Region | None, mapping: IntensityMapping, prediction: Prediction
) -> SegmentResult:
    found = [
        Candidate(
            frozen_array(_mask_in_slice(request, view, mapping, mask, low_res_logits)),
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
        asked_box=request.prompts.box,
        view=view,
        candidates=tuple(by_size) if len(found) > 1 else (),
    )


def _mask_in_slice(
    request: SegmentRequest,
    view: Region | None,
    mapping: IntensityMapping,
    mask: NDArray[np.bool_],
    low_res_logits: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """A mask (rows, columns) of the slice, from one of the view."""
    if request.appearance is not None:
        return request.appearance.mask_of(low_res_logits, view, request.image_slice, mapping)
    return mask if view is None else mask_in_slice(mask, view, _size_yx(request))
