"""Losses that more than one part of the objective uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Only without any object can the denominator be smaller; there it makes 0 of 0 / 0.
_EPSILON = 1e-7


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - 2 * sum(p * g) / (sum(p^2) + sum(g^2)) over the last two axes, p the sigmoid of the logits.

    The denominator is at least 1e-7. A target without any object gives 1 and no gradient, whatever is predicted.

    Args:
        logits: (..., H, W), any float type; the sums are in float32.
        target: (..., H, W), broadcastable, 0 or 1 of any type.

    Returns:
        (...) float32, in 0..1; averaging is left to the caller.
    """
    p, g = logits.float().sigmoid(), target.float()
    overlap = (p * g).sum(dim=(-2, -1))
    size = p.square().sum(dim=(-2, -1)) + g.square().sum(dim=(-2, -1))
    return 1 - 2 * overlap / size.clamp(min=_EPSILON)
