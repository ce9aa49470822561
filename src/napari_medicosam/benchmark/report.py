"""What a run of the benchmark leaves: a JSON file that is read back, and a table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, computed_field

from napari_medicosam.benchmark.machine import Machine
from napari_medicosam.benchmark.rows import EAGER, MICRO_SAM, OURS, ROWS, SINGLE, Row, Spread
from napari_medicosam.benchmark.settings import BenchSettings
from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SIDE_TITLES = {OURS: "ours", EAGER: "eager", MICRO_SAM: "micro-sam", SINGLE: "ours, one by one"}

_ROOFLINE = {"encoder": "encode", "decoder": "prompt_box"}
"""The row that times what the arithmetic was counted of."""

_SECONDS = ((1, ""), (1e3, "m"), (1e6, "µ"))

_NUMBERS = re.compile(r'\[\s*(-?\d[^\[\]"]*)\]')


class MeasuredModel(BaseModel):
    """Which model it was.

    Attributes:
        name: as `--model` was given.
        architecture: key of `SPECS`.
        weights_sha256: of the weights.
        device: of torch.
        runtime: that encoded for ours.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    architecture: str
    weights_sha256: str
    device: str
    runtime: str


class BenchReport(BaseModel):
    """One run.

    Attributes:
        schema_version: of this record.
        date: of the run, YYYY-MM-DD.
        settings: what was asked for.
        model: that all sides ran.
        machine: where, with which versions and how many threads.
        flops: floating point operations of the `encoder` for a slice and of the `decoder` for a box.
        rows: what was measured.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    date: str
    settings: BenchSettings
    model: MeasuredModel
    machine: Machine
    flops: dict[str, int]
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """The row of a name, if it was measured."""
        return next((row for row in self.rows if row.name == name), None)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def shares(self) -> dict[str, dict[str, float]]:
        """By part of the model and side: the rate it reaches, as a share of that of a float32 matrix product."""
        product = self.row("matmul_fp32")
        if product is None:
            return {}
        rate = product.spreads[OURS].median
        timed = {part: self.row(name) for part, name in _ROOFLINE.items()}
        return {
            part: {
                side: self.flops[part] / spread.median / rate
                for side, spread in row.spreads.items()
                if side in (OURS, EAGER)
            }
            for part, row in timed.items()
            if row is not None
        }

    def as_json(self) -> str:
        """Samples with what follows from them; numbers of a list in one line."""
        text = self.model_dump_json(indent=2)
        return _NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text) + "\n"

    def as_table(self) -> str:
        """Markdown: a line a row, quartiles in brackets; then the roofline."""
        lines = [
            f"| {self.model.name}, {self.model.runtime} "
            "| ours | eager | micro-sam | ours / eager | ours / micro-sam | wanted | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_line(row) for row in _ordered(self.rows)]
        for part, shares in self.shares.items():
            cells = [
                f"{100 * shares[side]:.0f} %" if side in shares else "" for side in (OURS, EAGER, MICRO_SAM)
            ]
            note = f"{self.flops[part] / 1e9:.1f} GFLOP"
            lines.append(_cells(f"Share of the float32 rate, {part}", *cells, "", "", "", note))
        return "\n".join(lines)


def read_report(path: Path) -> BenchReport:
    """A report that was written as JSON; what follows from samples is computed anew.

    Raises:
        FileError: for a file that cannot be read or is no such report.
    """
    try:
        return BenchReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise FileError(f"cannot read the report {path}: {error}") from error
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'])) or 'report'}: {one['msg']}" for one in error.errors()]
        raise FileError(f"{path} is no report of medicosam bench: {'; '.join(wrong[:3])}") from error


def floors_table(runs: Mapping[str, BenchReport]) -> str:
    """Markdown: a line for every limit that runs, by name, were measured against, and whether it is kept."""
    lines = ["| floor | wanted | figure | run | where | |", "| --- | --- | --- | --- | --- | --- |"]
    for name, report in runs.items():
        run = f"{name}: {report.model.name}, {report.model.runtime}"
        where = f"{report.machine.gpu or report.machine.cpu}, {report.machine.cores} cores, {report.date}"
        for row in _ordered(report.rows):
            if row.limit is not None:
                side = next(iter(row.ratios), None)
                figure = _with_quartiles(row.spreads[OURS], row) if side is None else _ratio(row, side)
                lines.append(_cells(row.kind.title, _wanted(row), figure, run, where, row.note))
    return "\n".join(lines)


def show(value: float, unit: str) -> str:
    """A number as a reader wants it."""
    if unit == "s":
        factor, prefix = next((f, p) for f, p in _SECONDS if abs(value) * f >= 0.9995 or p == "µ")
        return f"{value * factor:.3g} {prefix}s"
    if unit == "bytes":
        return f"{value / 1e6:.2f} MB" if value < 1e9 else f"{value / 1e9:.2f} GB"
    if unit == "FLOP/s":
        return f"{value / 1e9:.0f} GFLOP/s"
    return f"{value:.4f}"


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: list(ROWS).index(row.name))


def _line(row: Row) -> str:
    def measured(side: str) -> str:
        spread = row.spreads.get(side)
        return "" if spread is None else _with_quartiles(spread, row)

    others = [
        f"{SIDE_TITLES.get(side, side)}: {_with_quartiles(spread, row)}"
        for side, spread in row.spreads.items()
        if side not in (OURS, EAGER, MICRO_SAM)
    ]
    others += [f"ours / {SIDE_TITLES[SINGLE]}: {_ratio(row, SINGLE)}"] if SINGLE in row.ratios else []
    note = "; ".join([*others, *([row.note] if row.note else [])])
    return _cells(
        row.kind.title,
        *map(measured, (OURS, EAGER, MICRO_SAM)),
        _ratio(row, EAGER),
        _ratio(row, MICRO_SAM),
        _wanted(row),
        note,
    )


def _ratio(row: Row, side: str) -> str:
    found = row.ratios.get(side)
    return "" if found is None else f"{found.median:.2f} ({found.q1:.2f} to {found.q3:.2f})"


def _with_quartiles(spread: Spread, row: Row) -> str:
    middle, low, high = (show(value, row.unit) for value in (spread.median, spread.q1, spread.q3))
    return middle if len(row.samples[OURS]) < 2 else f"{middle} ({low} to {high})"


def _wanted(row: Row) -> str:
    if row.limit is None:
        return ""
    side = next(iter(row.ratios), None)
    limit = show(row.limit, row.unit) if side is None else f"{row.limit:g}x {SIDE_TITLES[side]}"
    return f"{'≥' if row.kind.more_is_better else '≤'} {limit}: {'yes' if row.is_reached else 'no'}"


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
