"""Figures about objects: their size, the zoom on small ones, and whether a model knows how good its masks are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_medicosam.evaluation import figure_data as data
from napari_medicosam.evaluation.figure_parts import (
    DotPlot,
    dots_by_dataset,
    end_panels,
    size_axis,
    size_lines,
    when_title,
)
from napari_medicosam.io.figure_style import (
    QUIET,
    Look,
    fold,
    legend_below,
    line_handle,
    looks,
    new_figure,
    panels,
    score_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from napari_medicosam.evaluation.figure_data import Scores

_ZOOM_LOOKS = {
    "never": Look("#666666", "o", "-"),
    "auto": Look("#0072b2", "s", "-"),
    "always": Look("#d55e00", "^", (0, (4, 1.5))),
}


def zoom_by_dataset(scores: Scores) -> Figure | None:
    """What zooming changes on each data set, against the same model without zoom."""
    rows = _zoomed_rows(scores)
    if rows.empty:
        return None
    last = data.last_shared_round(rows)
    changes = []
    for model, of_model in rows.groupby("model", sort=False):
        change = data.difference(data.per_dataset(of_model, "zoom", last), "zoom", "never")
        changes.append(change.assign(variant=f"{model}, zoom " + change["zoom"].astype(str)))
    table = pd.concat(changes)
    plot = DotPlot(
        "What zooming in changes, by data set",
        "Difference in Dice to the same model without zoom; mean over the objects of each data set: "
        f"{data.describe(rows)}.",
        "difference in Dice to zoom never",
        rows,
        last,
        about_zero=True,
    )
    return dots_by_dataset(table, "variant", looks(list(table["variant"].unique())), plot)


def zoom_by_size(scores: Scores) -> Figure | None:
    """Where zooming helps: Dice against the size of the object, without and with zoom, a line of panels a model."""
    rows = _zoomed_rows(scores)
    if rows.empty or "object_share" not in rows:
        return None
    last = data.last_shared_round(rows)
    models = list(rows["model"].unique())
    tables = {model: data.by_object_share(rows[rows["model"] == model], "zoom", last) for model in models}
    ends = end_panels(tables[models[0]])
    width = 0.6 + 3.3 * len(ends)
    subtitle = f"Mean over objects and its standard error: {data.describe(rows)}."
    figure = new_figure(
        width, 2.6 * len(models) + 0.6, "Dice by object size, with and without zoom", subtitle
    )
    places = [(model, end) for model in models for end in ends]
    titles = [
        (f"{fold(model, 40)}\n" if len(models) > 1 else "") + when_title(*end, last) for model, end in places
    ]
    for axes, (model, end) in zip(panels(figure, titles, len(ends), sharey=True), places, strict=True):
        _draw_sizes(axes, tables[model], end, "zoom", _ZOOM_LOOKS)
    zooms = [zoom for zoom in _ZOOM_LOOKS if (rows["zoom"] == zoom).any()]
    legend_below(figure, [line_handle(f"zoom {zoom}", _ZOOM_LOOKS[zoom]) for zoom in zooms], width)
    return figure


def _zoomed_rows(scores: Scores) -> DataFrame:
    """Rows of models that ran with zoom never and another, on the objects that all of these have."""
    if scores.main.empty:
        return scores.main
    rows = scores.rows[scores.rows["mask_prompt"] == scores.main_setting[1]]
    zooms = rows.groupby("model", sort=False)["zoom"]
    without = rows["zoom"].eq("never").groupby(rows["model"]).transform("any")
    return data.shared_objects(rows[(zooms.transform("nunique") > 1) & without], ["model", "zoom"])


def _draw_sizes(
    axes: Axes, table: DataFrame, end: tuple[str, str], variant: str, style: dict[str, Look]
) -> None:
    here = table[(table["start"] == end[0]) & (table["when"] == end[1])]
    size_lines(axes, here, variant, style)
    size_axis(axes, here.groupby("bin")["count"].max().to_dict())


def object_size(scores: Scores) -> Figure | None:
    """Dice against the size of the object, one line a model."""
    rows = scores.main
    if rows.empty or "object_share" not in rows:
        return None
    table = data.by_object_share(rows, "model", scores.last_round)
    subtitle = f"Mean over objects and its standard error: {scores.describe()}."
    figure, places = _end_figure(table, "Dice by object size", subtitle, scores)
    style = looks(scores.models)
    for axes, end in places:
        _draw_sizes(axes, table, end, "model", style)
    return figure


def iou_calibration(scores: Scores) -> Figure | None:
    """The IoU that a model predicts for its mask against the one that is measured."""
    if not {"iou", "iou_prediction"} <= set(scores.main.columns):
        return None
    table = data.calibration(scores.main, scores.last_round)
    if table.empty:
        return None
    subtitle = (
        f"Masks in bins of predicted IoU; the larger a marker, the more masks: {scores.describe()}. On the "
        "dashed line a model knows how good it is, below it is too sure. Numbers: mean distance from that line."
    )
    figure, places = _end_figure(table, "Predicted against measured IoU", subtitle, scores)
    style = looks(scores.models)
    for axes, (start, when) in places:
        axes.plot([0, 1], [0, 1], linestyle="--", color=QUIET, linewidth=1)
        here = table[(table["start"] == start) & (table["when"] == when)]
        present = [model for model in scores.models if (here["model"] == model).any()]
        for line, model in enumerate(present):
            _draw_calibration(axes, here[here["model"] == model], style[model], line)
        axes.set(xlim=(0, 1), xlabel="predicted IoU", ylabel="measured IoU")
        axes.set_xticks([v / 5 for v in range(6)])
        axes.grid(visible=True, axis="x")
        score_axis(axes)
        axes.set_aspect("equal")
    return figure


def _draw_calibration(axes: Axes, of_model: DataFrame, look: Look, line: int) -> None:
    count = of_model["count"].to_numpy(dtype=float)
    predicted, measured = of_model["predicted"], of_model["measured"]
    axes.plot(predicted, measured, color=look.colour, linestyle=look.dashes, linewidth=1.4)
    axes.scatter(
        predicted, measured, 10 + 190 * count / count.sum(), color=look.colour, marker=look.marker, alpha=0.8,
        edgecolor="white", linewidth=0.6, zorder=3,
    )  # fmt: skip
    error = float(np.average(np.abs(predicted - measured), weights=count))
    axes.text(0.04, 0.95 - 0.075 * line, f"{error:.3f}", color=look.colour, va="top", weight="bold", size=8.5)


def _end_figure(
    table: DataFrame, title: str, subtitle: str, scores: Scores
) -> tuple[Figure, list[tuple[Axes, tuple[str, str]]]]:
    """A panel for each start and end, with the legend of the models."""
    ends = end_panels(table)
    columns = min(2, len(ends))
    width = 0.4 + 3.6 * columns
    figure = new_figure(width, 3.2 * -(-len(ends) // columns) + 0.5, title, subtitle)
    titles = [when_title(*end, scores.last_round) for end in ends]
    places = list(zip(panels(figure, titles, columns), ends, strict=True))
    style = looks(scores.models)
    legend_below(figure, [line_handle(model, style[model]) for model in scores.models], width)
    return figure, places
