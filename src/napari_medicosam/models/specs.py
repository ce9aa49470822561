"""Architectures as data: one line of the table is one model that `build_model` can make."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from napari_medicosam.errors import CheckpointError

_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Sizes of one interactive model.

    Attributes:
        name: key in `SPECS`.
        encoder: "vit" (segment-anything's ImageEncoderViT) or "tiny_vit" (ours, MobileSAM's layout).
        model_size: side of the padded square input, pixels.
        grid_size: side of the embedding, tokens.
        prompt_dim: channels of the embedding and of the decoder.
        embed_dims: channels of the encoder, one number for a ViT, one a stage for TinyViT.
        depths: blocks, one number for a ViT, one a stage for TinyViT.
        num_heads: attention heads, likewise.
        global_attention: blocks of a ViT that attend globally; the others in windows.
        window_sizes: attention window, one number for a ViT, one a stage for TinyViT.
        patch_stride: pixels a token at the encoder's input; TinyViT's stem uses 4 or 1.
        classifier_classes: size of the unused ImageNet head that MobileSAM's files carry, 0 for none.
        pixel_mean, pixel_std: `Sam.preprocess` maps 0..255 RGB to (pixel - mean) / std.
        adapters: SAM-Med2D's adapter in every block of a ViT.
    """

    name: str
    encoder: Literal["vit", "tiny_vit"]
    model_size: int
    grid_size: int
    prompt_dim: int
    embed_dims: tuple[int, ...]
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    global_attention: tuple[int, ...]
    window_sizes: tuple[int, ...]
    patch_stride: int
    classifier_classes: int = 0
    pixel_mean: tuple[float, float, float] = _IMAGENET_MEAN
    pixel_std: tuple[float, float, float] = _IMAGENET_STD
    adapters: bool = False

    @property
    def low_res_size(self) -> int:
        """Side of the decoder's logits and of the mask prompt, pixels."""
        return 4 * self.grid_size

    @property
    def embedding_shape(self) -> tuple[int, int, int]:
        """(channels, rows, columns) of one slice's embedding."""
        return self.prompt_dim, self.grid_size, self.grid_size

    def as_record(self) -> dict[str, Any]:
        """JSON-ready description; part of the key of stored embeddings."""
        record = asdict(self)
        if not self.adapters:
            del record[
                "adapters"
            ]  # came after embeddings were first stored, whose keys must stay as they were
        return record


def _vit(name: str, dim: int, depth: int, heads: int, global_attention: tuple[int, ...]) -> ModelSpec:
    return ModelSpec(
        name,
        "vit",
        1024,
        64,
        256,
        (dim,),
        (depth,),
        (heads,),
        global_attention,
        window_sizes=(14,),
        patch_stride=16,
    )


_TINY_DIMS, _TINY_DEPTHS, _TINY_HEADS = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10)

SPECS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        _vit("vit_b", 768, 12, 12, (2, 5, 8, 11)),
        _vit("vit_l", 1024, 24, 16, (5, 11, 17, 23)),
        _vit("vit_h", 1280, 32, 16, (7, 15, 23, 31)),
        # SAM-Med2D's
        replace(
            _vit("vit_b_med2d", 768, 12, 12, (2, 5, 8, 11)), model_size=256, grid_size=16, adapters=True
        ),
        # MobileSAM's TinyViT
        ModelSpec(
            "vit_t", "tiny_vit", 1024, 64, 256, _TINY_DIMS, _TINY_DEPTHS, _TINY_HEADS, (), (7, 7, 14, 7),
            patch_stride=4, classifier_classes=1000,
        ),
        # LiteMedSAM's: stem without stride, so 256 px still give a 64 x 64 grid; inputs stretched to 0..1
        ModelSpec(
            "vit_t_lite", "tiny_vit", 256, 64, 256, _TINY_DIMS, _TINY_DEPTHS, _TINY_HEADS, (), (7, 7, 14, 7),
            patch_stride=1, pixel_mean=(0.0, 0.0, 0.0), pixel_std=(255.0, 255.0, 255.0),
        ),
        # for tests: small enough to run everywhere, built by the same code as the others
        ModelSpec("sam_test", "vit", 64, 4, 32, (16,), (2,), (2,), (1,), window_sizes=(2,), patch_stride=16),
        ModelSpec(
            "sam_test_adapters", "vit", 64, 4, 32, (16,), (2,), (2,), (1,), window_sizes=(2,), patch_stride=16,
            adapters=True,
        ),
    )
}  # fmt: skip


def get_spec(name: str) -> ModelSpec:
    """The spec called `name`; `CheckpointError` for an unknown one."""
    if name not in SPECS:
        raise CheckpointError(f"unknown architecture {name!r}: wanted one of {', '.join(SPECS)}")
    return SPECS[name]
