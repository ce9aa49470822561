"""What the encoders that are arranged for inference on processors share: fused operations, and work cut into bands.

A new tensor of 32 MB or more comes from the system page by page, each time, which costs as much as reading and writing
it. Work in bands of a few MB stays in memory that the process has, and for the most part in the caches.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from segment_anything.modeling.common import LayerNorm2d
    from torch import Tensor

BAND_BYTES = 8 << 20
"""Of the widest tensor of a band."""

# What torch.compile makes of a layer and its activation: one call of oneDNN. Not in every build of torch.
_FUSED: Any = torch.ops.mkldnn if torch.backends.mkldnn.is_available() else None


def bands(length: int, bytes_each: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges that cover `length` rows (tokens, windows) of so many bytes."""
    step = max(1, BAND_BYTES // bytes_each)
    for start in range(0, length, step):
        yield start, min(start + step, length)


def linear(layer: nn.Linear, x: Tensor, *, gelu: bool = False) -> Tensor:
    """The layer on contiguous float32 tokens (..., C), and the activation after it."""
    if _FUSED is not None:
        out: Tensor = _FUSED._linear_pointwise(
            x, layer.weight, layer.bias, "gelu" if gelu else "none", [], "none"
        )
        return out
    return _activated(layer(x), gelu)


def product(a_BRC: Tensor, b_BCS: Tensor) -> Tensor:
    """`a @ b`, where all of a batch share `b` (B = 1) by the fused call.

    It takes half the time of torch's own on some processors, but has no gradients.
    """
    if len(b_BCS) == 1 and _is_fused_for(a_BRC):
        return affine(a_BRC, b_BCS[0].T, None)
    return a_BRC @ b_BCS


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`functional.linear` by the fused call, as in `product`."""
    if _is_fused_for(x):
        out: Tensor = _FUSED._linear_pointwise(x, weight, bias, "none", [], "none")
        return out
    return functional.linear(x, weight, bias)


def _is_fused_for(x: Tensor) -> bool:
    return (
        _FUSED is not None
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
    )


def convolution(
    layer: nn.Conv2d, x_BCHW: Tensor, *, gelu: bool = False, padding: tuple[int, int] | None = None
) -> Tensor:
    """The layer on float32 pixels, channels last, and the activation after it; `padding` instead of the layer's own."""
    stride, around = layer.stride, layer.padding if padding is None else padding
    if _FUSED is not None:
        out: Tensor = _FUSED._convolution_pointwise(
            x_BCHW, layer.weight, layer.bias, around, stride, layer.dilation, layer.groups,
            "gelu" if gelu else "none", [], "none",
        )  # fmt: skip
        return out
    plain = functional.conv2d(x_BCHW, layer.weight, layer.bias, stride, around, layer.dilation, layer.groups)
    return _activated(plain, gelu)


def channels_last(layer: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> nn.Conv2d:
    """A copy of a convolution that holds the batch norm after it, too, with its weights channels last."""
    copy = deepcopy(layer) if norm is None else nn.utils.fuse_conv_bn_eval(layer, norm)
    return copy.requires_grad_(False).to(memory_format=torch.channels_last)


def channel_norm(norm: LayerNorm2d, x_BCHW: Tensor) -> Tensor:
    """SAM's `LayerNorm2d` over the channels of a channels-last tensor, in one pass."""
    x_BHWC = x_BCHW.permute(0, 2, 3, 1)
    normed = functional.layer_norm(x_BHWC, x_BHWC.shape[-1:], norm.weight, norm.bias, norm.eps)
    return normed.permute(0, 3, 1, 2)


def _activated(x: Tensor, gelu: bool) -> Tensor:
    return torch.ops.aten.gelu_(x) if gelu else x
