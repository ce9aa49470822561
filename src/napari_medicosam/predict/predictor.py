"""Embedding and prompts to masks. Any thread may ask about any slice: what is kept between calls changes no answer.

With the same weights, embedding and prompts the results are those of `segment_anything.SamPredictor.predict`;
shape suffixes: P prompts (objects), M masks an object, h/w low-res pixels, N points, K image tokens, C channels.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medicosam.core.resize import SliceFrame
from napari_medicosam.errors import InputError
from napari_medicosam.models.fast_decoder import decode_tokens, mask_tokens, tokens_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.prompts import PromptSet
    from napari_medicosam.weights.loading import LoadedModel


RECENT = 4
"""Embeddings that are remembered as the decoder takes them, 4 MB each."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """One slice as the model sees it: features (C, h, w), float16 or float32, and the slice's size in pixels."""

    features: NDArray[np.floating]
    original_size: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Prompts for one object, with the low-res logits (h, w) of its previous mask if they are to be fed back."""

    prompts: PromptSet
    previous_logits: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Masks for one object.

    Attributes:
        masks: bool (M, rows, columns); M is 1, or 3 candidates for an ambiguous prompt.
        iou_predictions: float32 (M,), the model's own estimates.
        low_res_logits: float32 (M, h, w).
    """

    masks: NDArray[np.bool_]
    iou_predictions: NDArray[np.float32]
    low_res_logits: NDArray[np.float32]

    @property
    def best(self) -> int:
        """Candidate with the highest predicted IoU."""
        return int(self.iou_predictions.argmax())


class Predictor:
    """The prompt encoder and mask decoder of one model."""

    def __init__(self, model: LoadedModel) -> None:
        self._sam = model.sam
        self._spec = model.spec
        with torch.inference_mode():
            self._pe_1KC = tokens_of(model.sam.prompt_encoder.get_dense_pe())
        self._recent: OrderedDict[int, tuple[weakref.ref[NDArray[np.floating]], torch.Tensor]] = OrderedDict()
        self._lock = threading.Lock()

    def predict(
        self,
        embedding: Embedding,
        prompts: PromptSet,
        previous_logits: NDArray[np.float32] | None = None,
        *,
        multimask: bool | None = None,
    ) -> Prediction:
        """Masks of one object.

        Args:
            embedding: of the slice that the prompts are on.
            prompts: at least one of point, box, mask.
            previous_logits: float32 (h, w), fed back as the mask prompt.
            multimask: three candidates or one; None asks for three when the prompt is a single positive point.

        Raises:
            InputError: for no prompts, prompts outside the slice, two mask prompts, or arrays of a wrong shape.
        """
        return self.predict_batch(embedding, [Question(prompts, previous_logits)], multimask=multimask)[0]

    def predict_batch(
        self, embedding: Embedding, questions: Sequence[Question], *, multimask: bool | None = None
    ) -> list[Prediction]:
        """Masks of several objects of one slice, in the order asked.

        On GPUs objects whose prompts have the same layout share one decoder call; none is padded, so every object gets
        what it would get alone. On processors, which are full with one, each has a call of its own.
        """
        if embedding.features.shape != self._spec.embedding_shape:
            raise InputError(
                f"embedding has shape {embedding.features.shape}, wanted {self._spec.embedding_shape} "
                f"for {self._spec.name}"
            )
        layouts: dict[tuple[int, bool, bool, bool], list[int]] = defaultdict(list)
        for number, question in enumerate(questions):
            self._check(question, embedding.original_size)
            prompts = question.prompts
            three = (
                prompts.is_ambiguous and question.previous_logits is None if multimask is None else multimask
            )
            has_mask = prompts.mask is not None or question.previous_logits is not None
            layouts[len(prompts.points), prompts.box is not None, has_mask, three].append(number)
        answers: dict[int, Prediction] = {}
        with torch.inference_mode():
            tokens_1KC = self._tokens(embedding.features)
            for (*_, three), numbers in layouts.items():
                step = 1 if _is_full_with_one(self._sam.device) else len(numbers)
                for start in range(0, len(numbers), step):
                    few = numbers[start : start + step]
                    same = [questions[number] for number in few]
                    found = self._decode(tokens_1KC, embedding.original_size, same, three)
                    answers.update(zip(few, found, strict=True))
        return [answers[number] for number in range(len(questions))]

    def _check(self, question: Question, size_yx: tuple[int, int]) -> None:
        question.prompts.check(size_yx)
        if question.previous_logits is None:
            return
        side = self._spec.low_res_size
        if question.prompts.mask is not None:
            raise InputError("got both a mask prompt and previous logits: SAM takes one mask prompt")
        if question.previous_logits.shape != (side, side):
            raise InputError(
                f"previous logits have shape {question.previous_logits.shape}, wanted {(side, side)}"
            )

    def _tokens(self, features: NDArray[np.floating]) -> torch.Tensor:
        """The embedding as the decoder takes it; of those asked about last it is still there."""
        with self._lock:
            found = self._recent.get(id(features))
            if found is not None and found[0]() is features:  # else another array, where an old one was
                self._recent.move_to_end(id(features))
                return found[1]
        # numpy makes the copy, as torch warns of arrays that are read-only
        tokens_1KC = tokens_of(self._tensor(features.astype(np.float32))[None])
        # what may change, itself or by an array that it is a view of, is not remembered: those of stores may not
        if not features.flags.writeable and features.base is None:
            with self._lock:
                self._recent[id(features)] = weakref.ref(features), tokens_1KC
                while len(self._recent) > RECENT:
                    self._recent.popitem(last=False)
        return tokens_1KC

    def _decode(
        self, tokens_1KC: torch.Tensor, size_yx: tuple[int, int], questions: list[Question], multimask: bool
    ) -> list[Prediction]:
        """One decoder call for prompts of one layout."""
        frame = SliceFrame(size_yx, self._spec.model_size)
        encoder = self._sam.prompt_encoder
        sparse, _ = encoder(
            points=self._points(frame, questions), boxes=self._boxes(frame, questions), masks=None
        )
        masks_P1hw = self._masks(frame, questions)
        if masks_P1hw is None:  # the same for all objects
            dense = encoder.no_mask_embed.weight
        else:
            dense = mask_tokens(encoder.mask_downscaling, masks_P1hw)
        logits_PMhw, iou_PM = decode_tokens(
            self._sam.mask_decoder,
            tokens_1KC + dense,
            self._pe_1KC,
            sparse.expand(len(questions), -1, -1),
            encoder.image_embedding_size,
            multimask=multimask,
        )
        iou, low_res_PMhw = iou_PM.cpu().numpy(), logits_PMhw.cpu().numpy()
        threshold = self._sam.mask_threshold
        return [
            Prediction(
                np.stack([frame.mask_of_logits(one, threshold) for one in low_res_Mhw]), iou[p], low_res_Mhw
            )
            for p, low_res_Mhw in enumerate(low_res_PMhw)
        ]

    def _points(
        self, frame: SliceFrame, questions: list[Question]
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        if not questions[0].prompts.points:
            return None
        coords_PN2 = np.stack([frame.points_xy(question.prompts.points) for question in questions])
        labels_PN = np.array([[int(p.positive) for p in question.prompts.points] for question in questions])
        return self._tensor(coords_PN2), torch.as_tensor(labels_PN, dtype=torch.int, device=self._sam.device)

    def _boxes(self, frame: SliceFrame, questions: list[Question]) -> torch.Tensor | None:
        boxes = [question.prompts.box for question in questions]
        corners_P4 = [frame.box_xyxy(box) for box in boxes if box is not None]
        return self._tensor(np.stack(corners_P4)) if corners_P4 else None

    def _masks(self, frame: SliceFrame, questions: list[Question]) -> torch.Tensor | None:
        masks = [self._mask_logits(frame, question) for question in questions]
        masks_Phw = [mask for mask in masks if mask is not None]
        return self._tensor(np.stack(masks_Phw)[:, None]) if masks_Phw else None

    def _mask_logits(self, frame: SliceFrame, question: Question) -> NDArray[np.float32] | None:
        if question.prompts.mask is not None:
            return frame.mask_logits(question.prompts.mask, self._spec.low_res_size)
        return question.previous_logits

    def _tensor(self, array: NDArray[np.floating]) -> torch.Tensor:
        return torch.as_tensor(array, dtype=torch.float, device=self._sam.device)


def _is_full_with_one(device: torch.device) -> bool:
    """Whether more objects in a decoder call would not be faster, but fall out of the caches."""
    return device.type == "cpu"
