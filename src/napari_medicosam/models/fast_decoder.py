"""`segment_anything`'s mask decoder on the same weights, arranged for less work and less memory traffic.

What is computed is what `MaskDecoder.forward` computes, up to rounding. Only the masks that are wanted are made, the
transposed convolutions (kernel = stride) are matrix products whose pixels are put in place after the last channel sum
and not before, and half-precision activations stay so from end to end.

Nearly all the work is on the image side: 4096 tokens beside a handful of the prompts. So image tokens are not
projected: with q = a Q and k = b K, the scores q k' = (a Q K') b' need the product of the two projections on the few
tokens of the prompts alone, and a weighted sum of values b V is the weighted sum of b, times V.

Shape suffixes: P objects, N tokens, K image tokens (h * w), C channels, A heads, D channels of a head, M masks, h/w
token grid; AN is heads and tokens in one axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional

from napari_medicosam.models.fast_ops import affine, product

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder
    from segment_anything.modeling.transformer import Attention, TwoWayTransformer
    from torch import Tensor


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
    return decode_tokens(
        decoder,
        tokens_of(embedding_Chw + dense_PChw).to(dtype),
        tokens_of(image_pe_1Chw).to(dtype),
        sparse_PNC,
        (embedding_Chw.shape[-2], embedding_Chw.shape[-1]),
        multimask=multimask,
    )


def tokens_of(image_PChw: Tensor) -> Tensor:
    """Pixels as tokens (P, K, C), one after another in memory.

    Sums of tensors that lie in two orders are several times slower.
    """
    return image_PChw.flatten(2).mT.contiguous()


def mask_tokens(downscaling: nn.Sequential, logits_P1hw: Tensor) -> Tensor:
    """The dense embedding (P, K, C) of low-res logits (P, 1, 4h, 4w): `PromptEncoder.mask_downscaling`, on tokens."""
    first, norm, act, second, second_norm, second_act, last = downscaling
    height, width = (side // 4 for side in logits_P1hw.shape[-2:])
    # the pixels of a token, two halvings of rows and columns: (P, h, w, ay, ax, by, bx)
    pixels = logits_P1hw.reshape(-1, height, 2, 2, width, 2, 2).permute(0, 1, 4, 2, 5, 3, 6)
    x = act(_norm(cast("nn.LayerNorm", norm), _halved(cast("nn.Conv2d", first), pixels.flatten(5))))
    x = _halved(cast("nn.Conv2d", second), x.flatten(3))
    x = second_act(_norm(cast("nn.LayerNorm", second_norm), x))
    return _halved(cast("nn.Conv2d", last), x).flatten(1, 2)


def _halved(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of stride = kernel on its patches, channels last in each: (..., kh * kw * C) to (..., D)."""
    as_matrix = convolution.weight.to(x.dtype).permute(0, 2, 3, 1).flatten(1)
    return affine(x, as_matrix, None if convolution.bias is None else convolution.bias.to(x.dtype))


def decode_tokens(
    decoder: MaskDecoder,
    keys_PKC: Tensor,
    key_pe_1KC: Tensor,
    sparse_PNC: Tensor,
    size_hw: tuple[int, int],
    *,
    multimask: bool,
) -> tuple[Tensor, Tensor]:
    """`decode` for an image that is laid out as tokens.

    Args:
        decoder: SAM's.
        keys_PKC: `tokens_of` the embedding, with the dense embedding added; one that is the same for all objects may be
            given once. Its dtype is that of the activations.
        key_pe_1KC: `tokens_of` the position encoding.
        sparse_PNC: tokens of the prompt encoder.
        size_hw: token grid.
        multimask: three masks or one.
    """
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens_PNC = torch.cat([tokens.expand(len(sparse_PNC), -1, -1), sparse_PNC], dim=1).to(keys_PKC.dtype)
    queries_PNC, keys_PKC = _two_way(decoder.transformer, keys_PKC, key_pe_1KC, tokens_PNC)
    wanted = range(1, decoder.num_mask_tokens) if multimask else range(1)
    hyper_PMC = torch.stack(
        [_mlp(decoder.output_hypernetworks_mlps[m].layers, queries_PNC[:, 1 + m]) for m in wanted], dim=1
    )
    logits = _masks(decoder.output_upscaling, keys_PKC, hyper_PMC, *size_hw)
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
            layer.norm2,
            queries + _attend_to_image(layer.cross_attn_token_to_image, queries + token_pe, placed, keys),
        )
        hidden = layer.mlp.act(_linear(layer.mlp.lin1, queries))
        queries = _norm(layer.norm3, queries + _linear(layer.mlp.lin2, hidden))
        attended = _attend_from_image(
            layer.cross_attn_image_to_token, placed, queries + token_pe, queries, onto=keys
        )
        keys = _norm(layer.norm4, attended)
    final = _attend_to_image(transformer.final_attn_token_to_image, queries + token_pe, keys + key_pe, keys)
    return _norm(transformer.norm_final_attn, queries + final), keys


def _attend(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Multi-head attention; an operand that all objects share (batch 1) is projected once."""
    q, k, v = (
        _in_heads(_linear(layer, x), attention.num_heads)
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


def _attend_to_image(attention: Attention, q_PNC: Tensor, placed_PKC: Tensor, keys_PKC: Tensor) -> Tensor:
    """Tokens look at the image: keys are `placed_PKC`, values `keys_PKC`, both of all objects or shared (1, K, C).

    The keys' bias adds the same to all scores of a token, which the softmax takes away again.
    """
    heads, tokens = attention.num_heads, q_PNC.shape[1]
    if _is_less_projected(attention, tokens):
        return _attend(attention, q_PNC, placed_PKC, keys_PKC)
    q_PAND = _in_heads(_linear(attention.q_proj, q_PNC), heads)
    seeking = (q_PAND * q_PAND.shape[-1] ** -0.5) @ _by_head(attention.k_proj, heads, q_PNC.dtype)
    weights_PANK = torch.softmax(product(seeking.flatten(1, 2), placed_PKC.mT), dim=-1)
    seen = product(weights_PANK, keys_PKC).unflatten(1, (heads, tokens))
    out_PAND = seen @ _by_head(attention.v_proj, heads, q_PNC.dtype).mT
    values = out_PAND.transpose(1, 2).flatten(2) + attention.v_proj.bias.to(q_PNC.dtype)  # weights sum to 1
    return _linear(attention.out_proj, values)


def _attend_from_image(
    attention: Attention, placed_PKC: Tensor, k_PNC: Tensor, v_PNC: Tensor, *, onto: Tensor
) -> Tensor:
    """`onto` and what the image, with `placed_PKC` as queries, sees in the tokens: (P, K, C).

    Scores are kept as (heads * tokens, K): a softmax over few tokens is fast beside a long axis, not in front of it.
    """
    heads, tokens = attention.num_heads, k_PNC.shape[1]
    if _is_less_projected(attention, tokens):
        return onto + _attend(attention, placed_PKC, k_PNC, v_PNC)
    dtype = k_PNC.dtype
    k_PAND = _in_heads(_linear(attention.k_proj, k_PNC), heads)
    k_PAND = k_PAND * k_PAND.shape[-1] ** -0.5
    seeking = (k_PAND @ _by_head(attention.q_proj, heads, dtype)).flatten(1, 2)
    bias_AD1 = attention.q_proj.bias.to(dtype).unflatten(0, (heads, -1))[..., None]
    scores = product(seeking, placed_PKC.mT) + (k_PAND @ bias_AD1).flatten(1, 2)
    weights = torch.softmax(scores.unflatten(1, (heads, tokens)), dim=2).flatten(1, 2)
    v_PAND = _in_heads(_linear(attention.v_proj, v_PNC), heads)
    out_ADC = attention.out_proj.weight.to(dtype).mT.unflatten(0, (heads, -1))
    # Weights sum to 1 in each head, so that its share of the bias may ride on the values.
    seen = (v_PAND @ out_ADC).flatten(1, 2) + attention.out_proj.bias.to(dtype) / heads
    out = product(weights.mT, seen)
    return out + onto if torch.is_grad_enabled() else out.add_(onto)


def _is_less_projected(attention: Attention, tokens: int) -> bool:
    """Whether so many tokens (16 of SAM's) cost more, each seen by each head, than the image projected once for all."""
    return bool(attention.num_heads * tokens > attention.internal_dim)


def _in_heads(x_PNC: Tensor, heads: int) -> Tensor:
    """(P, N, A * D) to (P, A, N, D)."""
    out: Tensor = x_PNC.unflatten(-1, (heads, -1)).transpose(1, 2)
    return out


def _by_head(layer: nn.Linear, heads: int, dtype: torch.dtype) -> Tensor:
    """The weight of a projection from C channels, by heads."""
    out: Tensor = layer.weight.to(dtype).unflatten(0, (heads, -1))
    return out


def _masks(upscaling: nn.Sequential, keys_PKC: Tensor, hyper_PMC: Tensor, h: int, w: int) -> Tensor:
    """Logits (P, M, 4h, 4w).

    On processors one object after another: the tensors of all at once would be new memory from the system each time,
    which costs as much as the work in it.
    """
    if len(keys_PKC) == 1 or torch.is_grad_enabled() or keys_PKC.device.type != "cpu":
        return _upscaled_masks(upscaling, keys_PKC, hyper_PMC, h, w)
    each = zip(keys_PKC.split(1), hyper_PMC.split(1), strict=True)
    return torch.cat([_upscaled_masks(upscaling, keys_1KC, hyper_1MC, h, w) for keys_1KC, hyper_1MC in each])


def _upscaled_masks(upscaling: nn.Sequential, keys_PKC: Tensor, hyper_PMC: Tensor, h: int, w: int) -> Tensor:
    """Both transposed convolutions, as products on tokens, and the product with each mask's hypernetwork output."""
    first, norm, act, second, last_act = upscaling
    # (P, K, 4, C / 4): the four pixels of a token stay beside it
    x = _acted(act, _norm(cast("nn.LayerNorm", norm), _doubled(cast("nn.ConvTranspose2d", first), keys_PKC)))
    x = _acted(last_act, _doubled(cast("nn.ConvTranspose2d", second), x))  # (P, K, 4, 4, C / 8)
    logits = product(hyper_PMC, x.flatten(1, 3).mT)  # (P, M, K * 16)
    masks = logits.shape[1]
    # the 16 are the pixels of two doublings, rows first, and come together as (h, ay, by, w, ax, bx)
    pixels = logits.reshape(len(logits), masks, h, w, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
    out: Tensor = pixels.reshape(len(logits), masks, 4 * h, 4 * w)
    return out


def _acted(act: nn.Module, x: Tensor) -> Tensor:
    """The activation, in place where no gradient needs what was there before."""
    if isinstance(act, nn.GELU) and not torch.is_grad_enabled():
        torch.ops.aten.gelu_(x, approximate=act.approximate)
        return x
    out: Tensor = act(x)
    return out


def _doubled(convolution: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A 2 x 2 transposed convolution of stride 2 on channels-last tokens: (..., C) to (..., 4, D)."""
    weight = convolution.weight.to(x.dtype)  # (C, D, 2, 2)
    as_matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 D, C), pixels in row order
    bias = None if convolution.bias is None else convolution.bias.to(x.dtype).repeat(4)
    out: Tensor = affine(x, as_matrix, bias).unflatten(-1, (4, -1))
    return out


def _mlp(layers: nn.ModuleList, x: Tensor) -> Tensor:
    *hidden, last = (cast("nn.Linear", layer) for layer in layers)
    for layer in hidden:
        x = functional.relu(_linear(layer, x))
    return _linear(last, x)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return affine(x, layer.weight.to(x.dtype), bias)


def _norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm over the last axis; also of SAM's LayerNorm2d, which norms the channels the same way."""
    weight, bias = layer.weight, layer.bias
    return functional.layer_norm(x, weight.shape, weight.to(x.dtype), bias.to(x.dtype), layer.eps)
