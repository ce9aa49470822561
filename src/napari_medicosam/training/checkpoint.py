"""The state of a run on disk, so that a killed one goes on as if nothing had happened.

Nothing random is stored: every draw is seeded from the run's seed and the step, so weights, optimizer and step are all.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from napari_medicosam.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class RunState:
    """What a run needs to go on.

    Attributes:
        step: optimizer steps done.
        learned: tensors that learn, by name (`sam.` and `semantic.` prefixes).
        average: their moving average, by the same names, without semantic ones.
        semantic: state dict of the semantic term, batch norms included; empty without it.
        optimizer: its state dict.
        best_score, best_step: of the best validation so far; -inf and 0 before the first.
        scaler: state of the loss scaling of 16-mixed; empty otherwise.
    """

    step: int
    learned: dict[str, Tensor]
    average: dict[str, Tensor]
    semantic: dict[str, Tensor]
    optimizer: dict[str, Any]
    best_score: float
    best_step: int
    scaler: dict[str, Any] = field(default_factory=dict)


def save_state(path: Path, state: RunState) -> None:
    """Write beside, flush to the disk, then move; `TrainingError` when that cannot be done. The old file stays then."""
    content = {
        "format": FORMAT,
        "step": state.step,
        "learned": state.learned,
        "average": state.average,
        "semantic": state.semantic,
        "optimizer": state.optimizer,
        "best_score": state.best_score,
        "best_step": state.best_step,
        "scaler": state.scaler,
    }
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):  # a disk that can only be read refuses this, too
            beside.unlink(missing_ok=True)
        raise TrainingError(f"cannot write the checkpoint {path}: {error}") from error


def load_state(path: Path) -> RunState:
    """Read a checkpoint (tensors and numbers only, nothing in it is executed).

    Raises:
        TrainingError: for a file that is damaged or none of ours.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each have their own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise TrainingError(f"cannot read the checkpoint {path}: {reason[0]}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise TrainingError(f"{path} is no checkpoint of a run: wanted format {FORMAT}, got {found}")
    del content["format"]
    return RunState(**content)
