"""`segment_anything`'s mask decoder on the same weights, arranged for less work and less memory traffic.

What is computed is what `MaskDecoder.forward` computes, up to rounding. What all objects share is projected once, only
the masks that are wanted are made, the transposed convolutions (kernel = stride) are matrix products whose pixels are
put in place after the last channel sum and not before, and half-precision activations stay so from end to end.

Shape suffixes: P objects, N tokens, K image tokens (h * w), C channels, A heads, M masks, h/w token grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder
    from segment_anything.modeling.transformer import Attention, TwoWayTransformer
    from torch import Tensor, nn


def decode(
    decoder: MaskDecoder,
    embedding_Chw: Tensor,
    image_pe_1Chw: Tensor,
    sparse_PNC: Tensor,
    dense_PChw: Tensor,
    *,
    multimask: bool,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Low-res logits and IoU predictions of P objects on one image.

    Args:
        decoder: SAM's.
        embedding_Chw: of the image.
        image_pe_1Chw: `prompt_encoder.get_dense_pe()`.
        sparse_PNC: tokens of the prompt encoder.
        dense_PChw: its dense embeddings; one that is the same for all objects may be given once, (1, C, h, w).
        multimask: three masks or one.
        dtype: of the activations; float32, or bfloat16 where the machine is faster in it.

    Returns:
        Logits (P, M, 4h, 4w) and IoU predictions (P, M), float32; M is 3 or 1.
    """
    height, width = embedding_Chw.shape[-2:]
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens_PNC = torch.cat([tokens.expand(len(sparse_PNC), -1, -1), sparse_PNC], dim=1).to(dtype)
    keys = (embedding_Chw + dense_PChw).flatten(2).transpose(1, 2).to(dtype)
    key_pe = image_pe_1Chw.flatten(2).transpose(1, 2).to(dtype)
    queries_PNC, keys_PKC = _two_way(decoder.transformer, keys, key_pe, tokens_PNC)
    wanted = range(1, decoder.num_mask_tokens) if multimask else range(1)
    hyper_PMC = torch.stack(
        [_mlp(decoder.output_hypernetworks_mlps[m].layers, queries_PNC[:, 1 + m]) for m in wanted], dim=1
    )
    logits = _upscaled_masks(decoder.output_upscaling, keys_PKC, hyper_PMC, height, width)
    iou_predictions = _mlp(decoder.iou_prediction_head.layers, queries_PNC[:, 0])
    return logits.float(), iou_predictions[:, wanted.start : wanted.stop].float()


def _two_way(
    transformer: TwoWayTransformer, keys: Tensor, key_pe: Tensor, token_pe: Tensor
) -> tuple[Tensor, Tensor]:
    """Tokens (P, N, C) and image (P, K, C) after the transformer; `keys` may still be (1, K, C) on the way in."""
    queries = token_pe
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = _attend(layer.self_attn, queries, queries, queries)
        else:
            with_pe = queries + token_pe
            queries = queries + _attend(layer.self_attn, with_pe, with_pe, queries)
        queries = _norm(layer.norm1, queries)
        placed = keys + key_pe
        queries = _norm(
            layer.norm2, queries + _attend(layer.cross_attn_token_to_image, queries + token_pe, placed, keys)
        )
        hidden = layer.mlp.act(_linear(layer.mlp.lin1, queries))
        queries = _norm(layer.norm3, queries + _linear(layer.mlp.lin2, hidden))
        keys = _norm(
            layer.norm4, keys + _attend(layer.cross_attn_image_to_token, placed, queries + token_pe, queries)
        )
    final = _attend(transformer.final_attn_token_to_image, queries + token_pe, keys + key_pe, keys)
    return _norm(transformer.norm_final_attn, queries + final), keys


def _attend(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Multi-head attention; an operand that all objects share (batch 1) is projected once."""
    heads = attention.num_heads
    q, k, v = (
        _linear(layer, x).unflatten(-1, (heads, -1)).transpose(1, 2)
        for layer, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
    )
    size = max(len(q), len(k))
    q, k, v = (x.expand(size, -1, -1, -1) for x in (q, k, v))
    if torch.is_grad_enabled() and q.device.type == "cpu":
        # Backwards, the fused call is several times slower on CPUs than its parts (few tokens, small heads).
        out = torch.softmax(q @ (k * q.shape[-1] ** -0.5).mT, dim=-1) @ v
    else:
        out = functional.scaled_dot_product_attention(q, k, v)
    return _linear(attention.out_proj, out.transpose(1, 2).flatten(2))


def _upscaled_masks(upscaling: nn.Sequential, keys_PKC: Tensor, hyper_PMC: Tensor, h: int, w: int) -> Tensor:
    """Both transposed convolutions, as products on tokens, and the product with each mask's hypernetwork output."""
    first, norm, act, second, last_act = upscaling
    # (P, K, 4, C / 4): the four pixels of a token stay beside it
    x = act(_norm(cast("nn.LayerNorm", norm), _doubled(cast("nn.ConvTranspose2d", first), keys_PKC)))
    x = last_act(_doubled(cast("nn.ConvTranspose2d", second), x))  # (P, K, 4, 4, C / 8)
    logits = x.flatten(1, 3) @ hyper_PMC.mT  # (P, K * 16, M)
    masks = logits.shape[-1]
    # the 16 are the pixels of two doublings, rows first, and come together as (h, ay, by, w, ax, bx)
    pixels = logits.mT.reshape(len(logits), masks, h, w, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
    out: Tensor = pixels.reshape(len(logits), masks, 4 * h, 4 * w)
    return out


def _doubled(convolution: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A 2 x 2 transposed convolution of stride 2 on channels-last tokens: (..., C) to (..., 4, D)."""
    weight = convolution.weight.to(x.dtype)  # (C, D, 2, 2)
    as_matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 D, C), pixels in row order
    out: Tensor = functional.linear(x, as_matrix).unflatten(-1, (4, -1))
    return out if convolution.bias is None else out + convolution.bias.to(x.dtype)


def _mlp(layers: nn.ModuleList, x: Tensor) -> Tensor:
    *hidden, last = (cast("nn.Linear", layer) for layer in layers)
    for layer in hidden:
        x = functional.relu(_linear(layer, x))
    return _linear(last, x)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return functional.linear(x, layer.weight.to(x.dtype), bias)


def _norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm over the last axis; also of SAM's LayerNorm2d, which norms the channels the same way."""
    weight, bias = layer.weight, layer.bias
    return functional.layer_norm(x, weight.shape, weight.to(x.dtype), bias.to(x.dtype), layer.eps)
