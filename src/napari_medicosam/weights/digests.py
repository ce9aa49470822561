"""Which weights a name stands for here, known without loading them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from napari_medicosam.errors import WeightsError
from napari_medicosam.weights.catalogue import find_entry
from napari_medicosam.weights.fetch import local_path
from napari_medicosam.weights.registry import is_checkpoint_path


def sha256_of_weights(name_or_path: str | Path) -> str | None:
    """Hex digest of the file behind a name of the registry, one of your own models, or a checkpoint's path.

    What is published of a file counts as its digest, as it is checked whenever the file is fetched. None where that
    is not known: a file that is not here, a name that nobody knows, weights that come from no file.
    """
    if is_checkpoint_path(name_or_path):
        path = Path(name_or_path).expanduser()
        return sha256_of_file(path) if path.is_file() else None
    try:
        entry = find_entry(str(name_or_path))
    except WeightsError:
        return None
    if entry.source.kind == "seeded":
        return None
    here = local_path(entry)
    return entry.hashes.sha256 or (None if here is None else sha256_of_file(here))


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
