"""What several figures have in common: curves over corrections, dots a data set, lines over the size of objects."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.evaluation.figure_data import SHARE_EDGES, STARTS, modality_of
from napari_medicosam.io.figure_style import (
    INK,
    QUIET,
    START_TITLES,
    legend_below,
    line_handle,
    new_figure,
    panels,
    score_axis,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

    from napari_medicosam.io.figure_style import Look

WHENS = ("first", "last")


def starts_in(rows: DataFrame) -> list[str]:
    """The starts that the rows have, point before box."""
    return [start for start in STARTS if (rows["start"] == start).any()]


def when_title(start: str, when: str, last_round: int) -> str:
    """What the annotator had given: "One point + 8 corrections"."""
    first = {"point": "One point", "box": "A box"}[start]
    if when == "first":
        return first
    return f"{first} + {last_round} correction{'' if last_round == 1 else 's'}"


def end_panels(table: DataFrame) -> list[tuple[str, str]]:
    """(start, when) of the panels of a figure about first prompts and last corrections."""
    found = set(zip(table["start"], table["when"], strict=True))
    return [(start, when) for start in STARTS for when in WHENS if (start, when) in found]


def draw_curve(axes: Axes, curve: DataFrame, look: Look) -> None:
    """A line over the rounds of `overall`, with a band of one standard deviation over seeds."""
    rounds, mean, deviation = (
        np.asarray(v, dtype=float) for v in (curve.index, curve["mean"], curve["deviation"])
    )
    many = len(rounds) > 16
    axes.fill_between(rounds, mean - deviation, mean + deviation, color=look.colour, alpha=0.18, linewidth=0)
    axes.plot(
        rounds, mean, color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=4.5,
        markevery=4 if many else 1,
    )  # fmt: skip


def round_axis(axes: Axes, last_round: int) -> None:
    """An x axis of corrections."""
    step = next(step for step in (1, 2, 4, 8, 16, 32, last_round + 1) if last_round / step <= 10)
    axes.set_xticks(range(0, last_round + 1, step))
    axes.set_xlim(-0.03 * max(last_round, 1), 1.03 * max(last_round, 1))
    axes.set_xlabel("corrections (one positive and one negative point each)")


@dataclass(frozen=True, slots=True, eq=False)
class DotPlot:
    """What there is to say about a figure with dots, besides its numbers.

    Attributes:
        title, subtitle, x_label: its words.
        rows: the scores that it is drawn from, for the modality of each data set.
        last_round: how many corrections a filled dot stands for.
        about_zero: whether values are differences.
    """

    title: str
    subtitle: str
    x_label: str
    rows: DataFrame
    last_round: int
    about_zero: bool


def dots_by_dataset(table: DataFrame, variant: str, style: Mapping[str, Look], plot: DotPlot) -> Figure:
    """A line of dots a data set and variant: hollow after the first prompt, filled after the last correction.

    Args:
        table: as `per_dataset` or `difference` give it.
        variant: the column of what is compared.
        style: the look of each variant, in the order in which they are drawn.
        plot: see there.
    """
    names = [name for name in style if (table[variant] == name).any()]
    order = table.groupby("dataset")["dice"].mean().sort_values(ascending=False).index.tolist()
    starts = starts_in(table)
    row_height = 0.13 * len(names) + 0.13
    width, height = 9.0, row_height * (len(order) + 1) + 1.15
    figure = new_figure(width, height, plot.title, plot.subtitle)
    titles = [START_TITLES[start] for start in starts]
    grid = panels(figure, titles, len(starts), sharey=True, sharex=True)
    for axes, start in zip(grid, starts, strict=True):
        of_start = table[table["start"] == start]
        for number, name in enumerate(names):
            shift = (number - (len(names) - 1) / 2) * 0.13 / row_height
            _draw_dots(axes, of_start[of_start[variant] == name], style[name], order, shift)
        _dataset_axis(axes, order, modality_of(plot.rows))
        axes.set_xlabel(plot.x_label)
        if plot.about_zero:
            axes.axvline(0, color=INK, linewidth=1)
            axes.locator_params(axis="x", nbins=5)
        else:
            axes.set_xlim(0, 1)
    handles = [*(line_handle(name, style[name]) for name in names), *_dot_handles(plot.last_round)]
    legend_below(figure, handles, width)
    return figure


def _draw_dots(axes: Axes, of_variant: DataFrame, look: Look, order: Sequence[str], shift: float) -> None:
    """Dots of one variant: a line a data set in this order, then one for their mean."""
    table = of_variant.pivot_table(index="dataset", columns="when", values="dice").reindex(order)
    values = {str(when): np.append(table[when], table[when].mean()) for when in table}
    y = np.arange(len(order) + 1) + shift
    if len(values) == 2:
        axes.hlines(y, values["first"], values["last"], color=look.colour, alpha=0.45, linewidth=1.4)
    for when, face in (("first", "white"), ("last", look.colour)):
        if when in values:
            axes.plot(
                values[when], y, look.marker, color=look.colour, markerfacecolor=face, markersize=5, zorder=3
            )


def _dataset_axis(axes: Axes, order: Sequence[str], modality: Series) -> None:
    for place in range(0, len(order), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="#f6f6f6", zorder=0)
    axes.axhline(len(order) - 0.5, color=QUIET, linewidth=0.8)
    axes.set_ylim(len(order) + 0.5, -0.5)
    labels = [f"{name} · {modality[name]}" if modality[name] else name for name in order]
    axes.set_yticks(range(len(order) + 1), [*labels, "mean of the data sets"])
    for label in axes.get_yticklabels()[-1:]:  # none on the second panel
        label.set_fontweight("bold")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")


def _dot_handles(last_round: int) -> list[Any]:
    from matplotlib.lines import Line2D

    kinds = [("after the first prompt", "white")]
    if last_round > 0:
        kinds.append((f"after {last_round} correction{'' if last_round == 1 else 's'}", QUIET))
    return [
        Line2D([], [], color=QUIET, marker="o", linestyle="", markerfacecolor=face, label=label)
        for label, face in kinds
    ]


def size_lines(axes: Axes, table: DataFrame, variant: str, style: Mapping[str, Look]) -> None:
    """Dice over the bins of `by_object_share`, one line a variant, with the standard error over objects."""
    for name, of_name in table.groupby(variant, sort=False):
        look = style[str(name)]
        axes.errorbar(
            of_name["bin"], of_name["mean"], yerr=of_name["error"], color=look.colour, marker=look.marker,
            linestyle=look.dashes, elinewidth=1, capsize=2,
        )  # fmt: skip


def size_axis(axes: Axes, counts: Mapping[int, int]) -> None:
    """An x axis of object sizes that says how many objects are in each bin."""
    edges = [f"{100 * edge:g}" for edge in SHARE_EDGES]
    labels = [f"{low}–{high}" for low, high in itertools.pairwise(edges)]
    labels[0], labels[-1] = f"< {edges[1]}", f"> {edges[-2]}"
    places = sorted(counts)
    axes.set_xticks(places, [f"{labels[place]}\nn={counts[place]}" for place in places], fontsize=7.5)
    axes.set_xlabel("share of the image (%), number of objects")
    score_axis(axes)
    subplot = axes.get_subplotspec()
    if subplot is None or subplot.is_first_col():
        axes.set_ylabel("Dice")
