"""Which parameters learn, and how fast."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from napari_medicosam.errors import TrainingError
from napari_medicosam.models.adapters import is_adapter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from segment_anything.modeling import Sam
    from torch import Tensor, nn

    from napari_medicosam.training.config import OptimizerConfig, RunConfig, TrainableConfig


def choose_trainable(sam: Sam, wanted: TrainableConfig) -> None:
    """Set `requires_grad` of every parameter. The model stays in eval mode: SAM has no dropout, and the statistics of
    TinyViT's batch norms are kept as they are, since those of a small batch would be worse.

    Raises:
        TrainingError: for prefixes that name nothing, or adapters where there are none.
    """  # noqa: D205
    sam.eval().requires_grad_(False)
    sam.prompt_encoder.requires_grad_(wanted.prompt_encoder)
    sam.mask_decoder.requires_grad_(wanted.mask_decoder)
    choice = wanted.image_encoder
    if choice == "all":
        sam.image_encoder.requires_grad_(True)
        return
    prefixes = () if choice == "frozen" else choice
    named = list(sam.image_encoder.named_parameters())
    if choice == "adapters":
        _require([p for name, p in named if is_adapter(name)], "adapters", named[0][0])
        return
    for prefix in prefixes:
        _require([p for name, p in named if name.startswith(prefix)], f"prefix {prefix!r}", named[0][0])


def _require(parameters: list[nn.Parameter], what: str, example: str) -> None:
    if not parameters:
        raise TrainingError(
            f"trainable.image_encoder: {what} names no parameter of the encoder (they are such as {example!r})"
        )
    for parameter in parameters:
        parameter.requires_grad_(True)


def make_optimizer(sam: Sam, others: Sequence[nn.Parameter], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over what requires grad: the encoder at `encoder_lr`, the rest and `others` at `lr`.

    Biases and norms do not decay. `initial_lr` of each group is what `set_learning_rate` scales.
    """
    encoder = [p for p in sam.image_encoder.parameters() if p.requires_grad]
    rest = [
        p for part in (sam.prompt_encoder, sam.mask_decoder) for p in part.parameters() if p.requires_grad
    ]
    groups = []
    for parameters, lr in ((encoder, config.encoder_lr or config.lr), ([*rest, *others], config.lr)):
        for decays in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == decays]
            decay = config.weight_decay if decays else 0.0
            if chosen:
                groups.append({"params": chosen, "lr": lr, "initial_lr": lr, "weight_decay": decay})
    return torch.optim.AdamW(groups)


def learning_rate_factor(step: int, config: RunConfig, steps_per_epoch: int) -> float:
    """What the initial learning rates are multiplied with in optimizer step `step` (from 0)."""
    settings = config.optimizer
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "epoch_decay":
        return float(settings.decay ** (step // steps_per_epoch))
    if settings.schedule == "trapezoid":
        return min(1.0, (config.num_steps - step) / max(1, settings.cooldown_steps))
    remaining = (step - settings.warmup_steps) / max(1, config.num_steps - settings.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(remaining, 1.0)))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scale every group; returns the rate of the last one (the decoder's)."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[-1]["lr"])


class WeightAverage:
    """Exponential moving average of what learns: smoother than the last weights, at no cost.

    Early on the average follows faster, so that it does not remember the start for long.

    Args:
        parameters: by name, those that require grad.
        decay: of the average, 0..1; 0 makes it follow at once.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = dict(parameters)
        self._decay = decay
        self.values = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step number `step` (from 1)."""
        keep = min(self._decay, step / (step + 9))
        for name, value in self.values.items():
            value.lerp_(self._parameters[name].detach(), 1 - keep)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the averaged weights."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._copy(self.values)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
