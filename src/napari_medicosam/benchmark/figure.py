"""The benchmark as a picture: what is waited for, and ours as a share of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.benchmark.report import SIDE_TITLES, show
from napari_medicosam.benchmark.rows import EAGER, MICRO_SAM, OURS, ROWS
from napari_medicosam.io.figure_style import (
    INK,
    QUIET,
    STYLE,
    Look,
    legend_below,
    line_handle,
    looks,
    new_figure,
    save_figure,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_medicosam.benchmark.report import BenchReport
    from napari_medicosam.benchmark.rows import Row, Spread

_SIDES = (OURS, EAGER, MICRO_SAM)
_WIDTH = 10.5


def draw_report(report: BenchReport, folder: Path) -> list[Path]:
    """Write bench.png and bench.svg, see `save_figure`; nothing for a report without times."""
    import matplotlib as mpl

    rows = [row for name in ROWS if (row := report.row(name)) is not None and row.unit == "s"]
    if not rows:
        return []
    with mpl.rc_context(STYLE):
        return save_figure(_figure(report, rows), folder, "bench")


def _figure(report: BenchReport, rows: Sequence[Row]) -> Figure:
    """Times with quartiles on the left, ratios on the right where there is somebody to compare with."""
    style = looks(_SIDES)
    title = f"medicosam bench: {report.model.name}"
    figure = new_figure(_WIDTH, 0.9 + 0.36 * max(len(rows), 4), title, _subtitle(report))
    times, ratios = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    times.set_title("Time: median and quartiles")
    ratios.set_title("Ours / theirs, round by round")
    for place, row in enumerate(rows):
        _draw_times(times, row, place, style)
        _draw_ratios(ratios, row, place, style)
    _label(times, ratios, rows)
    present = [side for side in _SIDES if any(side in row.samples for row in rows)]
    handles = [line_handle(SIDE_TITLES[side], style[side]) for side in present]
    legend_below(figure, handles, _WIDTH)
    return figure


def _subtitle(report: BenchReport) -> str:
    machine = report.machine
    memory = f", {machine.memory_bytes / 2**30:.0f} GiB" if machine.memory_bytes else ""
    where = machine.gpu or f"{machine.cpu} ({', '.join(machine.cpu_flags) or machine.cpu_capability})"
    shares = [
        f"{part} {' and '.join(f'{100 * share:.0f} % ({SIDE_TITLES[side]})' for side, share in sides.items())}"
        for part, sides in report.shares.items()
    ]
    product = report.row("matmul_fp32")
    limit = ""
    if product is not None and shares:
        rate = show(product.spreads[OURS].median, product.unit)
        limit = f" Reached of a float32 matrix product's {rate}: {'; '.join(shares)}."
    return (
        f"{where}, {machine.cores} cores, threads: {machine.torch_threads[0]}{memory}; "
        f"torch {machine.versions.get('torch', '?')}; {report.date}; {report.settings.repeats} rounds.{limit}"
    )


def _whisker(axes: Axes, spread: Spread, place: float, look: Look) -> None:
    axes.plot([spread.q1, spread.q3], [place, place], color=look.colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot([spread.median], [place], color=look.colour, marker=look.marker, linestyle="none")


def _draw_times(axes: Axes, row: Row, place: int, style: dict[str, Look]) -> None:
    present = [side for side in _SIDES if side in row.samples]
    for side, offset in zip(present, _offsets(len(present)), strict=True):
        _whisker(axes, row.spreads[side], place + offset, style[side])
    if row.limit is not None and not row.ratios:
        _limit(axes, row.limit, place)


def _draw_ratios(axes: Axes, row: Row, place: int, style: dict[str, Look]) -> None:
    present = [side for side in row.ratios if side in _SIDES]
    for side, offset in zip(present, _offsets(len(present)), strict=True):
        spread = row.ratios[side]
        _whisker(axes, spread, place + offset, style[side])
        axes.annotate(
            f"{spread.median:.2f}", (spread.q3, place + offset), (5, 0), textcoords="offset points",
            va="center", size=7.5, color=INK,
        )  # fmt: skip
    if row.limit is not None and present:
        _limit(axes, row.limit, place)


def _limit(axes: Axes, limit: float, place: int) -> None:
    axes.plot([limit, limit], [place - 0.4, place + 0.4], color=INK, linewidth=1.4)


def _offsets(number: int) -> Sequence[float]:
    """Of several marks in one line, from its middle."""
    return [0.24 * (k - (number - 1) / 2) for k in range(number)]


def _label(times: Axes, ratios: Axes, rows: Sequence[Row]) -> None:
    times.set_yticks(range(len(rows)), [row.kind.title for row in rows])
    times.set_ylim(len(rows) - 0.4, -0.6)
    times.set_xscale("log")
    ends = [value for row in rows for spread in row.spreads.values() for value in (spread.q1, spread.q3)]
    above_zero = [value for value in ends if value > 0] or [1.0]
    times.set_xlim(
        *(10.0 ** end(np.log10(pick(above_zero))) for end, pick in ((np.floor, min), (np.ceil, max)))
    )
    times.xaxis.set_major_formatter(lambda value, _: show(value, "s"))
    times.xaxis.set_minor_formatter(lambda *_: "")
    highest = max((spread.q3 for row in rows for spread in row.ratios.values()), default=1.0)
    ratios.set_xlim(0, 1.15 * max(1.0, highest))
    ratios.axvline(1.0, color=QUIET, linewidth=1.0)
    ratios.set_xlabel("below 1 ours is faster; black bars: wanted")
    ratios.tick_params(axis="y", length=0)
    for axes in (times, ratios):
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        for place in np.arange(len(rows) - 1) + 0.5:
            axes.axhline(place, color="#f2f2f2", linewidth=0.6)
