"""Embedding and prompts to masks. Holds no state between calls, so any thread may ask about any slice.

With the same weights, embedding and prompts the results are those of `segment_anything.SamPredictor.predict`;
shape suffixes: P prompts (objects), M masks an object, H/W slice pixels, h/w low-res pixels, N points, B = P.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medicosam.core.resize import SliceFrame
from napari_medicosam.errors import InputError
from napari_medicosam.models.fast_decoder import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.prompts import PromptSet
    from napari_medicosam.weights.loading import LoadedModel


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
            self._image_pe = model.sam.prompt_encoder.get_dense_pe()

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

        Objects whose prompts have the same layout share one decoder call; none is padded, so every object gets
        what it would get alone.
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
            features = self._tensor(
                embedding.features.astype(np.float32)
            )  # a copy: stored ones are read-only
            for (*_, three), numbers in layouts.items():
                same = [questions[number] for number in numbers]
                found = self._decode(features, embedding.original_size, same, three)
                answers.update(zip(numbers, found, strict=True))
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

    def _decode(
        self, features: torch.Tensor, size_yx: tuple[int, int], questions: list[Question], multimask: bool
    ) -> list[Prediction]:
        """One decoder call for prompts of one layout."""
        frame = SliceFrame(size_yx, self._spec.model_size)
        sparse, dense = self._sam.prompt_encoder(
            points=self._points(frame, questions),
            boxes=self._boxes(frame, questions),
            masks=self._masks(frame, questions),
        )
        has_mask = questions[0].prompts.mask is not None or questions[0].previous_logits is not None
        logits_PMhw, iou_PM = decode(
            self._sam.mask_decoder,
            features,
            self._image_pe,
            sparse,
            dense if has_mask else dense[:1],  # without mask prompts it is the same for all objects
            multimask=multimask,
        )
        logits_PMHW = self._sam.postprocess_masks(logits_PMhw, frame.resized_size, size_yx)
        masks_PMHW = (logits_PMHW > self._sam.mask_threshold).cpu().numpy()
        low_res_PMhw = logits_PMhw.cpu().numpy()
        iou = iou_PM.cpu().numpy()
        return [Prediction(masks_PMHW[p], iou[p], low_res_PMhw[p]) for p in range(len(questions))]

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
