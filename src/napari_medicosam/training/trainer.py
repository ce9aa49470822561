"""The training loop. `train` reads like the paper's text; what it is made of is below it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from napari_medicosam.errors import TrainingError
from napari_medicosam.models.frames import input_size
from napari_medicosam.training.batches import Places
from napari_medicosam.training.objective import InteractiveObjective, LossSums
from napari_medicosam.training.optimizer import learning_rate_factor, set_learning_rate
from napari_medicosam.training.trajectories import plan_trajectories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lightning.fabric import Fabric
    from segment_anything.modeling import Sam
    from torch import Tensor

    from napari_medicosam.training.batches import Draw, InputSides, ViewDataset
    from napari_medicosam.training.config import RunConfig
    from napari_medicosam.training.encoding import Encoding
    from napari_medicosam.training.semantic_objective import SemanticTerm
    from napari_medicosam.training.trajectories import Trajectory
    from napari_medicosam.training.views import TrainingView

    Item = tuple[Draw, TrainingView]


@dataclass(slots=True, eq=False)
class Learner:
    """Everything that a run changes or needs to change it.

    Attributes:
        sam: the model.
        optimizer: set up by Fabric.
        dataset: places to views.
        sides: the model's input size at each step.
        encoding: views to embeddings.
        objective: Algorithm 1 without its lines 30-33.
        semantic: its lines 30-33 (`SemanticTerm`), or None.
        names: of the samples, for messages.
        steps_per_epoch: steps that see as many images as there are.
    """

    sam: Sam
    optimizer: torch.optim.Optimizer
    dataset: ViewDataset
    sides: InputSides
    encoding: Encoding
    objective: InteractiveObjective
    semantic: SemanticTerm | None
    names: Sequence[str]
    steps_per_epoch: int


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one optimizer step did.

    Attributes:
        step: number, from 1: steps done.
        lr: of the decoder.
        gradient_norm: before clipping.
        objects: object trajectories over all processes.
        mask_loss, iou_loss, dice: mean for each round, start first; NaN without objects.
        semantic_loss: NaN without the semantic term.
    """

    step: int
    lr: float
    gradient_norm: float
    objects: int
    mask_loss: tuple[float, ...]
    iou_loss: tuple[float, ...]
    dice: tuple[float, ...]
    semantic_loss: float

    def as_row(self) -> dict[str, float]:
        """One line of a table; rounds become columns."""
        row: dict[str, float] = {
            "step": self.step,
            "lr": self.lr,
            "gradient_norm": self.gradient_norm,
            "objects": self.objects,
            "semantic_loss": self.semantic_loss,
        }
        for name in ("mask_loss", "iou_loss", "dice"):
            row |= {f"{name}_{number}": float(value) for number, value in enumerate(getattr(self, name))}
        return row


def train(
    fabric: Fabric,
    learner: Learner,
    config: RunConfig,
    first_step: int,
    after_step: Callable[[StepReport], bool],
) -> None:
    """Run optimizer steps from `first_step` to the config's last, or until `after_step` says stop.

    Args:
        fabric: launched; knows processes, device and precision.
        learner: is changed in place.
        config: the run.
        first_step: steps done before.
        after_step: logs, validates, saves; True goes on.

    Raises:
        TrainingError: for a loss or gradient that is not finite, before the step that would spoil the weights.
    """
    for step, items in zip(
        range(first_step, config.num_steps), _batches(fabric, learner, config, first_step), strict=False
    ):
        lr = set_learning_rate(learner.optimizer, learning_rate_factor(step, config, learner.steps_per_epoch))
        trajectories = plan_trajectories(
            [view for _, view in items],
            [draw.place for draw, _ in items],
            step,
            config.objective,
            config.seed,
        )
        num_objects = _over_processes(fabric, [sum(map(len, trajectories))])[0]
        sums, semantic = LossSums(learner.objective.num_rounds), 0.0
        size = config.micro_batch or len(items)
        micro = _MicroStep(fabric, learner, config, step, num_objects)
        with input_size(learner.sam, learner.sides.at_step(step)):
            for i in range(0, len(items), size):
                semantic += micro.run(items[i : i + size], trajectories[i : i + size], sums)
        norm = _reduced_gradient_norm(fabric, learner, config, items) if num_objects else 0.0
        if num_objects:
            learner.optimizer.step()
        learner.optimizer.zero_grad()
        if not after_step(_report(fabric, step + 1, lr, norm, sums, semantic, config)):
            return


def _batches(fabric: Fabric, learner: Learner, config: RunConfig, first_step: int) -> Iterator[list[Item]]:
    loader: DataLoader[Item] = DataLoader(
        learner.dataset,
        batch_sampler=Places(first_step, config.batch_size, fabric.global_rank, fabric.world_size),
        num_workers=config.data.num_workers,
        collate_fn=list,
        multiprocessing_context="spawn" if config.data.num_workers else None,
        persistent_workers=False,
    )
    return iter(loader)


@dataclass(frozen=True, slots=True, eq=False)
class _MicroStep:
    """Some images of a step: forward, and backward into the parameters' gradients."""

    fabric: Fabric
    learner: Learner
    config: RunConfig
    step: int
    num_objects: float

    def run(self, items: list[Item], trajectories: list[list[Trajectory]], sums: LossSums) -> float:
        """Add to gradients and sums; returns the semantic loss, already divided by the step's images."""
        learner = self.learner
        used = [n for n, planned in enumerate(trajectories) if planned]
        if not used:
            return 0.0
        draws, views = zip(*(items[n] for n in used), strict=True)
        embeddings = learner.encoding.encode(draws, views)
        leaf = embeddings.detach().requires_grad_(embeddings.requires_grad)
        for row, number in enumerate(used):
            backward = partial(self._backward, learner.names[draws[row].sample])
            sums.add(learner.objective.run(leaf[row], trajectories[number], self.step, backward))
        semantic = 0.0
        if learner.semantic is not None:
            names = ", ".join(learner.names[draw.sample] for draw in draws)
            semantic = self._semantic(learner.semantic, leaf, views, names)
        if leaf.requires_grad and leaf.grad is not None:
            embeddings.backward(leaf.grad)  # loss scaling, if any, is in the leaf's gradient already
        return semantic

    def _backward(self, name: str, loss: Tensor) -> None:
        self._check(name, loss)
        self.fabric.backward(loss / (self.num_objects * self.learner.objective.num_rounds))

    def _check(self, name: str, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} in step {self.step + 1} on {name}: no weight was changed by this step. "
                "Lower the learning rate, clip gradients, or train in 32-true"
            )

    def _semantic(
        self, term: SemanticTerm, leaf: Tensor, views: tuple[TrainingView, ...], names: str
    ) -> float:
        """Lines 30-33: the union of all target masks, not only of those drawn."""
        side = self.learner.sam.image_encoder.img_size
        targets = torch.stack([_union(view, side) for view in views]).to(leaf.device)
        with self.fabric.autocast():
            loss: Tensor = term(leaf, targets)
        self._check(names, loss)
        share = len(views) / self.config.batch_size
        self.fabric.backward(loss * share * self.config.objective.semantic_weight)
        return float(loss.detach()) * share


def _union(view: TrainingView, side: int) -> Tensor:
    """float32 (S, S): 1 where any object is, 0 in the padding."""
    rows, columns = view.masks.shape[1:]
    union = torch.from_numpy(view.masks.any(axis=0)).float()
    return functional.pad(union, (0, side - columns, 0, side - rows))


def _over_processes(fabric: Fabric, values: Sequence[float]) -> list[float]:
    """Sums over all processes."""
    tensor = torch.tensor(values, dtype=torch.float64, device=_safe_device(fabric))
    if fabric.world_size > 1:
        tensor = _summed(fabric, tensor)
    return [float(v) for v in tensor.cpu()]


def _summed(fabric: Fabric, tensor: Tensor) -> Tensor:
    total = fabric.all_reduce(tensor, reduce_op="sum")
    if not isinstance(total, torch.Tensor):  # it is one for one tensor
        raise TypeError(f"all_reduce gave a {type(total).__name__}")
    return total


def _safe_device(fabric: Fabric) -> torch.device:
    """NCCL wants the GPU; MPS has no float64, and no second process either."""
    return fabric.device if fabric.world_size > 1 else torch.device("cpu")


def _reduced_gradient_norm(fabric: Fabric, learner: Learner, config: RunConfig, items: list[Item]) -> float:
    """Sum gradients over processes, clip, and refuse what is not finite."""
    if fabric.world_size > 1:
        _sum_gradients(fabric, [p for group in learner.optimizer.param_groups for p in group["params"]])
    norm = fabric.clip_gradients(
        learner.sam,
        learner.optimizer,
        max_norm=config.optimizer.clip_norm or math.inf,
        error_if_nonfinite=False,
    )
    value = float(norm) if norm is not None else 0.0
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    if (
        not math.isfinite(value) and scaler is None
    ):  # a scaler, for float16, skips such a step and lowers its scale
        names = ", ".join(sorted({learner.names[draw.sample] for draw, _ in items}))
        raise TrainingError(
            f"the gradient is not finite on a batch of {names}: no weight was changed by this step. "
            "Lower the learning rate, clip gradients, or train in 32-true"
        )
    return value


def _sum_gradients(fabric: Fabric, parameters: Sequence[Tensor]) -> None:
    """Every process has its share of one sum, so this equals one big process: what none of them used keeps no
    gradient there either, and AdamW leaves it alone.
    """  # noqa: D205
    users = _over_processes(fabric, [float(parameter.grad is not None) for parameter in parameters])
    for parameter, count in zip(parameters, users, strict=True):
        if count:
            gradient = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            parameter.grad = _summed(fabric, gradient)


def _report(
    fabric: Fabric, step: int, lr: float, norm: float, sums: LossSums, semantic: float, config: RunConfig
) -> StepReport:
    *totals, semantic, count = _over_processes(fabric, [*sums.as_array()[:-1], semantic, sums.count])
    mask, iou, dice = np.split(np.array(totals) / max(count, 1) if count else np.full(len(totals), np.nan), 3)
    has_semantic = config.objective.semantic_weight > 0
    return StepReport(
        step,
        lr,
        norm,
        int(count),
        tuple(mask),
        tuple(iou),
        tuple(dice),
        semantic if has_semantic else math.nan,
    )
