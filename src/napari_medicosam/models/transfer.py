"""Weights of a ViT as the start of a finetuning at another input size, with or without adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

from napari_medicosam.models.adapters import is_adapter
from napari_medicosam.models.build import build_model
from napari_medicosam.models.checkpoints import check_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from segment_anything.modeling import Sam
    from torch import Size, Tensor

    from napari_medicosam.models.specs import ModelSpec

_POSITION = "image_encoder.pos_embed"
_RELATIVE = (".attn.rel_pos_h", ".attn.rel_pos_w")


def start_from(state: Mapping[str, Tensor], spec: ModelSpec, *, seed: int | None = None) -> Sam:
    """Build a model of `spec` from the weights of the same ViT at another input size.

    Position embeddings and the relative position tables of blocks that attend globally are interpolated to the grid
    of `spec`, linearly and with aligned borders, as SAM-Med2D did when it took SAM from 1024 to 256 px. Adapters that
    `spec` has and `state` has not are new and change nothing yet. Unlike SAM-Med2D, which drew mask tokens,
    hypernetworks and the IoU head anew, everything else is kept.

    Args:
        state: tensors under SAM's plain names, as `read_state` or `Sam.state_dict` gives them.
        spec: a ViT of the same widths and depth.
        seed: makes new adapters repeatable without touching torch's global random state; None draws from it.

    Returns:
        The model in eval mode, float32, on the CPU.

    Raises:
        CheckpointError: when other tensors than those named do not fit.
    """
    model = build_model(spec, seed=seed)
    wanted = model.state_dict()
    resized = {
        name: _resized(name, value, wanted[name].shape) if name in wanted else value
        for name, value in state.items()
    }
    new = {name: value for name, value in wanted.items() if is_adapter(name)}
    check_tensors({**new, **resized}, wanted, f"these weights are no start for {spec.name}:")
    model.load_state_dict({**new, **resized})
    return model


def _resized(name: str, value: Tensor, shape: Size) -> Tensor:
    if value.shape == shape:
        return value
    if name == _POSITION and value.ndim == len(shape) == 4 and value.shape[3] == shape[3]:
        value_BChw = value.float().permute(0, 3, 1, 2)
        resized_BChw = functional.interpolate(
            value_BChw, tuple(shape[1:3]), mode="bilinear", align_corners=False
        )
        return resized_BChw.permute(0, 2, 3, 1)
    if name.endswith(_RELATIVE) and value.ndim == len(shape) == 2 and value.shape[1] == shape[1]:
        # one row an offset, -(side - 1) .. side - 1: the middle row, offset 0, stays the middle row
        resized_1CL = functional.interpolate(
            value.float().T[None], shape[0], mode="linear", align_corners=False
        )
        return resized_1CL[0].T
    return value
