"""What a run says about itself: where it came from, what it had, what it needs to be repeated."""

from __future__ import annotations

import csv
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch

from napari_medicosam.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_medicosam.training.config import RunConfig
    from napari_medicosam.weights.loading import LoadedModel

_PACKAGES = (
    "napari-medicosam",
    "torch",
    "torchvision",
    "segment-anything",
    "lightning",
    "numpy",
    "scikit-image",
)


def write_record(
    path: Path, config: RunConfig, model: LoadedModel, data: Mapping[str, Any], world_size: int
) -> None:
    """Write `run.json`: versions, machine, starting weights, and what was found in the data with its digest.

    Nothing of it names a patient's file: samples are counted and digested.
    """
    record = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "device": str(model.sam.device),
        "processes": world_size,
        "threads": torch.get_num_threads(),
        "seed": config.seed,
        "start": {"model": config.model, "spec": model.spec.name, "weights_sha256": model.weights_sha256},
        "data": dict(data),
    }
    try:
        path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error}") from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def check_start(path: Path, model: LoadedModel) -> None:
    """Raise `TrainingError` when a run's `run.json` says that it started from other weights than `model`'s.

    A checkpoint holds what learns; the rest comes from the start, so it must be the same.
    """
    try:
        started = json.loads(path.read_text("utf-8"))["start"]["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"cannot read {path}, which says what the run started from: {error!r}") from error
    if started != model.weights_sha256:
        raise TrainingError(
            f"{model.name} is not what the run in {path.parent} started from: wanted weights with sha256 {started}, "
            f"got {model.weights_sha256}"
        )


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Add a line to a CSV, with a heading when it is new or empty."""
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if not file.tell():
                writer.writerow(row)
            writer.writerow(f"{value:.6g}" if isinstance(value, float) else value for value in row.values())
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error}") from error


def forget_after(path: Path, step: int) -> None:
    """Drop the lines of a CSV that tell of later steps than the checkpoint that a run goes on from, and torn ones."""
    if not path.exists():
        return
    lines = path.read_text("utf-8", errors="replace").splitlines(keepends=True)
    kept = lines[:1] + [line for line in lines[1:] if _is_known(line, step)]
    if lines and not lines[0].endswith("\n"):
        kept = []  # killed in the middle of the heading
    if len(kept) < len(lines):
        beside = path.with_name(f".{path.name}.part")
        beside.write_text("".join(kept), "utf-8")
        beside.replace(path)


def _is_known(line: str, step: int) -> bool:
    number = line.split(",")[0]
    return line.endswith("\n") and number.isdecimal() and int(number) <= step
