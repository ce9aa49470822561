"""SAM-Med2D's adapters: a small trainable branch beside the MLP of every block of a frozen ViT encoder.

Tensor names and arithmetic are those of the published code (Cheng et al. 2023, "SAM-Med2D"). Only the start differs:
theirs adds layer-normed noise to every block, ours adds nothing until it has learned something.

Shape suffixes: B batch, C channels, h/w token grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from segment_anything.modeling.image_encoder import (
    Block,
    ImageEncoderViT,
    window_partition,
    window_unpartition,
)
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Adapter(nn.Module):
    """Channels weighed by the mean over the grid, then a convolution at half the grid; residual and layer norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim // 4
        self.norm = nn.LayerNorm(dim)
        self.channel = nn.Sequential(
            nn.Linear(dim, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, dim, bias=False), nn.Sigmoid()
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(dim, dim, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(dim, dim, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )
        for layer in (*self.channel, *self.spatial):
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        # The last step is the norm: with zeros there, a block gives at first exactly what it gives without adapter.
        nn.init.zeros_(self.norm.weight)

    def forward(self, x_BhwC: Tensor) -> Tensor:
        """What is added to the block's output; same shape, h and w even."""
        x_BChw = x_BhwC.permute(0, 3, 1, 2)
        weight_BC = self.channel(x_BhwC.mean(dim=(1, 2)))
        x_BChw = x_BChw + self.spatial(weight_BC[:, :, None, None] * x_BChw)
        out: Tensor = self.norm(x_BChw.permute(0, 2, 3, 1))
        return out


class AdapterBlock(nn.Module):
    """A block of segment-anything's ViT with an adapter; takes over the block's layers and their names."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.attn = block.norm1, block.attn
        self.norm2, self.mlp = block.norm2, block.mlp
        self.window_size = block.window_size
        self.Adapter = Adapter(block.norm2.normalized_shape[0])  # spelled as in the published files

    def forward(self, x_BhwC: Tensor) -> Tensor:
        """Same shape out."""
        x_BhwC = x_BhwC + self._attend(self.norm1(x_BhwC))
        normed_BhwC = self.norm2(x_BhwC)
        out: Tensor = x_BhwC + self.mlp(normed_BhwC) + self.Adapter(normed_BhwC)
        return out

    def _attend(self, x_BhwC: Tensor) -> Tensor:
        if self.window_size == 0:
            out: Tensor = self.attn(x_BhwC)
        else:
            windows, padded_size = window_partition(x_BhwC, self.window_size)
            out = window_unpartition(self.attn(windows), self.window_size, padded_size, x_BhwC.shape[1:3])
        return out


def add_adapters(encoder: ImageEncoderViT) -> None:
    """Put an adapter into every block of a ViT encoder, in place."""
    encoder.blocks = nn.ModuleList(AdapterBlock(block) for block in encoder.blocks)


def is_adapter(name: str) -> bool:
    """Whether a parameter or tensor of this name belongs to an adapter, SAM-Med2D's or another kind's."""
    return "adapter" in name.lower()
