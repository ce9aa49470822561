"""Models of the user's own, by name: where they lie, what they are, and removing them.

Each is two files in a folder: `NAME.safetensors`, and `NAME.json` with its `Entry`, which is written last. They cannot
be had again, so the folder is none of the cache's: it is `NAPARI_MEDICOSAM_MODELS`, or `models` in the user's data
folder of the operating system. Adding is in `weights/adding.py`, which needs torch; listing does not.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from napari_medicosam.errors import WeightsError
from napari_medicosam.weights.registry import NAME_PATTERN, OWN_SUFFIX, Entry, by_name, load_registry

MODELS_VARIABLE = "NAPARI_MEDICOSAM_MODELS"

_logger = logging.getLogger(__name__)


def own_models_folder() -> Path:
    """Folder of the user's own models: `NAPARI_MEDICOSAM_MODELS`, or the operating system's; it need not exist."""
    wanted = os.environ.get(MODELS_VARIABLE, "").strip()
    if wanted:
        return Path(wanted).expanduser().absolute()
    return Path(platformdirs.user_data_dir("napari-medicosam", appauthor=False)) / "models"


def own_entries() -> tuple[Entry, ...]:
    """The user's own models by name, read from disk. One that cannot be used is left out, with a logged warning."""
    published = by_name(load_registry().entries)
    entries = []
    for record in sorted(own_models_folder().glob("*.json")):
        try:
            entry = _read_record(record)
        except WeightsError as error:
            _logger.warning("a model of your own is left out: %s", error)
            continue
        if entry.name in published:  # of a version of this package that came after the model
            _logger.warning(
                "a model of your own is left out: %s has the name of one that napari-medicosam lists", record
            )
            continue
        entries.append(entry)
    return tuple(entries)


def own_model_files(name: str) -> tuple[Path, Path]:
    """Weights and record of the own model with this name, there or not.

    Raises:
        WeightsError: for a name that no own model can have.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise WeightsError(
            f"{name!r} is no name of a model: wanted lower-case letters, digits and underscores"
        )
    if name in by_name(load_registry().entries):
        raise WeightsError(
            f"{name!r} is a model that napari-medicosam lists, which you can neither replace nor remove: wanted "
            "the name of a model of your own"
        )
    folder = own_models_folder()
    return folder / f"{name}{OWN_SUFFIX}", folder / f"{name}.json"


def remove_own_model(name: str) -> None:
    """Delete the weights and the record of an own model, a damaged one too.

    Raises:
        WeightsError: for a name of the registry, for one that no own model has, or when a file cannot be deleted.
    """
    weights, record = own_model_files(name)
    if not (weights.exists() or record.exists()):
        known = ", ".join(entry.name for entry in own_entries()) or "none there"
        raise WeightsError(f"no model {name!r} of your own in {weights.parent}: wanted one of {known}")
    try:
        record.unlink(missing_ok=True)
        weights.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(f"{name} cannot be removed: {error}") from error


def _read_record(path: Path) -> Entry:
    try:
        entry = Entry.model_validate_json(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise WeightsError(f"{path} is not valid: {validation_reason(error)}") from error
    if entry.source.kind != "own" or entry.name != path.stem or entry.aliases:
        raise WeightsError(
            f"{path} is of {entry.name!r} with source {entry.source.kind!r} and {len(entry.aliases)} aliases: "
            f"wanted {path.stem!r}, source 'own' and no alias"
        )
    return entry


def validation_reason(error: ValidationError) -> str:
    """What pydantic found first, in one line."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
