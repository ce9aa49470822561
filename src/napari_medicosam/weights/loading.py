"""A name or a path becomes a model, hash checked, ready for `segment_anything.SamPredictor`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_medicosam.errors import WeightsError
from napari_medicosam.models.build import build_model
from napari_medicosam.models.checkpoints import load_checkpoint, spec_of_model
from napari_medicosam.models.specs import get_spec
from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.digests import sha256_of_file
from napari_medicosam.weights.fetch import fetch
from napari_medicosam.weights.registry import is_checkpoint_path

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from napari_medicosam.models.specs import ModelSpec
    from napari_medicosam.weights.fetch import ProgressCallback
    from napari_medicosam.weights.registry import Entry


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model and what identifies it.

    Attributes:
        sam: in eval mode, float32, on its device.
        spec: its architecture.
        name: name in the list of models, or the file's name for weights that were given as a path.
        weights_sha256: hex digest of the file (of the tensors, for seeded test weights); part of cache keys.
        window: how intensities should be mapped when the user does not say (`resolve_intensity`).
    """

    sam: Sam
    spec: ModelSpec
    name: str
    weights_sha256: str
    window: str = "auto"


def load_model(name_or_path: str | Path, device: str | torch.device | None = None) -> Sam:
    """Load a model that is listed, or from a checkpoint file.

    Args:
        name_or_path: a name or alias (`medicosam_lite`, `vit_b`, ..., one of your own), or a path to a checkpoint.
        device: "cpu", "cuda", "mps"; None takes the best there is.

    Returns:
        `segment_anything.modeling.Sam` in eval mode: `SamPredictor(load_model(x))` works for every one.

    Raises:
        WeightsError: for an unknown name or weights that cannot be had; `CheckpointError` for a file that does
            not fit.
    """
    return load_weights(name_or_path, device).sam


def load_weights(
    name_or_path: str | Path,
    device: str | torch.device | None = None,
    progress: ProgressCallback | None = None,
) -> LoadedModel:
    """As `load_model`, with the name, architecture and hash that cache keys and reports need."""
    device = resolve_device(device)
    if is_checkpoint_path(name_or_path):
        path = Path(name_or_path).expanduser()
        sam = load_checkpoint(path, device=device)
        return LoadedModel(sam, spec_of_model(sam), path.name, sha256_of_file(path))

    entry = find_entry(str(name_or_path))
    if entry.spec is None:
        reason = entry.remark or f"it is a {entry.role.replace('_', ' ')}, not an interactive model"
        raise WeightsError(f"cannot load {entry.name!r}: {reason}")
    spec = _spec_of(entry)
    if entry.source.kind == "seeded":
        sam = build_model(spec, seed=entry.source.seed).to(device)
        return LoadedModel(sam, spec, entry.name, _sha256_of_tensors(sam), entry.window)
    path = fetch(entry, progress=progress)
    sha256 = entry.hashes.sha256 or sha256_of_file(path)
    sam = load_checkpoint(path, get_spec(entry.spec), device)
    sam.pixel_mean.copy_(torch.tensor(spec.pixel_mean).view(-1, 1, 1))
    sam.pixel_std.copy_(torch.tensor(spec.pixel_std).view(-1, 1, 1))
    return LoadedModel(sam, spec, entry.name, sha256, entry.window)


def resolve_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the best there is; `WeightsError` when it is not on this machine."""
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise WeightsError(f"unknown device {device!r}: wanted cpu, cuda, cuda:N or mps") from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise WeightsError(f"device {device!r} was asked for, but torch sees no CUDA GPU here; use cpu")
    if wanted.type == "mps" and not torch.backends.mps.is_available():
        raise WeightsError(f"device {device!r} was asked for, but torch sees no Apple GPU here; use cpu")
    return wanted


def _spec_of(entry: Entry) -> ModelSpec:
    """The entry's architecture, with the input scaling its weights were trained with.

    MedSAM has SAM's ViT-b but takes 0..1 instead of ImageNet's mean and deviation.
    """
    spec = get_spec(str(entry.spec))
    if entry.scaling == "unit":
        return replace(spec, pixel_mean=(0.0, 0.0, 0.0), pixel_std=(255.0, 255.0, 255.0))
    return spec


def _sha256_of_tensors(sam: Sam) -> str:
    digest = hashlib.sha256()
    for name, value in sam.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()
