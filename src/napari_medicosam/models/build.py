"""One builder for every architecture of the table; all of them are `segment_anything.modeling.Sam`."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from napari_medicosam.models.adapters import add_adapters
from napari_medicosam.models.image_encoder_tiny_vit import ImageEncoderTinyViT
from napari_medicosam.models.specs import ModelSpec, get_spec

if TYPE_CHECKING:
    from collections.abc import Iterator


def build_model(spec: ModelSpec | str, *, seed: int | None = None) -> Sam:
    """A model with random weights, in eval mode, float32, on the CPU.

    Args:
        spec: a `ModelSpec`, or the name of one in `SPECS`.
        seed: makes the weights repeatable without touching torch's global random state; None draws from it.

    Raises:
        CheckpointError: for an unknown name.
    """
    if isinstance(spec, str):
        spec = get_spec(spec)
    with repeatable(seed):
        sam: Sam = Sam(
            image_encoder=_image_encoder(spec),
            prompt_encoder=PromptEncoder(
                embed_dim=spec.prompt_dim,
                image_embedding_size=(spec.grid_size, spec.grid_size),
                input_image_size=(spec.model_size, spec.model_size),
                mask_in_chans=16,
            ),
            mask_decoder=MaskDecoder(
                num_multimask_outputs=3,
                transformer=TwoWayTransformer(
                    depth=2, embedding_dim=spec.prompt_dim, mlp_dim=8 * spec.prompt_dim, num_heads=8
                ),
                transformer_dim=spec.prompt_dim,
                iou_head_depth=3,
                iou_head_hidden_dim=spec.prompt_dim,
            ),
            pixel_mean=list(spec.pixel_mean),
            pixel_std=list(spec.pixel_std),
        )
    return sam.eval()


@contextmanager
def repeatable(seed: int | None) -> Iterator[None]:
    """Random numbers on the CPU follow from `seed` inside, and go on as if nothing had been inside; None: neither."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _image_encoder(spec: ModelSpec) -> nn.Module:
    if spec.encoder == "tiny_vit":
        return ImageEncoderTinyViT(spec)
    encoder = ImageEncoderViT(
        depth=spec.depths[0],
        embed_dim=spec.embed_dims[0],
        img_size=spec.model_size,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=spec.num_heads[0],
        patch_size=spec.patch_stride,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=spec.global_attention,
        window_size=spec.window_sizes[0],
        out_chans=spec.prompt_dim,
    )
    if spec.adapters:
        add_adapters(encoder)
    module: nn.Module = encoder
    return module
