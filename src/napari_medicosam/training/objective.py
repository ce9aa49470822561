"""Algorithm 1 of the MedicoSAM paper (section II-A): objects, simulated clicks and corrections, losses.

Shape suffixes: B images, P objects of one decoder call, M masks an object, N points, C channels, h/w token grid of
embeddings or the decoder's low-res grid, F/f rows and columns of the image without padding.

Prompts are drawn from masks, not from gradients, and logits that are fed back as a mask prompt are detached. So the
losses of all objects and rounds are separate terms of one sum, and each is differentiated as soon as it is known: the
gradient is that of the average over all terms (line 34), while memory holds one decoder call and not all of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from napari_medicosam.models.fast_decoder import decode
from napari_medicosam.training.losses import soft_dice_loss
from napari_medicosam.training.trajectories import draws_mask_for_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from segment_anything.modeling import Sam
    from torch import Tensor

    from napari_medicosam.training.config import ObjectiveConfig
    from napari_medicosam.training.trajectories import Trajectory


@dataclass(slots=True)
class LossSums:
    """Sums over objects for each round, for the log.

    Attributes:
        mask, iou: float64 (rounds,), sums of the two losses.
        dice: float64 (rounds,), sum of the Dice of the thresholded mask that is corrected next.
        count: objects.
    """

    num_rounds: int
    count: int = 0
    mask: NDArray[np.float64] = field(init=False)
    iou: NDArray[np.float64] = field(init=False)
    dice: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.mask, self.iou, self.dice = (np.zeros(self.num_rounds) for _ in range(3))

    def add(self, other: LossSums) -> None:
        """Take in another image's sums."""
        self.count += other.count
        self.mask += other.mask
        self.iou += other.iou
        self.dice += other.dice

    def as_array(self) -> NDArray[np.float64]:
        """One vector, to be summed over processes."""
        return np.concatenate([self.mask, self.iou, self.dice, [self.count]])


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """One decoder call: logits (P, M, F, f) at the input size, IoU predictions (P, M), low-res logits (P, M, h, w)."""

    logits: Tensor
    iou_predictions: Tensor
    low_res: Tensor


class InteractiveObjective:
    """Lines 5-29 and 34 for one image at a time.

    Args:
        sam: the model that learns.
        config: objects, rounds, probabilities, weights.
        seed: of the run.
        dtype: of the decoder's activations; losses are float32.
    """

    def __init__(
        self,
        sam: Sam,
        config: ObjectiveConfig,
        seed: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.num_rounds = config.num_corrections + 1
        self._sam = sam
        self._config = config
        self._seed = seed
        self._dtype = dtype

    def run(
        self,
        embedding_Chw: Tensor,
        trajectories: Sequence[Trajectory],
        step: int,
        backward: Callable[[Tensor], None],
    ) -> LossSums:
        """All rounds of an image's objects; `backward` gets the summed loss of each decoder call.

        Args:
            embedding_Chw: of the image; a leaf that requires grad when the encoder learns.
            trajectories: its objects, started.
            step: number of the optimizer step (the reference variant draws by it).
            backward: differentiates a scalar; the caller scales it to the average over the whole step.
        """
        sums = LossSums(self.num_rounds, len(trajectories))
        reference_mask = self._config.variant == "reference" and draws_mask_for_step(
            step, self._config, self._seed
        )
        if reference_mask:  # the published code hands an all-zero mask prompt to the first round
            side = 4 * embedding_Chw.shape[-1]
            for trajectory in trajectories:
                trajectory.mask_prompt = embedding_Chw.new_zeros((side, side), dtype=torch.float32)
        for number in range(self.num_rounds):
            for group in self._groups(trajectories):
                answer = self._ask(embedding_Chw, group, number)
                backward(self._score(answer, group, number, sums))
                if number + 1 < self.num_rounds:
                    self._correct(answer, group, reference_mask)
        return sums

    def _groups(self, trajectories: Sequence[Trajectory]) -> list[list[Trajectory]]:
        """Objects whose prompts have one layout share a call. None is padded, as in inference: a padding token takes
        part in the decoder's attention, and there is none beside a box.
        """  # noqa: D205
        layouts: dict[tuple[int, bool, bool], list[Trajectory]] = defaultdict(list)
        for one in trajectories:
            layouts[len(one.points), one.box is not None, one.is_ambiguous].append(one)
        size = self._config.objects_per_call
        return [same[i : i + size] for same in layouts.values() for i in range(0, len(same), size)]

    def _ask(self, embedding_Chw: Tensor, group: list[Trajectory], number: int) -> _Answer:
        """Lines 12-17: prompt encoder and mask decoder."""
        encoder = self._sam.prompt_encoder
        device = embedding_Chw.device
        points, boxes = self._points(group, device), self._boxes(group, device)
        sparse_PNC, dense_PChw = encoder(points=points, boxes=boxes, masks=None)
        with_mask = [one.mask_prompt is not None for one in group]
        if any(with_mask):
            fed_back = torch.stack([one.mask_prompt for one in group if one.mask_prompt is not None])
            rows = torch.tensor(with_mask, device=device).nonzero().flatten()
            _, of_masks = encoder(points=None, boxes=None, masks=fed_back[:, None])
            dense_PChw = dense_PChw.to(of_masks.dtype).index_copy(0, rows, of_masks)
        if number > 0 and self._config.prompt_encoder_gradient == "start":
            sparse_PNC, dense_PChw = sparse_PNC.detach(), dense_PChw.detach()
        low_res_PMhw, iou_PM = decode(
            self._sam.mask_decoder,
            embedding_Chw,
            encoder.get_dense_pe(),
            sparse_PNC,
            dense_PChw if any(with_mask) else dense_PChw[:1],
            multimask=group[0].is_ambiguous,
            dtype=self._dtype,
        )
        logits, side = low_res_PMhw, self._sam.image_encoder.img_size
        if logits.shape[-1] != side:
            logits = functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
        rows_columns = group[0].truth.shape
        return _Answer(logits[..., : rows_columns[0], : rows_columns[1]], iou_PM, low_res_PMhw)

    def _score(self, answer: _Answer, group: list[Trajectory], number: int, sums: LossSums) -> Tensor:
        """Lines 18-21: the summed loss of a call.

        Of three masks the one with the lowest loss gives the mask gradient; the IoU loss is the mean over all masks.
        """
        truth = torch.from_numpy(np.stack([one.truth for one in group])).to(answer.logits.device)
        target = truth[:, None].float()
        mask_loss_PM = soft_dice_loss(answer.logits, target)
        if self._config.bce_weight:
            pixelwise = functional.binary_cross_entropy_with_logits(
                answer.logits, target.expand_as(answer.logits), reduction="none"
            )
            mask_loss_PM = mask_loss_PM + self._config.bce_weight * pixelwise.mean(dim=(-2, -1))
        iou_PM, dice_PM = _overlap(answer.logits.detach() > 0, truth[:, None])
        iou_loss = functional.mse_loss(answer.iou_predictions, iou_PM, reduction="none").mean(dim=1)
        mask_loss = mask_loss_PM.min(dim=1).values
        chosen = answer.iou_predictions.argmax(dim=1, keepdim=True)
        sums.mask[number] += float(mask_loss.detach().sum())
        sums.iou[number] += float(iou_loss.detach().sum())
        sums.dice[number] += float(dice_PM.gather(1, chosen).sum())
        return (mask_loss + self._config.iou_weight * iou_loss).sum()

    def _correct(self, answer: _Answer, group: list[Trajectory], reference_mask: bool) -> None:
        """Lines 15 and 23-28: the mask with the highest predicted IoU is corrected."""
        chosen = answer.iou_predictions.detach().argmax(dim=1).tolist()
        logits = answer.logits.detach()
        masks = (torch.stack([logits[p, m] for p, m in enumerate(chosen)]) > 0).cpu().numpy()
        for p, (one, mask) in enumerate(zip(group, masks, strict=True)):
            one.correct(mask, self._config)
            if self._config.variant == "reference":
                again = reference_mask
            else:
                again = bool(one.rng.random() < self._config.mask_probability)
            one.mask_prompt = answer.low_res[p, chosen[p]].detach() if again else None

    def _points(self, group: list[Trajectory], device: torch.device) -> tuple[Tensor, Tensor] | None:
        if not group[0].points:
            return None
        positions = np.array([[point.position_yx[::-1] for point in one.points] for one in group])
        labels = torch.tensor([[int(point.positive) for point in one.points] for one in group], device=device)
        return torch.as_tensor(positions, dtype=torch.float32, device=device), labels

    def _boxes(self, group: list[Trajectory], device: torch.device) -> Tensor | None:
        corners = [(box.x0, box.y0, box.x1, box.y1) for box in (one.box for one in group) if box is not None]
        return torch.tensor(corners, dtype=torch.float32, device=device) if corners else None


def _overlap(masks: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and Dice (P, M) of boolean (P, M, F, f) against (P, 1, F, f); truths are never empty."""
    shared = (masks & truth).sum(dim=(-2, -1)).float()
    total = masks.sum(dim=(-2, -1)).float() + truth.sum(dim=(-2, -1)).float()
    return shared / (total - shared), 2 * shared / total
