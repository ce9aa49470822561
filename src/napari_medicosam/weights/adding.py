"""A file of weights becomes a model of the user's own, which is listed and loaded by its name."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from napari_medicosam.errors import CheckpointError, WeightsError
from napari_medicosam.models.checkpoints import (
    load_checkpoint,
    read_state,
    recognise_spec,
    save_state,
    spec_of_model,
)
from napari_medicosam.weights.own_models import MODELS_VARIABLE, own_model_files, validation_reason
from napari_medicosam.weights.registry import OWN_SUFFIX, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medicosam.models.specs import ModelSpec

Scaling = Literal["imagenet", "unit"]


@dataclass(frozen=True, slots=True)
class ModelNotes:
    """What a file of weights does not say of itself; empty texts are filled in.

    Attributes:
        title: one line for lists.
        trained_on: the data.
        licence: of the weights.
        window: how intensities are mapped when nobody says: auto, percentile, minmax or identity.
        scaling: "imagenet" or "unit", as the weights were trained (`scaling_of`); None is what the file says, else
            what most weights of their architecture have. MedSAM is a ViT with "unit", and its own file does not say so.
    """

    title: str = ""
    trained_on: str = ""
    licence: str = ""
    window: str = "auto"
    scaling: str | None = None


def scaling_of(spec: ModelSpec) -> Scaling:
    """How a model of this spec takes its input; of a `LoadedModel`'s spec, as its weights were trained."""
    return "unit" if spec.pixel_mean == (0.0, 0.0, 0.0) else "imagenet"


def add_own_model(
    name: str, weights_path: str | Path, notes: ModelNotes | None = None, *, overwrite: bool = False
) -> Entry:
    """Copy a file of weights to the user's own models, under a name that is listed from then on.

    The copy is written beside, loaded once to check it, and moved; the record that makes it a model comes last. A
    `.safetensors` is copied as it is, so embeddings that were stored with it still hold.

    Args:
        name: lower-case letters, digits and underscores; none of the registry's names and aliases.
        weights_path: a checkpoint that `load_model` takes; what it is, is told from its tensors.
        notes: what else is known.
        overwrite: replace an own model that has the name.

    Returns:
        Its entry, as `find_entry(name)` gives it from now on.

    Raises:
        WeightsError: for a name that cannot be had, notes that make no sense, or a folder that cannot be written;
            `CheckpointError` for a file that is no model of ours.
    """
    target, record = own_model_files(name)
    if not overwrite and (target.exists() or record.exists()):
        raise WeightsError(
            f"there is a model {name!r} of your own in {target.parent} already: choose another name, or say "
            "--overwrite (overwrite=True)"
        )
    source = Path(weights_path).expanduser()
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            _removed_afterwards(target, OWN_SUFFIX) as copy,
            _removed_afterwards(record, ".part") as new_record,
        ):
            spec = _copy_checked(source, copy)
            entry = _make_entry(name, spec, copy, notes or ModelNotes())
            new_record.write_text(entry.model_dump_json(indent=2) + "\n", encoding="utf-8")
            copy.replace(target)
            new_record.replace(record)
    except OSError as error:
        raise WeightsError(
            f"{source} cannot be added to {target.parent}: {error.strerror or error}. Choose another folder "
            f"with {MODELS_VARIABLE}"
        ) from error
    return entry


@contextmanager
def _removed_afterwards(path: Path, suffix: str) -> Iterator[Path]:
    """A name beside `path` that nobody uses; what is there in the end goes."""
    beside = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{suffix}")
    try:
        yield beside
    finally:
        with suppress(OSError):  # a disk that can only be read refuses this, too
            beside.unlink(missing_ok=True)


def _copy_checked(source: Path, copy: Path) -> ModelSpec:
    """Write `copy` and load it: what is checked is what will be kept, even if `source` changes meanwhile."""
    if not source.is_file():
        raise CheckpointError(f"no checkpoint at {source}")
    try:
        if source.suffix == OWN_SUFFIX:
            shutil.copyfile(source, copy)
        else:
            state = read_state(source)
            known = recognise_spec(state)
            save_state(state, copy, label={"spec": known.name if known else "unknown"})
        return spec_of_model(load_checkpoint(copy))
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(copy), str(source))) from error


def _make_entry(name: str, spec: ModelSpec, weights: Path, notes: ModelNotes) -> Entry:
    scaling = notes.scaling or scaling_of(spec)
    if scaling == "imagenet" and scaling_of(spec) == "unit":
        raise WeightsError(f"{name}: scaling is 'imagenet', but {spec.name} always takes 0..1: wanted 'unit'")
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    takes = "0..1" if scaling == "unit" else "0..255, ImageNet mean and standard deviation"
    record = {
        "name": name,
        "title": notes.title or f"{name}, added by you",
        "spec": spec.name,
        "source": {"kind": "own"},
        "hashes": {"sha256": sha256},
        "size_bytes": weights.stat().st_size,
        "licence": notes.licence or "not said",
        "citation": "none: a model of your own",
        "trained_on": notes.trained_on or "not said",
        "input": f"RGB {takes}",
        "window": notes.window,
        "scaling": scaling,
    }
    try:
        return Entry.model_validate(record)
    except ValidationError as error:
        raise WeightsError(f"{name} cannot be added: {validation_reason(error)}") from error
