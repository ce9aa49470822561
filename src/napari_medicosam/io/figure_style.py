"""How all figures look: fonts, colours that colour-blind readers can tell apart, titles, and how they are saved."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "savefig.facecolor": "white",
    "svg.hashsalt": "napari-medicosam",  # one figure, one file
}

QUIET, INK = "#666666", "#222222"
START_COLOURS = {"point": ("#5ec962", "#a9d8b0", "#14532d"), "box": ("#fdd835", "#c9b6dd", "#4a1a6b")}
"""Bars of the paper's Fig. 3a: first prompt, first corrections, last correction."""

START_TITLES = {"point": "Start: one point", "box": "Start: a box"}

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_DPI = 200


@dataclass(frozen=True, slots=True)
class Look:
    """How one model, or another thing that is compared, is drawn in a figure."""

    colour: str
    marker: str
    dashes: Any


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name, by its place; colours repeat after seven, with other markers and dashes."""
    found = {}
    for place, name in enumerate(names):
        turn = place // len(_COLOURS)
        marker = _MARKERS[(place + turn) % len(_MARKERS)]
        found[name] = Look(_COLOURS[place % len(_COLOURS)], marker, _DASHES[turn % len(_DASHES)])
    return found


def new_figure(width: float, height: float, title: str, subtitle: str) -> Figure:
    """A figure (inches) without pyplot, with room for its axes under a title that says what is shown and on what.

    Args:
        width: of the figure.
        height: of what is under the title.
        title: what is shown.
        subtitle: on what; wrapped to the width.
    """
    from matplotlib.figure import Figure

    lines = textwrap.wrap(subtitle, int(width * 14.5))
    lines_of_title = textwrap.wrap(title, int(width * 10))
    head = 0.14 + 0.23 * len(lines_of_title) + 0.165 * len(lines) + 0.08
    total = height + head
    figure = Figure(figsize=(width, total), dpi=_DPI, layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, height / total), w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.03)
    left, top = 0.1 / width, 1 - 0.12 / total
    figure.text(
        left, top, "\n".join(lines_of_title), size=12, weight="bold", color=INK, va="top", linespacing=1.15
    )
    below = top - (0.23 * len(lines_of_title) + 0.02) / total
    figure.text(left, below, "\n".join(lines), size=8.5, color=QUIET, va="top", linespacing=1.2)
    return figure


def panels(figure: Figure, titles: Sequence[str], columns: int, **options: Any) -> Iterator[Axes]:
    """Axes with shared scales, row by row; places of the last row that have no title stay empty."""
    grid = figure.subplots(-(-len(titles) // columns), columns, squeeze=False, **options)
    for number, axes in enumerate(grid.flat):
        if number >= len(titles):
            axes.remove()
            continue
        axes.set_title(titles[number])
        yield axes


def score_axis(axes: Axes, low: float = 0.0) -> None:
    """A y axis for Dice and IoU."""
    axes.set_ylim(low, 1.0)
    axes.set_yticks([v / 5 for v in range(6) if v / 5 >= low])


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write `name`.png and `name`.svg; a rerun on the same data gives the same files.

    Raises:
        FileError: when the folder cannot be written to.
    """
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    try:
        figure.savefig(paths[0], dpi=_DPI)
        figure.savefig(paths[1], metadata={"Date": None})
    except OSError as error:
        raise FileError(f"cannot write the figure {paths[0]}: {error}") from error
    return paths


def fold(name: str, length: int = 16) -> str:
    """A long name on several lines, broken after an underscore, hyphen, slash, dot, comma or blank."""
    parts = re.findall(r"[^_\-., /]*[_\-., /]*", name)
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > length:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def legend_below(figure: Figure, handles: Sequence[Any], width: float) -> None:
    """One legend for all panels, under them, in as many columns as fit."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), int(width / (0.55 + 0.075 * longest))))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.6, handlelength=2.4
    )


def line_handle(label: str, look: Look) -> Line2D:
    """A legend entry for lines with markers."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.dashes, label=label)
