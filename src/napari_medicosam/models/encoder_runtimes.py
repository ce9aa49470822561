"""What runs an image encoder: one small protocol, and its implementations in torch.

Which one is taken for a model is decided in `predict/runtimes.py`, by the rule of docs/performance.md.
"""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from segment_anything.modeling import ImageEncoderViT

from napari_medicosam.models.fast_tiny_vit import FastTinyViT
from napari_medicosam.models.fast_vit import FastViT
from napari_medicosam.models.image_encoder_tiny_vit import ImageEncoderTinyViT

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

Precision = Literal["float32", "float16", "int8"]
"""Embeddings of one precision are interchangeable: runtimes of float32 differ by less than rounding to float16 does."""

_logger = logging.getLogger(__name__)


class EncoderRuntime(Protocol):
    """Runs the image encoder of one model. May be called from any thread, by one at a time."""

    @property
    def name(self) -> str:
        """One of `predict.runtimes.RUNTIMES` but "auto"."""

    @property
    def precision(self) -> Precision:
        """Of the arithmetic; part of the key of stored embeddings."""

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Embeddings (B, C, h, w), float32 on the CPU, of normalised, padded images on the model's device."""


class EagerRuntime:
    """The encoder as it is, layer by layer: what `segment_anything.SamPredictor` runs."""

    name = "eager"
    precision: Precision = "float32"

    def __init__(self, encoder: nn.Module) -> None:
        self._encoder = encoder

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """See `EncoderRuntime`."""
        with torch.inference_mode():
            embedding: Tensor = self._encoder(image_BCHW)
            return embedding.float().cpu()


class HalfRuntime(EagerRuntime):
    """The same in float16 where that loses little, by torch's own rules: for GPUs."""

    name = "torch-half"
    precision: Precision = "float16"

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """See `EncoderRuntime`."""
        with torch.autocast(image_BCHW.device.type, torch.float16):
            return super().encode(image_BCHW)


class TorchRuntime(EagerRuntime):
    """The same arithmetic, arranged for inference on processors; on other devices the encoder as it is.

    The arrangement holds copies of some weights: it is made at the first image, and sees no later change of them.
    """

    name = "torch"

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """See `EncoderRuntime`."""
        fast = self._fast if image_BCHW.device.type == "cpu" else None
        if fast is None:
            return super().encode(image_BCHW)
        with torch.inference_mode():
            return torch.cat([fast(image_1CHW) for image_1CHW in image_BCHW.split(1)])

    @cached_property
    def _fast(self) -> Callable[[Tensor], Tensor] | None:
        with torch.inference_mode():
            if isinstance(self._encoder, ImageEncoderTinyViT):
                return FastTinyViT(self._encoder)
            if isinstance(self._encoder, ImageEncoderViT) and self._encoder.blocks[0].attn.use_rel_pos:
                return FastViT(self._encoder)
        return None


class FallbackRuntime:
    """A runtime until it fails, from then on another one.

    Args:
        first: what is taken as long as it works.
        make_second: of the same precision, made when it is needed.
    """

    def __init__(self, first: EncoderRuntime, make_second: Callable[[], EncoderRuntime]) -> None:
        self._runtime = first
        self._make_second: Callable[[], EncoderRuntime] | None = make_second

    @property
    def name(self) -> str:
        """Of the runtime in use."""
        return self._runtime.name

    @property
    def precision(self) -> Precision:
        """Of either."""
        return self._runtime.precision

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """See `EncoderRuntime`; raises only what the second runtime raises."""
        if self._make_second is not None:
            try:
                return self._runtime.encode(image_BCHW)
            except Exception as error:  # each library has its own
                failed, self._runtime, self._make_second = self.name, self._make_second(), None
                log_failure(failed, error, self.name)
        return self._runtime.encode(image_BCHW)


def torch_runtime(encoder: nn.Module) -> EncoderRuntime:
    """The one that is always there."""
    return FallbackRuntime(TorchRuntime(encoder), lambda: EagerRuntime(encoder))


def log_failure(runtime: str, error: Exception, instead: str) -> None:
    """Say that a runtime failed, by the kind of error alone: messages of libraries may quote paths."""
    _logger.warning(
        "the encoder runtime %s failed (%s); %s is used instead", runtime, type(error).__name__, instead
    )
