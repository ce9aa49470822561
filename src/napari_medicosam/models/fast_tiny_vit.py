"""The TinyViT encoder on the same weights, arranged for inference on processors.

What is computed is what `ImageEncoderTinyViT.forward` computes, up to rounding: batch norms are folded into the
convolutions before them, biases of attention are gathered once, tokens and pixels are one channels-last tensor that is
never turned, and wide layers run in bands (`fast_ops`).

Shape suffixes as in `image_encoder_tiny_vit`; the batch is 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional

from napari_medicosam.models.fast_ops import bands, channel_norm, channels_last, convolution, linear
from napari_medicosam.models.image_encoder_tiny_vit import MBConv, TinyViTBlock

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_medicosam.models.image_encoder_tiny_vit import (
        ConvBN,
        ImageEncoderTinyViT,
        PatchMerging,
        Stage,
    )

_FLOAT = 4  # bytes


class FastTinyViT:
    """Encodes as the encoder that it is made from; folded weights are copies, so later changes of them are not seen.

    Args:
        encoder: in eval mode, float32, on the CPU.
    """

    def __init__(self, encoder: ImageEncoderTinyViT) -> None:
        stem = encoder.patch_embed.seq
        self._stem = [_folded(cast("ConvBN", stem[0])), _folded(cast("ConvBN", stem[2]))]
        self._steps: list[_Bottleneck | _Block] = []
        for layer in encoder.layers:
            stage = cast("Stage", layer)
            for block in stage.blocks:
                self._steps.append(
                    _Block(block) if isinstance(block, TinyViTBlock) else _Bottleneck(cast("MBConv", block))
                )
            if stage.downsample is not None:
                self._steps.append(_Bottleneck(cast("PatchMerging", stage.downsample)))
        first, self._norm, second, self._last_norm = encoder.neck
        self._neck = [channels_last(cast("nn.Conv2d", one)) for one in (first, second)]

    def __call__(self, image_1CHW: Tensor) -> Tensor:
        """Embedding (1, prompt_dim, grid_size, grid_size) of a normalised, padded image."""
        x = image_1CHW.contiguous(memory_format=torch.channels_last)
        x = convolution(self._stem[1], convolution(self._stem[0], x, gelu=True))
        for step in self._steps:
            x = step(x)
        x = channel_norm(self._norm, convolution(self._neck[0], x))
        return channel_norm(self._last_norm, convolution(self._neck[1], x)).contiguous()


class _Bottleneck:
    """`MBConv` and `PatchMerging`: wide only in bands of rows."""

    def __init__(self, block: MBConv | PatchMerging) -> None:
        self._convs = [_folded(one) for one in (block.conv1, block.conv2, block.conv3)]
        self._is_residual = isinstance(block, MBConv)

    def __call__(self, x_1CHW: Tensor) -> Tensor:
        widen, depthwise, narrow = self._convs
        height, width = x_1CHW.shape[2:]
        step = depthwise.stride[0]
        rows, columns = -(-height // step), -(-width // step)
        out = x_1CHW.new_empty(1, rows, columns, narrow.out_channels).permute(0, 3, 1, 2)
        for start, stop in bands(rows, step * width * widen.out_channels * _FLOAT):
            first, last = step * start - 1, step * (stop - 1) + 2  # of the rows that the 3 x 3 kernel sees
            wide = convolution(widen, x_1CHW[:, :, max(first, 0) : last], gelu=True)
            # what lies outside the image is zero after the activation, not before
            wide = functional.pad(wide, (0, 0, max(-first, 0), max(last - height, 0)))
            found = convolution(narrow, convolution(depthwise, wide, gelu=True, padding=(0, 1)))
            if self._is_residual:
                found = torch.ops.aten.gelu_(found.add_(x_1CHW[:, :, start:stop]))
            out[:, :, start:stop] = found
        return out


class _Block:
    """`TinyViTBlock`: attention in bands of windows, the perceptron in bands of tokens."""

    def __init__(self, block: TinyViTBlock) -> None:
        self._window = block.window
        self._attention, self._mlp = block.attn, block.mlp
        bias_ANN = block.attn.attention_biases.detach()[:, block.attn.attention_bias_idxs]
        self._bias_1ANN = bias_ANN[None].contiguous()
        self._local = _folded(block.local_conv)

    def __call__(self, x_1CHW: Tensor) -> Tensor:
        x_HWC = x_1CHW.permute(0, 2, 3, 1)[0]
        x_1CHW = convolution(self._local, self._attend(x_HWC)[None].permute(0, 3, 1, 2))
        x_1HWC = x_1CHW.permute(0, 2, 3, 1).contiguous()  # it is already, but for builds without oneDNN
        x_NC, mlp = x_1HWC.flatten(0, 2), self._mlp
        for start, stop in bands(len(x_NC), mlp.fc1.out_features * _FLOAT):
            few = x_NC[start:stop]
            few.add_(linear(mlp.fc2, linear(mlp.fc1, mlp.norm(few), gelu=True)))
        return x_1HWC.permute(0, 3, 1, 2)

    def _attend(self, x_HWC: Tensor) -> Tensor:
        """With the residual."""
        height, width, dim = x_HWC.shape
        side = self._window
        padded = functional.pad(x_HWC, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = padded.shape[0] // side, padded.shape[1] // side
        out = torch.empty_like(x_HWC)
        for start, stop in bands(rows, columns * side * side * 3 * dim * _FLOAT):
            band = padded[start * side : stop * side].view(stop - start, side, columns, side, dim)
            seen = self._within_windows(band.transpose(1, 2).reshape(-1, side * side, dim))
            seen = seen.view(stop - start, columns, side, side, dim).transpose(1, 2)
            first, last = start * side, min(stop * side, height)
            pixels = seen.reshape(-1, columns * side, dim)[: last - first, :width]
            torch.add(x_HWC[first:last], pixels, out=out[first:last])
        return out

    def _within_windows(self, x_GNC: Tensor) -> Tensor:
        attention, (windows, tokens, dim) = self._attention, x_GNC.shape
        qkv = linear(attention.qkv, attention.norm(x_GNC))
        q_GANK, k_GANK, v_GANK = (
            qkv.view(windows, tokens, attention.num_heads, -1).transpose(1, 2).chunk(3, dim=-1)
        )
        # four dimensions of the bias: with three, torch takes its slow way
        seen = functional.scaled_dot_product_attention(q_GANK, k_GANK, v_GANK, attn_mask=self._bias_1ANN)
        return linear(attention.proj, seen.transpose(1, 2).reshape(windows, tokens, dim))


def _folded(layer: ConvBN) -> nn.Conv2d:
    return channels_last(cast("nn.Conv2d", layer.c), cast("nn.BatchNorm2d", layer.bn))
