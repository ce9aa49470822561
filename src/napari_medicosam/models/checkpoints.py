"""Checkpoint files to models and back.

A file's architecture is recognised from its tensors, never from its name. Files are read with
`torch.load(weights_only=True)` or safetensors: nothing in them is ever executed.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from napari_medicosam.errors import CheckpointError
from napari_medicosam.models.adapters import is_adapter
from napari_medicosam.models.build import build_model
from napari_medicosam.models.specs import SPECS, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from segment_anything.modeling import Sam
    from torch import Tensor

    State = dict[str, Tensor]
    Rgb = tuple[float, float, float]

_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_PREFIXES = ("module.", "sam.", "model.")
_NESTED = ("model_state", "model", "state_dict", "model_state_dict")
# Buffers that some forks write though they follow from the architecture.
_DERIVED = (".attention_bias_idxs", ".ab")


class _Inert:
    """Stands in for every class a checkpoint names that is not a tensor: it keeps nothing and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def load_checkpoint(
    path: str | Path, spec: ModelSpec | None = None, device: str | torch.device = "cpu"
) -> Sam:
    """Build the model whose weights a file holds.

    Plain SAM and MedSAM files, micro-sam / MedicoSAM training checkpoints (`model_state`, prefixes `sam.` and
    `module.`), SAM-Med2D (`model`, beside an optimizer), MobileSAM and LiteMedSAM files and our own safetensors are
    understood, in float16 or float32.

    Args:
        path: `.pth`, `.pt` or `.safetensors`.
        spec: the architecture that the caller expects; None takes what the file holds.
        device: where the model is put.

    Returns:
        The model in eval mode, float32.

    Raises:
        CheckpointError: when the file is missing, damaged, no SAM, or not of the architecture asked for.
    """
    state = read_state(path)
    found = recognise_spec(state)
    wanted = f", wanted {spec.name}" if spec is not None else ""
    if found is None:
        raise CheckpointError(
            f"{path} holds {describe_state(state)}, which is none of {', '.join(SPECS)}{wanted}"
        )
    if spec is not None and found != spec:
        raise CheckpointError(f"{path} holds {found.name} ({describe_state(state)}){wanted}")
    check_finite(state, path)
    sam = build_model(found)
    check_tensors(state, sam.state_dict(), f"{path} looks like {found.name} but")
    sam.load_state_dict(state)
    _set_input(sam, path)
    return sam.to(device).eval()


def read_state(path: str | Path) -> State:
    """The tensors of a checkpoint under SAM's plain names, without wrappers, prefixes and foreign parts.

    Raises:
        CheckpointError: when the file is missing, cannot be read safely, or holds no SAM.
    """
    content = read_content(path)
    for key in _NESTED:
        inner = content.get(key)
        if isinstance(inner, dict):
            content = inner
            break
    state: State = {}
    for name, value in content.items():
        plain = _strip(str(name))
        if plain.startswith(_PARTS) and not plain.endswith(_DERIVED) and isinstance(value, torch.Tensor):
            state[plain] = value
    if not state:
        some = ", ".join(repr(str(name)) for name in list(content)[:5]) or "nothing"
        raise CheckpointError(
            f"{path} holds no SAM model: wanted tensors named {', '.join(_PARTS)}*, got {some}"
        )
    return state


def recognise_spec(state: Mapping[str, Tensor]) -> ModelSpec | None:
    """The architecture whose signature the tensors have, or None."""
    signature = _signature_of_state(state)
    return next((spec for spec in SPECS.values() if _signature_of_spec(spec) == signature), None)


def spec_of_model(model: Sam) -> ModelSpec:
    """The spec of a model, with the input that it takes.

    Raises:
        CheckpointError: for a model that no line of the table builds.
    """
    spec = recognise_spec(model.state_dict())
    if spec is None:
        raise CheckpointError(
            f"the model has {describe_state(model.state_dict())}, wanted one of {', '.join(SPECS)}"
        )
    mean, std = input_of(model)
    return (
        spec
        if (mean, std) == (spec.pixel_mean, spec.pixel_std)
        else replace(spec, pixel_mean=mean, pixel_std=std)
    )


def describe_state(state: Mapping[str, Tensor]) -> str:
    """What the tensors are, in words for an error message."""
    kind, dim, depth, side, adapters = _signature_of_state(state)
    extra = ", with adapters" if adapters else ""
    if kind == "vit":
        return f"a ViT encoder with {dim} channels, {depth} blocks and a {side} x {side} grid{extra}"
    if kind == "tiny_vit":
        return f"a TinyViT encoder with {dim} channels, {depth} blocks and a stem of stride {side}{extra}"
    return "an unknown kind of image encoder"


def save_model(model: Sam, path: str | Path, *, half: bool = False, overwrite: bool = False) -> Path:
    """Write a model's weights: `.pth` as `segment_anything.sam_model_registry` loads it, or `.safetensors`.

    Args:
        model: any model of ours.
        path: the suffix decides the format; written beside and moved, so that no half file is ever there.
        half: store matrices and convolutions in float16; norms, biases and the position encoding, where rounding
            would cost most and save least, stay float32.
        overwrite: replace an existing file.

    Raises:
        CheckpointError: for another suffix, an existing file, a folder that is not there, or a full disk.
    """
    state = model.state_dict()
    if half:
        state = {name: value.half() if _may_be_half(name, value) else value for name, value in state.items()}
    spec = recognise_spec(state)
    label = {"spec": spec.name if spec else "unknown"}
    if spec is not None and input_of(model) != (spec.pixel_mean, spec.pixel_std):
        label["pixel_mean"], label["pixel_std"] = (json.dumps(values) for values in input_of(model))
    return save_state(state, path, label=label, overwrite=overwrite)


def input_of(model: Sam) -> tuple[Rgb, Rgb]:
    """Mean and standard deviation that `preprocess` maps 0..255 RGB with; tensors do not tell them."""
    # float32 buffers, read as the numbers of the table of specs
    (r, g, b), (sr, sg, sb) = (
        [round(v, 4) for v in buffer.flatten().tolist()] for buffer in (model.pixel_mean, model.pixel_std)
    )
    return (r, g, b), (sr, sg, sb)


def _set_input(model: Sam, path: str | Path) -> None:
    """Weights that were finetuned from MedSAM are a plain ViT-b but take 0..1: our own files say so."""
    if Path(path).suffix != ".safetensors":
        return
    with safe_open(path, framework="pt") as file:
        label = file.metadata() or {}
    for name, buffer in (("pixel_mean", model.pixel_mean), ("pixel_std", model.pixel_std)):
        if name not in label:
            continue
        try:
            values = torch.tensor(json.loads(label[name]), dtype=torch.float32).view(buffer.shape)
        except (ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path}: {name} must be three numbers, got {label[name]!r}") from error
        if not values.isfinite().all() or (name == "pixel_std" and (values <= 0).any()):
            raise CheckpointError(f"{path}: {name} must be three usable numbers, got {label[name]!r}")
        buffer.copy_(values)


def save_state(
    state: Mapping[str, Tensor], path: str | Path, *, label: dict[str, str], overwrite: bool = False
) -> Path:
    """Write tensors as `save_model` does, with its errors; `label` becomes the metadata of a `.safetensors`."""
    path = Path(path)
    if path.suffix not in (".pth", ".safetensors"):
        raise CheckpointError(f"cannot save {path.name!r}: wanted a name that ends in .pth or .safetensors")
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} is already there; pass overwrite=True to replace it")
    if not path.parent.is_dir():
        raise CheckpointError(f"cannot save {path.name!r}: there is no folder {path.parent}")
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    try:
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error
    os.close(handle)
    try:
        if path.suffix == ".pth":
            torch.save(state, beside)
        else:
            save_file(state, beside, metadata=label)
        Path(beside).chmod(0o644)  # mkstemp makes it private; weights are as public as any file a user saves
        Path(beside).replace(path)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
    finally:
        with suppress(OSError):  # a disk that can only be read refuses this, too
            Path(beside).unlink(missing_ok=True)
    return path


def read_content(path: str | Path) -> dict[str, Any]:
    """What lies in a checkpoint, as it lies there; classes that are not tensors have become inert.

    Raises:
        CheckpointError: when the file is missing, or cannot be read safely.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        _check_unpacked(path)
        with torch.serialization.safe_globals(_foreign_classes(path)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch, pickle, zip and safetensors each have their own
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines and " " in lines[0] else type(error).__name__  # pickle may say "101"
        raise CheckpointError(f"cannot read {path} as a checkpoint (damaged or not one): {reason}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, wanted a dictionary of tensors")
    return content


def _check_unpacked(path: Path) -> None:
    """Members of torch's zip are stored as they are: packed ones could grow a thousand times in memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as members:
        num_bytes = sum(member.file_size for member in members.infolist())
    if num_bytes > path.stat().st_size:
        raise CheckpointError(
            f"{path} is packed, {num_bytes} bytes in all: wanted a file as torch.save writes it"
        )


def _foreign_classes(path: Path) -> list[Any]:
    """Training checkpoints name classes beside the tensors (loaders, losses): all become `_Inert`."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:
        return []  # not a zip: torch.load itself will say what is wrong, or read the old format
    return [(_Inert, name) for name in names]


def _strip(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def check_finite(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Raise `CheckpointError` when a tensor that was read from `path` holds NaN or infinity."""
    broken = [
        name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise CheckpointError(
            f"{path} holds values that are not finite, first in {broken[0]!r}: the file is unusable"
        )


def check_tensors(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], intro: str) -> None:
    """Raise `CheckpointError`, beginning with `intro`, unless names and shapes are the same."""
    missing = sorted(wanted.keys() - state.keys())
    foreign = sorted(state.keys() - wanted.keys())
    wrong = [n for n in wanted.keys() & state.keys() if wanted[n].shape != state[n].shape]
    if missing or foreign or wrong:
        parts = [f"{len(missing)} tensors are missing (first {missing[0]!r})"] if missing else []
        parts += [f"{len(foreign)} do not belong (first {foreign[0]!r})"] if foreign else []
        if wrong:
            got, want = tuple(state[wrong[0]].shape), tuple(wanted[wrong[0]].shape)
            parts.append(f"{len(wrong)} have another shape (first {wrong[0]!r}: got {got}, wanted {want})")
        raise CheckpointError(f"{intro} {'; '.join(parts)}")


def _may_be_half(name: str, value: Tensor) -> bool:
    return value.is_floating_point() and value.ndim >= 2 and "positional_encoding" not in name


_Signature = tuple[str, int, int, int, bool]


def _signature_of_spec(spec: ModelSpec) -> _Signature:
    side = spec.grid_size if spec.encoder == "vit" else spec.patch_stride
    return spec.encoder, spec.embed_dims[0], sum(spec.depths), side, spec.adapters


def _signature_of_state(state: Mapping[str, Tensor]) -> _Signature:
    """(encoder, first width, blocks, grid side of a ViT or stem stride of a TinyViT, has adapters)."""
    adapters = any(is_adapter(name) for name in state)
    position = state.get("image_encoder.pos_embed")
    if position is not None and position.ndim == 4:
        blocks = {name.split(".")[2] for name in state if name.startswith("image_encoder.blocks.")}
        return "vit", position.shape[3], len(blocks), position.shape[1], adapters
    stem = state.get("image_encoder.patch_embed.seq.2.c.weight")
    if stem is not None and stem.ndim == 4:
        in_blocks = (name.split(".") for name in state if name.startswith("image_encoder.layers."))
        blocks = {f"{part[2]}.{part[4]}" for part in in_blocks if part[3] == "blocks"}
        return "tiny_vit", stem.shape[0], len(blocks), 4 if stem.shape[2] == 3 else 1, adapters
    return "unknown", 0, 0, 0, adapters
