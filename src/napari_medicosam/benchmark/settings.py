"""What a run of the benchmark measures: a record, read from YAML and checked before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_medicosam.benchmark.rows import ROWS
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from pathlib import Path

Count = Annotated[int, Field(ge=1)]
Shape = tuple[Count, Count, Count]
Part = Literal["encode", "prompts", "batch", "propagation", "first_mask", "storage", "processes", "memory"]

PARTS: tuple[Part, ...] = (
    "encode",
    "prompts",
    "batch",
    "propagation",
    "first_mask",
    "storage",
    "processes",
    "memory",
)
"""In the order they are run."""


class BenchSettings(BaseModel):
    """One run.

    Attributes:
        model: a name of the list of models or a checkpoint file; with `random_weights` an architecture (`SPECS`).
        runtime: what encodes for ours: a name of `predict.runtimes.RUNTIMES`.
        random_weights: build the architecture without weights: for speed alone.
        parts: what is measured.
        repeats: samples of everything that takes a few seconds at most.
        slow_repeats: samples of the rest: first masks, processes, matrix products.
        memory_repeats: samples of the peak memory.
        scan_shape: (z, y, x) of the scan, made from the slices of the sample scan.
        objects: that are asked together.
        slices: that a propagation fills.
        memory_shape: (z, y, x) of the OME-Zarr.
        memory_slices: of it that are embedded.
        matmul_size: side of the matrices.
        limits: by row, see `Row.limit`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = DEFAULT_MODEL
    runtime: str = "auto"
    random_weights: bool = False
    parts: tuple[Part, ...] = Field(default=PARTS, min_length=1)
    repeats: Count = 15
    slow_repeats: Count = 5
    memory_repeats: Count = 1
    scan_shape: Shape = (300, 512, 512)
    objects: Count = 10
    slices: Count = 8
    memory_shape: Shape = (1000, 512, 512)
    memory_slices: Count = 8
    matmul_size: Count = 2048
    limits: dict[str, float] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if unknown := sorted(self.limits.keys() - ROWS.keys()):
            raise ValueError(
                f"unknown rows in limits: {', '.join(unknown)}; wanted some of {', '.join(ROWS)}"
            )
        if self.scan_shape[0] < self.slices + 2:
            raise ValueError(
                f"scan_shape has {self.scan_shape[0]} slices, wanted {self.slices} to propagate through and two more"
            )
        if self.memory_shape[0] < self.memory_slices:
            raise ValueError(
                f"memory_slices must be at most {self.memory_shape[0]}, got {self.memory_slices}"
            )
        return self

    def quick(self) -> BenchSettings:
        """The same for a first look: few repeats, and a smaller OME-Zarr."""
        z, y, x = self.memory_shape
        less = {
            "repeats": min(self.repeats, 3),
            "slow_repeats": min(self.slow_repeats, 2),
            "memory_slices": min(self.memory_slices, 2),
            "memory_shape": (min(z, 200), y, x),
        }
        return self.model_copy(update=less)


def read_settings(path: Path) -> BenchSettings:
    """Settings from a YAML file; what it leaves out has its default.

    Raises:
        FileError: for a file that cannot be read or is no YAML.
        InputError: for settings that make no sense, with every field that is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read the settings {path}: {error}") from error
    except yaml.YAMLError as error:
        raise FileError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    try:
        return BenchSettings.model_validate(content)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors()]
        raise InputError(f"{path} cannot be used: {'; '.join(wrong)}") from error
