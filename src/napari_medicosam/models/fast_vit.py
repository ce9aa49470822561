"""`segment_anything`'s ViT encoder on the same weights, with or without adapters, arranged for inference on processors.

What is computed is what `ImageEncoderViT.forward` computes, up to rounding. The cost of the original is its attention:
scores of all heads at once (800 MB a block), to which positions are added in passes of their own. Here each head's
positions become the bias of one fused call, in a buffer that all heads share.

Shape suffixes: G windows, A heads, K channels a head, N tokens of a window (n * n), C channels, h/w token grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from segment_anything.modeling.image_encoder import get_rel_pos, window_partition, window_unpartition
from torch.nn import functional

from napari_medicosam.models.adapters import AdapterBlock
from napari_medicosam.models.fast_ops import bands, channel_norm, linear

if TYPE_CHECKING:
    from segment_anything.modeling import ImageEncoderViT
    from segment_anything.modeling.image_encoder import Attention, Block
    from torch import Tensor

_FLOAT = 4  # bytes


class FastViT:
    """Encodes as the encoder that it is made from, on its very weights.

    Args:
        encoder: in eval mode, float32, on the CPU.
    """

    def __init__(self, encoder: ImageEncoderViT) -> None:
        self._encoder = encoder

    def __call__(self, image_1CHW: Tensor) -> Tensor:
        """Embedding (1, prompt_dim, grid_size, grid_size) of a normalised, padded image."""
        encoder = self._encoder
        x_1hwC = encoder.patch_embed(image_1CHW)
        if encoder.pos_embed is not None:
            x_1hwC = x_1hwC + encoder.pos_embed
        x_1hwC = x_1hwC.contiguous()
        for block in encoder.blocks:
            x_1hwC = _block(block, x_1hwC)
        first, norm, second, last_norm = encoder.neck
        x = channel_norm(norm, first(x_1hwC.permute(0, 3, 1, 2)))
        return channel_norm(last_norm, second(x)).contiguous()


def _block(block: Block | AdapterBlock, x_1hwC: Tensor) -> Tensor:
    """In place but for the attention."""
    normed = block.norm1(x_1hwC)
    if block.window_size:
        windows, padded_size = window_partition(normed, block.window_size)
        seen = window_unpartition(
            _attend(block.attn, windows), block.window_size, padded_size, x_1hwC.shape[1:3]
        )
    else:
        seen = _attend(block.attn, normed)
    x_1hwC = x_1hwC + seen
    added = block.Adapter(block.norm2(x_1hwC)) if isinstance(block, AdapterBlock) else None
    x_NC, mlp = x_1hwC.flatten(0, 2), block.mlp
    for start, stop in bands(len(x_NC), mlp.lin1.out_features * _FLOAT):
        few = x_NC[start:stop]
        few.add_(linear(mlp.lin2, linear(mlp.lin1, block.norm2(few), gelu=True)))
    return x_1hwC if added is None else x_1hwC.add_(added)


def _attend(attention: Attention, x_GnnC: Tensor) -> Tensor:
    windows, rows, columns, dim = x_GnnC.shape
    tokens, heads = rows * columns, attention.num_heads
    qkv = linear(attention.qkv, x_GnnC.reshape(windows * tokens, dim))
    q_AGNK, k_AGNK, v_AGNK = qkv.view(windows, tokens, 3, heads, -1).permute(2, 3, 0, 1, 4)
    of_rows = get_rel_pos(rows, rows, attention.rel_pos_h)
    of_columns = get_rel_pos(columns, columns, attention.rel_pos_w)
    bias = q_AGNK.new_empty(windows, rows, columns, rows, columns)
    seen = q_AGNK.new_empty(windows, tokens, heads, dim // heads)
    for head in range(heads):
        q_GNK = q_AGNK[head]
        q_GhwK = q_GNK.reshape(windows, rows, columns, -1)
        torch.add(
            torch.einsum("ghwk,hjk->ghwj", q_GhwK, of_rows)[..., :, None],
            torch.einsum("ghwk,wjk->ghwj", q_GhwK, of_columns)[..., None, :],
            out=bias,
        )
        seen[:, :, head] = functional.scaled_dot_product_attention(
            q_GNK[:, None],
            k_AGNK[head, :, None],
            v_AGNK[head, :, None],
            attn_mask=bias.view(windows, 1, tokens, tokens),
            scale=attention.scale,
        )[:, 0]
    return linear(attention.proj, seen.view(windows * tokens, dim)).view(x_GnnC.shape)
