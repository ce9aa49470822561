"""What the benchmark's numbers are: rows of samples, side by side, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

if TYPE_CHECKING:
    from collections.abc import Sequence

Unit = Literal["s", "bytes", "iou", "FLOP/s"]

OURS, EAGER, MICRO_SAM, SINGLE = "ours", "eager", "micro_sam", "ours_single"


@dataclass(frozen=True, slots=True)
class RowKind:
    """What a row measures.

    Attributes:
        title: for tables and figures.
        unit: of its samples.
        against: sides that ours is compared with; the first that was measured is held against the row's limit. Empty
            where our own number is.
        more_is_better: the limit is a least value.
    """

    title: str
    unit: Unit = "s"
    against: tuple[str, ...] = ()
    more_is_better: bool = False


ROWS: dict[str, RowKind] = {
    "encode": RowKind("Cold encode, a slice", against=(EAGER, MICRO_SAM)),
    "prompt_point": RowKind("Warm prompt: point", against=(EAGER, MICRO_SAM)),
    "prompt_box": RowKind("Warm prompt: box", against=(EAGER, MICRO_SAM)),
    "prompt_mask": RowKind("Warm prompt: box and last mask", against=(EAGER,)),
    "batch": RowKind("Ten objects on a slice", against=(EAGER, MICRO_SAM, SINGLE)),
    "propagation": RowKind("Propagation, a cached slice", against=(MICRO_SAM, EAGER)),
    "first_mask_axis0": RowKind("First mask, axis 0", against=(EAGER,)),
    "first_mask_axis1": RowKind("First mask, axis 1", against=(EAGER,)),
    "first_mask_axis2": RowKind("First mask, axis 2", against=(EAGER,)),
    "first_mask_overhead_axis0": RowKind("First mask beyond encode and prompt, axis 0"),
    "first_mask_overhead_axis1": RowKind("First mask beyond encode and prompt, axis 1"),
    "first_mask_overhead_axis2": RowKind("First mask beyond encode and prompt, axis 2"),
    "write_disk": RowKind("Embedding to disk, a slice"),
    "read_disk": RowKind("Embedding from disk, a slice"),
    "write_memory": RowKind("Embedding to memory, a slice"),
    "read_memory": RowKind("Embedding from memory, a slice"),
    "bytes_on_disk": RowKind("Embedding on disk, a slice", "bytes"),
    "write_disk_int8": RowKind("Embedding to disk as int8, a slice"),
    "read_disk_int8": RowKind("Embedding from disk as int8, a slice"),
    "bytes_on_disk_int8": RowKind("Embedding on disk as int8, a slice", "bytes"),
    "peak_memory": RowKind("Peak memory, large OME-Zarr", "bytes"),
    "import": RowKind("import napari_medicosam"),
    "start": RowKind("medicosam --help"),
    "ready": RowKind("Process start to loaded model"),
    "iou_point": RowKind("IoU of masks to eager: point", "iou", more_is_better=True),
    "iou_box": RowKind("IoU of masks to eager: box", "iou", more_is_better=True),
    "iou_mask": RowKind("IoU of masks to eager: box and last mask", "iou", more_is_better=True),
    "iou_int8": RowKind("IoU of masks to eager: box, stored as int8", "iou", more_is_better=True),
    "matmul_fp32": RowKind("Matrix product, float32", "FLOP/s"),
    "matmul_bf16": RowKind("Matrix product, bfloat16", "FLOP/s"),
}
"""By name, in the order of tables."""


class Spread(BaseModel):
    """Median and quartiles of some samples."""

    model_config = ConfigDict(frozen=True)

    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Of at least one sample."""
        q1, median, q3 = (float(value) for value in np.percentile(samples, (25, 50, 75)))
        return cls(median=median, q1=q1, q3=q3)


class Row(BaseModel):
    """One line of the benchmark. Samples of its sides belong together: number i of each was taken in round i.

    Attributes:
        name: key of `ROWS`.
        samples: by side, in the unit of the row.
        limit: most (of `iou`: least) that is wanted of the ratio to the first side of `RowKind.against` that was
            measured, or of our own median where there is none; None where nothing is.
        note: what a reader has to know.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    samples: dict[str, Annotated[tuple[float, ...], Field(min_length=1)]]
    limit: float | None = None
    note: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name not in ROWS:
            raise ValueError(f"unknown row {self.name!r}, wanted one of {', '.join(ROWS)}")
        if OURS not in self.samples or len({len(values) for values in self.samples.values()}) > 1:
            counts = ", ".join(f"{side}: {len(values)}" for side, values in self.samples.items())
            raise ValueError(
                f"wanted samples of {OURS!r}, and as many of every other side, got {counts or 'none'}"
            )
        return self

    @property
    def kind(self) -> RowKind:
        """What is measured."""
        return ROWS[self.name]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def unit(self) -> str:
        """Of the samples."""
        return self.kind.unit

    @computed_field  # type: ignore[prop-decorator]
    @property
    def spreads(self) -> dict[str, Spread]:
        """By side."""
        return {side: Spread.of(values) for side, values in self.samples.items()}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ratios(self) -> dict[str, Spread]:
        """Ours by theirs, by side; quotients are taken round by round, so that noise which hits both cancels."""
        found = {}
        for side in self.kind.against:
            if side in self.samples:
                pairs = zip(self.samples[OURS], self.samples[side], strict=True)
                found[side] = Spread.of([ours / theirs for ours, theirs in pairs])
        return found

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_reached(self) -> bool | None:
        """Whether the limit is kept; None without one."""
        if self.limit is None:
            return None
        ratio = next(iter(self.ratios.values()), None)
        value = self.spreads[OURS].median if ratio is None else ratio.median
        return value >= self.limit if self.kind.more_is_better else value <= self.limit
