"""TinyViT image encoder of MobileSAM (1024 px) and LiteMedSAM (256 px).

Same tensors, names and arithmetic as the published files need (Wu et al. 2022, "TinyViT"; Zhang et al. 2023,
"Faster Segment Anything"). Unlike the published code, attention biases are gathered in every forward pass instead
of being cached by `.eval()`, so weights may be loaded before or after it.

Shape suffixes: B batch, C channels, H/W pixels or tokens, N tokens, G windows times batch, A heads, K channels a head.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from napari_medicosam.models.specs import ModelSpec


class ConvBN(nn.Sequential):
    """Convolution without bias, then batch norm; named `c` and `bn` as in the published files."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module(
            "c", nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        )
        self.add_module("bn", nn.BatchNorm2d(dim_out))


class Stem(nn.Module):
    """Two convolutions from RGB to the first stage; stride 4 (3 x 3 kernels) or 1 (1 x 1 kernels) in all."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        kernel, step = (3, 2) if stride == 4 else (1, 1)
        self.seq = nn.Sequential(
            ConvBN(3, dim // 2, kernel, step), nn.GELU(), ConvBN(dim // 2, dim, kernel, step)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """RGB to the first stage's channels."""
        out: Tensor = self.seq(x_BCHW)
        return out


class MBConv(nn.Module):
    """Inverted bottleneck with a depthwise 3 x 3 convolution."""

    def __init__(self, dim: int, expand: int = 4) -> None:
        super().__init__()
        hidden = dim * expand
        self.conv1 = ConvBN(dim, hidden)
        self.conv2 = ConvBN(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvBN(hidden, dim)
        self.act = nn.GELU()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same shape out."""
        hidden = self.act(self.conv2(self.act(self.conv1(x_BCHW))))
        out: Tensor = self.act(self.conv3(hidden) + x_BCHW)
        return out


class PatchMerging(nn.Module):
    """Between two stages: changes channels, halves the grid when `stride` is 2."""

    def __init__(self, dim_in: int, dim_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(dim_in, dim_out)
        self.conv2 = ConvBN(dim_out, dim_out, 3, stride, groups=dim_out)
        self.conv3 = ConvBN(dim_out, dim_out)
        self.act = nn.GELU()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, dim_in, H, W) to (B, dim_out, H / stride, W / stride)."""
        out: Tensor = self.conv3(self.act(self.conv2(self.act(self.conv1(x_BCHW)))))
        return out


class WindowAttention(nn.Module):
    """Multi-head attention in a square window with a learned bias for each |dy|, |dx|."""

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        bias_index, num_offsets = _offset_index(window)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, num_offsets))
        self.attention_bias_idxs: Tensor
        self.register_buffer("attention_bias_idxs", bias_index, persistent=False)

    def forward(self, x_GNC: Tensor) -> Tensor:
        """Attention among the N tokens of each window; same shape out."""
        windows, tokens, _ = x_GNC.shape
        # q, k and v of one head lie beside each other: (heads, 3 * head_dim), not (3, heads, head_dim)
        qkv = self.qkv(self.norm(x_GNC)).view(windows, tokens, self.num_heads, 3 * self.head_dim)
        q_GANK, k_GANK, v_GANK = qkv.transpose(1, 2).chunk(3, dim=-1)
        bias_ANN = self.attention_biases[:, self.attention_bias_idxs]
        out_GANK = functional.scaled_dot_product_attention(q_GANK, k_GANK, v_GANK, attn_mask=bias_ANN)
        out: Tensor = self.proj(out_GANK.transpose(1, 2).reshape(windows, tokens, -1))
        return out


class Mlp(nn.Module):
    """Layer norm and a two-layer perceptron."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.act = nn.GELU()

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Same shape out."""
        out: Tensor = self.fc2(self.act(self.fc1(self.norm(x_BNC))))
        return out


class TinyViTBlock(nn.Module):
    """Window attention, a depthwise 3 x 3 convolution across windows, and an MLP."""

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(dim, num_heads, window)
        self.mlp = Mlp(dim, 4 * dim)
        self.local_conv = ConvBN(dim, dim, 3, groups=dim)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Same shape out."""
        x_BCHW = self.local_conv(x_BCHW + self._attend(x_BCHW))
        x_BNC = x_BCHW.flatten(2).transpose(1, 2)
        out: Tensor = (x_BNC + self.mlp(x_BNC)).transpose(1, 2).reshape(x_BCHW.shape)
        return out

    def _attend(self, x_BCHW: Tensor) -> Tensor:
        batch, dim, height, width = x_BCHW.shape
        side = self.window
        # Padding tokens take part in the attention (zeros before the norm): the published weights were trained so.
        padded = functional.pad(x_BCHW, (0, -width % side, 0, -height % side))
        rows, columns = padded.shape[2] // side, padded.shape[3] // side
        windows = padded.view(batch, dim, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        attended = self.attn(windows.reshape(batch * rows * columns, side * side, dim))
        attended = attended.view(batch, rows, columns, side, side, dim).permute(0, 5, 1, 3, 2, 4)
        out: Tensor = attended.reshape(batch, dim, rows * side, columns * side)[..., :height, :width]
        return out


class Stage(nn.Module):
    """Some blocks, then (but for the last stage) the step to the next stage's width."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the next stage's channels and grid."""
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        return x_BCHW if self.downsample is None else self.downsample(x_BCHW)


class ImageEncoderTinyViT(nn.Module):
    """Encodes (B, 3, model_size, model_size) into (B, prompt_dim, grid_size, grid_size), as SAM's encoders do."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.img_size = spec.model_size
        dims = spec.embed_dims
        self.patch_embed = Stem(dims[0], spec.patch_stride)
        # the grid is halved after the first two stages and kept after the third
        merges = [PatchMerging(a, b, 2 if i < 2 else 1) for i, (a, b) in enumerate(itertools.pairwise(dims))]
        stages: list[nn.Module] = [Stage([MBConv(dims[0]) for _ in range(spec.depths[0])], merges[0])]
        for i in range(1, len(dims)):
            blocks: list[nn.Module] = [
                TinyViTBlock(dims[i], spec.num_heads[i], spec.window_sizes[i]) for _ in range(spec.depths[i])
            ]
            stages.append(Stage(blocks, merges[i] if i < len(merges) else None))
        self.layers = nn.ModuleList(stages)
        self.neck = nn.Sequential(
            nn.Conv2d(dims[-1], spec.prompt_dim, 1, bias=False),
            LayerNorm2d(spec.prompt_dim),
            nn.Conv2d(spec.prompt_dim, spec.prompt_dim, 3, padding=1, bias=False),
            LayerNorm2d(spec.prompt_dim),
        )
        if spec.classifier_classes:  # never used: kept so that MobileSAM's own loader reads what we save
            self.norm_head = nn.LayerNorm(dims[-1])
            self.head = nn.Linear(dims[-1], spec.classifier_classes)
        self.apply(_init_weights)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Embedding (B, prompt_dim, grid_size, grid_size) of a normalised, padded image."""
        x_BCHW = self.patch_embed(image_BCHW)
        for stage in self.layers:
            x_BCHW = stage(x_BCHW)
        out: Tensor = self.neck(x_BCHW)
        return out


def _offset_index(window: int) -> tuple[Tensor, int]:
    """For each pair of tokens the number of its offset (|dy|, |dx|), in order of first appearance."""
    tokens = list(itertools.product(range(window), range(window)))
    numbers: dict[tuple[int, int], int] = {}
    index = [
        numbers.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(numbers)) for a in tokens for b in tokens
    ]
    return torch.tensor(index).view(len(tokens), len(tokens)), len(numbers)


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
