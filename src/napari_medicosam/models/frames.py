"""A model at another input size, for a while: TinyViT, prompt encoder and decoder work on any grid."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_medicosam.errors import InputError
from napari_medicosam.models.image_encoder_tiny_vit import ImageEncoderTinyViT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from segment_anything.modeling import Sam

_COARSEST = 4
"""TinyViT halves its grid twice, so its input must be a multiple of this many of the stem's pixels."""


def check_input_size(sam: Sam, size: int) -> None:
    """Raise `InputError` unless the model can take squares of `size` pixels."""
    full, grid = sam.image_encoder.img_size, sam.prompt_encoder.image_embedding_size[0]
    if size == full:
        return
    if not isinstance(sam.image_encoder, ImageEncoderTinyViT):
        raise InputError(
            f"an input of {size} px is for TinyViT models; a ViT has positions of its own for {full} px"
        )
    step = full // grid * _COARSEST
    if size < step or size % step:
        raise InputError(f"the input's side must be a multiple of {step} px, got {size}")


@contextmanager
def input_size(sam: Sam, size: int) -> Iterator[None]:
    """Inside, `sam` takes squares of `size` pixels: preprocess, prompts, position encoding and mask prompts follow.

    A model at half its size costs a quarter of the time and sees objects as small ones at its own.

    Raises:
        InputError: for a size that the model cannot take.
    """
    check_input_size(sam, size)
    encoder, prompts = sam.image_encoder, sam.prompt_encoder
    full, grid = encoder.img_size, prompts.image_embedding_size[0]
    try:
        _set(sam, size, size * grid // full)
        yield
    finally:
        _set(sam, full, grid)


def _set(sam: Sam, size: int, grid: int) -> None:
    sam.image_encoder.img_size = size
    sam.prompt_encoder.image_embedding_size = (grid, grid)
    sam.prompt_encoder.input_image_size = (size, size)
    sam.prompt_encoder.mask_input_size = (4 * grid, 4 * grid)
