"""UNETR-like decoder from the neck output of any of our image encoders to the logits of semantic classes.

Tensor names and arithmetic follow the decoder that the MedicoSAM paper pretrains (`UNETR` of torch-em without its
encoder, as micro-sam's `get_unetr` builds it), so that published decoders load by name. Verified: names, shapes and
results against torch-em 0.10.9, with its transposed and with its bilinear upsampling. Not verified: the published files
themselves, which were not at hand. Which upsampling they hold, and how many classes, is read from them.

Shape suffixes: B batch, C channels, K classes, h/w token grid, H/W the model's input.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from napari_medicosam.errors import CheckpointError
from napari_medicosam.models.build import repeatable
from napari_medicosam.models.checkpoints import check_finite, check_tensors, read_content, save_state

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from napari_medicosam.models.specs import ModelSpec

_NESTED = ("decoder_state", "unetr_state", "model_state", "model", "state_dict")
_PARTS = re.compile(r"(?:module\.)*((?:base|decoder|decoder_head|deconv\d+|deconv_out|out_conv)\..*)")


@dataclass(frozen=True, slots=True)
class SemanticDecoderSpec:
    """Sizes of one decoder.

    Attributes:
        in_channels: of the neck output.
        num_classes: logits a pixel.
        num_steps: how often the side is doubled, from the grid to the model's input.
        last_features: channels at full size; twice as many at half the size, and so on.
        transposed: upsample by transposed convolutions, else bilinearly and by a 1 x 1 convolution.
        cropped_skips: of each skip, use only the channels in the middle, as many as the upsampled features have.
            The published decoders were trained so; new ones use all.
    """

    in_channels: int
    num_classes: int
    num_steps: int
    last_features: int
    transposed: bool = False
    cropped_skips: bool = False

    @classmethod
    def for_encoder(cls, spec: ModelSpec, num_classes: int = 1) -> SemanticDecoderSpec:
        """The reference's widths for a neck of 256 channels (64 at full size), in proportion for others.

        Raises:
            CheckpointError: when no doubling leads from the grid of `spec` to its input size.
        """
        scale, rest = divmod(spec.model_size, spec.grid_size)
        if rest or scale < 2 or scale & (scale - 1):
            raise CheckpointError(
                f"no semantic decoder for {spec.name}: its input of {spec.model_size} px must be the grid "
                f"({spec.grid_size}) times a power of two"
            )
        return cls(spec.prompt_dim, num_classes, scale.bit_length() - 1, spec.prompt_dim // 4)

    @property
    def features(self) -> tuple[int, ...]:
        """Channels after each doubling."""
        return tuple(self.last_features << step for step in reversed(range(self.num_steps)))


class ConvBlock(nn.Module):
    """(instance norm, 3 x 3 convolution, ReLU) x 2."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.InstanceNorm2d(dim_in), nn.Conv2d(dim_in, dim_out, 3, padding=1), nn.ReLU(),
            nn.InstanceNorm2d(dim_out), nn.Conv2d(dim_out, dim_out, 3, padding=1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x_BChw: Tensor) -> Tensor:
        """(B, dim_in, h, w) to (B, dim_out, h, w)."""
        out: Tensor = self.block(x_BChw)
        return out


class Upsample(nn.Module):
    """Twice the side, bilinearly, and other channels."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 1)

    def forward(self, x_BChw: Tensor) -> Tensor:
        """(B, dim_in, h, w) to (B, dim_out, 2h, 2w)."""
        # The reference interpolates first. Both orders give the same, this one for a quarter of the work.
        return functional.interpolate(self.conv(x_BChw), scale_factor=2, mode="bilinear", align_corners=False)


class Transposed(nn.Module):
    """Twice the side by a transposed convolution, and other channels."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.block = nn.ConvTranspose2d(dim_in, dim_out, 2, stride=2)

    def forward(self, x_BChw: Tensor) -> Tensor:
        """(B, dim_in, h, w) to (B, dim_out, 2h, 2w)."""
        out: Tensor = self.block(x_BChw)
        return out


class Conv(nn.Module):
    """A 3 x 3 convolution; a module of its own for its name in published files."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.block = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x_BChw: Tensor) -> Tensor:
        """Same shape out."""
        out: Tensor = self.block(x_BChw)
        return out


class Deconv(nn.Module):
    """Upsampling, 3 x 3 convolution, batch norm, ReLU: one step of the chain that makes the skips."""

    def __init__(self, upsampling: nn.Module, dim: int) -> None:
        super().__init__()
        self.block = nn.Sequential(upsampling, Conv(dim), nn.BatchNorm2d(dim), nn.ReLU())

    def forward(self, x_BChw: Tensor) -> Tensor:
        """(B, dim_in, h, w) to (B, dim, 2h, 2w)."""
        out: Tensor = self.block(x_BChw)
        return out


class Decoder(nn.Module):
    """All doublings but the last, each with a skip of the same size."""

    def __init__(self, spec: SemanticDecoderSpec) -> None:
        super().__init__()
        wide, narrow = spec.features[:-1], spec.features[1:]
        skips = narrow if spec.cropped_skips else wide
        self.blocks = nn.ModuleList(
            ConvBlock(dim + skip, dim) for dim, skip in zip(narrow, skips, strict=True)
        )
        self.samplers = nn.ModuleList(_upsampling(spec, a, b) for a, b in zip(wide, narrow, strict=True))
        self.skip_channels = skips

    def forward(self, x_BChw: Tensor, skips: list[Tensor]) -> Tensor:
        """The grid's features to those at half the input's size."""
        for block, sampler, skip, used in zip(
            self.blocks, self.samplers, skips, self.skip_channels, strict=True
        ):
            unused = (skip.shape[1] - used) // 2
            x_BChw = block(torch.cat([sampler(x_BChw), skip[:, unused : unused + used]], dim=1))
        return x_BChw


class SemanticDecoder2D(nn.Module):
    """Neck output to logits.

    The skips come from the neck output, too: the encoder is asked for nothing else, so stored embeddings will do.
    """

    def __init__(self, spec: SemanticDecoderSpec) -> None:
        super().__init__()
        self.spec = spec
        features = spec.features
        for step, (a, b) in enumerate(zip((spec.in_channels, *features), features, strict=False), start=1):
            self.add_module(f"deconv{step}", Deconv(_upsampling(spec, a, b), b))
        self.base = ConvBlock(spec.in_channels, features[0])
        self.decoder = Decoder(spec)
        self.deconv_out = _upsampling(spec, features[-1], features[-1])
        self.decoder_head = ConvBlock(2 * features[-1], features[-1])
        self.out_conv = nn.Conv2d(features[-1], spec.num_classes, 1)

    def forward(self, embedding_BChw: Tensor) -> Tensor:
        """Logits (B, K, H, W) at the model's input size of neck outputs (B, C, h, w)."""
        skips = [embedding_BChw]
        for step in range(1, self.spec.num_steps + 1):
            skips.append(self.get_submodule(f"deconv{step}")(skips[-1]))
        x_BChw = self.decoder(self.base(embedding_BChw), skips[1:-1])
        x_BCHW = self.decoder_head(torch.cat([self.deconv_out(x_BChw), skips[-1]], dim=1))
        logits_BKHW: Tensor = self.out_conv(x_BCHW)
        return logits_BKHW


def _upsampling(spec: SemanticDecoderSpec, dim_in: int, dim_out: int) -> nn.Module:
    return Transposed(dim_in, dim_out) if spec.transposed else Upsample(dim_in, dim_out)


def build_semantic_decoder(spec: SemanticDecoderSpec, *, seed: int | None = None) -> SemanticDecoder2D:
    """A decoder with random weights, in eval mode, float32, on the CPU; `seed` as in `build_model`."""
    with repeatable(seed):
        decoder = SemanticDecoder2D(spec)
    return decoder.eval()


def load_semantic_decoder(path: str | Path, num_classes: int | None = None) -> SemanticDecoder2D:
    """Build the decoder whose weights a file holds.

    Args:
        path: as `save_semantic_decoder` writes, a decoder published for micro-sam or MedicoSAM, or a training
            checkpoint of theirs (`decoder_state`, `unetr_state`; an encoder beside the decoder is left aside).
        num_classes: put a new last layer in place of one with another number of classes; None keeps the file's.

    Returns:
        The decoder in eval mode, float32, on the CPU.

    Raises:
        CheckpointError: when the file is missing, damaged, or holds no such decoder, or values that are not finite.
    """
    content = read_content(path)
    content = next((content[key] for key in _NESTED if isinstance(content.get(key), dict)), content)
    found = {name: _PARTS.fullmatch(str(name)) for name in content}
    state = {
        match[1]: content[name] for name, match in found.items() if match and torch.is_tensor(content[name])
    }
    spec = _recognise(state)
    if spec is None:
        some = ", ".join(repr(str(name)) for name in list(content)[:5]) or "nothing"
        raise CheckpointError(
            f"{path} holds no semantic decoder: wanted base, deconv1, out_conv, ..., got {some}"
        )
    check_finite(state, path)
    decoder = build_semantic_decoder(spec)
    check_tensors(state, decoder.state_dict(), f"{path} looks like a semantic decoder but")
    decoder.load_state_dict(state)
    if num_classes is not None and num_classes != spec.num_classes:
        decoder.spec = replace(spec, num_classes=num_classes)
        decoder.out_conv = nn.Conv2d(spec.last_features, num_classes, 1)
    return decoder


def save_semantic_decoder(decoder: SemanticDecoder2D, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a decoder's weights; suffixes and errors are those of `save_model`."""
    label = {
        "kind": "semantic_decoder_2d",
        **{name: str(value) for name, value in asdict(decoder.spec).items()},
    }
    return save_state(decoder.state_dict(), path, label=label, overwrite=overwrite)


def _recognise(state: Mapping[str, Any]) -> SemanticDecoderSpec | None:
    """Sizes from the shapes of tensors, or None when one that tells them is missing."""
    first, last = state.get("base.block.1.weight"), state.get("out_conv.weight")
    num_steps = len({name.split(".")[0] for name in state if re.match(r"deconv\d+\.", name)})
    if first is None or last is None or first.ndim != 4 or last.ndim != 4 or num_steps == 0:
        return None
    spec = SemanticDecoderSpec(
        first.shape[1], last.shape[0], num_steps, last.shape[1], transposed="deconv_out.block.weight" in state
    )
    merging = state.get("decoder.blocks.0.block.1.weight")
    cropped = num_steps > 1 and merging is not None and merging.shape[1] == 2 * spec.features[1]
    return replace(spec, cropped_skips=cropped)
