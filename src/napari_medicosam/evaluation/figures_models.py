"""Figures that compare models: over corrections, data sets, seeds, and with the previous mask as a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.evaluation import figure_data as data
from napari_medicosam.evaluation.figure_parts import (
    DotPlot,
    dots_by_dataset,
    draw_curve,
    round_axis,
    starts_in,
    when_title,
)
from napari_medicosam.io.figure_style import (
    INK,
    QUIET,
    START_COLOURS,
    START_TITLES,
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

_MEAN = "Mean over data sets of the mean over objects: "


def correction_bars(scores: Scores) -> Figure | None:
    """Fig. 3a of the paper: Dice after the first prompt and after each correction, one bar a round."""
    rows = scores.main[scores.main["round"] <= scores.last_round]
    starts = starts_in(rows)
    if not starts:
        return None
    table = data.overall(rows, ["start", "model", "round"])
    spread = " Whiskers: standard deviation over seeds." if rows["seed"].nunique() > 1 else ""
    ends = " Under each model: its first and last bar." if scores.last_round else ""
    subtitle = f"{_MEAN}{scores.describe()}.{ends}{spread}"
    width = max(6.5, 1.0 + 1.55 * len(scores.models))
    title = "Dice after the first prompt and after each correction"
    figure = new_figure(width, 2.5 * len(starts), title, subtitle)
    last = scores.last_round
    then = f" (first bar), then {last} correction{'s' if last > 1 else ''} (dark: the last)" if last else ""
    titles = [START_TITLES[start] + then for start in starts]
    for axes, start in zip(panels(figure, titles, 1), starts, strict=True):
        present = [m for m in scores.models if (start, m) in table.index.droplevel("round")]
        for place, model in enumerate(present):
            _draw_bars(axes, table.loc[(start, model)], place, START_COLOURS[start])
        means = [table.loc[(start, model), "mean"] for model in present]
        labels = [
            f"{fold(model)}\n{mean.iloc[0]:.2f}" + (f" → {mean.iloc[-1]:.2f}" if last else "")
            for model, mean in zip(present, means, strict=True)
        ]
        axes.set_xticks(range(len(present)), labels)
        axes.set_xlim(-0.6, len(present) - 0.4)
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("Dice")
        score_axis(axes)
    return figure


def _draw_bars(axes: Axes, of_model: DataFrame, place: int, colours: tuple[str, str, str]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    first, early, late = colours
    shades = LinearSegmentedColormap.from_list("corrections", [early, late])
    rounds = of_model.index.to_numpy()
    bar = min(0.86 / len(rounds), 0.2)
    middle = place + (np.arange(len(rounds)) - (len(rounds) - 1) / 2) * bar
    share = rounds / max(rounds.max(), 1)
    # the last one stands out; the others stay lighter
    face = [first, *(shades(0.75 * s if s < 1 else 1.0) for s in share[1:])]
    axes.bar(middle, of_model["mean"], 0.92 * bar, color=face)
    if of_model["deviation"].any():
        axes.errorbar(middle, of_model["mean"], of_model["deviation"], fmt="none", ecolor=INK, elinewidth=0.9)


def dice_curves(scores: Scores) -> Figure | None:
    """Fig. 7a: Dice over the corrections, with a band of the standard deviation over seeds."""
    return _curves(scores, "dice", "Dice over the corrections", "Dice")


def surface_distance_curves(scores: Scores) -> Figure | None:
    """As Fig. 7a, for the distance between the surfaces."""
    title = "Distance between the outlines of mask and ground truth"
    return _curves(scores, "surface_distance", title, "mean surface distance (pixels)")


def _curves(scores: Scores, value: str, title: str, y_label: str) -> Figure | None:
    if value not in scores.main or scores.last_round == 0:
        return None
    rows = scores.main.dropna(subset=[value])
    starts = starts_in(rows)
    if not starts:
        return None
    style = looks(scores.models)
    table = data.overall(rows, ["start", "model", "round"], value)
    notes = " Bands: standard deviation over seeds." if rows["seed"].nunique() > 1 else ""
    notes += " An empty mask counts as the image's diagonal." if value == "surface_distance" else ""
    figure = new_figure(8.5, 3.6, title, f"{_MEAN}{scores.describe()}.{notes}")
    for axes, start in zip(
        panels(figure, [START_TITLES[s] for s in starts], len(starts), sharey=True), starts, strict=True
    ):
        of_start = table.loc[start]
        for model in scores.models:
            if model in of_start.index.get_level_values("model"):
                draw_curve(axes, of_start.loc[model], style[model])
        round_axis(axes, int(rows["round"].max()))
        axes.set_ylabel(y_label)
        if value == "dice":
            score_axis(axes, _floor(table["mean"]))
        else:
            axes.set_ylim(bottom=0)
        axes.label_outer()
    legend_below(figure, [line_handle(model, style[model]) for model in scores.models], 8.5)
    return figure


def _floor(values: DataFrame) -> float:
    """Where a Dice axis begins: a tick below every value."""
    return float(np.floor(5 * float(np.min(values)) - 0.1) / 5) if np.min(values) > 0.02 else 0.0


def datasets(scores: Scores) -> Figure | None:
    """Dice of each data set, of each model."""
    return _dots(scores, None)


def difference_to_reference(scores: Scores) -> Figure | None:
    """Fig. 3b: difference in Dice to the reference model by data set, at the first prompt and at the end."""
    return None if scores.reference is None else _dots(scores, scores.reference)


def _dots(scores: Scores, reference: str | None) -> Figure | None:
    rows, last = scores.main, scores.last_round
    if rows.empty:
        return None
    table = data.per_dataset(rows, "model", last)
    if reference is not None:
        table = data.difference(table, "model", reference)
    if table.empty:
        return None
    title = "Dice by data set" if reference is None else f"Difference in Dice to {reference}, by data set"
    x_label = "Dice" if reference is None else "difference in Dice"
    subtitle = f"Mean over the objects of each data set: {scores.describe()}."
    plot = DotPlot(title, subtitle, x_label, rows, last, about_zero=reference is not None)
    return dots_by_dataset(table, "model", looks(scores.models), plot)


def seeds(scores: Scores) -> Figure | None:
    """Fig. 6a: mean and standard deviation over seeds, and the seeds themselves."""
    if scores.main["seed"].nunique() < 2:
        return None
    rows = data.first_and_last(scores.main, scores.last_round)
    table = data.overall(rows, ["start", "when", "model"])
    of_seed = data.mean_over_objects(rows, ["start", "when", "model"])
    of_seed = of_seed.groupby(["start", "when", "model", "seed"])["dice"].mean()
    groups = list(dict.fromkeys((start, when) for start, when, _ in table.index))
    groups.sort(key=lambda g: (data.STARTS.index(g[0]), g[1]))
    style, bar = looks(scores.models), 0.82 / len(scores.models)
    width = max(7.0, 1.0 + len(groups) * (0.35 + 0.46 * len(scores.models)))
    subtitle = f"{_MEAN}{scores.describe()}. Whiskers: standard deviation over seeds; dots: single seeds."
    figure = new_figure(width, 3.8, "Dice with different random seeds", subtitle)
    axes = next(panels(figure, [""], 1))
    for (start, when, model), row in table.iterrows():
        number = scores.models.index(model)
        x = groups.index((start, when)) + (number - (len(scores.models) - 1) / 2) * bar
        axes.bar(x, row["mean"], 0.92 * bar, color=style[model].colour, alpha=0.85)
        at = x - 0.3 * bar
        axes.errorbar(at, row["mean"], row["deviation"], fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
        points = of_seed.loc[(start, when, model)]
        spread = np.linspace(-0.1, 0.36, len(points)) * bar
        axes.plot(
            x + spread, points, "o", color="white", markeredgecolor=INK, markersize=3, markeredgewidth=0.6
        )
        top = max(row["mean"] + row["deviation"], points.max()) + 0.012
        label = f"{row['mean']:.3f}\n±{row['deviation']:.3f}"
        axes.text(x, top, label, ha="center", va="bottom", size=6.5, color=INK)
    axes.set_xticks(range(len(groups)), [when_title(*group, scores.last_round) for group in groups])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("Dice")
    score_axis(axes)
    axes.set_ylim(0, 1.08)
    legend_below(figure, [_patch(model, style[model].colour) for model in scores.models], width)
    return figure


def _patch(label: str, colour: str) -> object:
    from matplotlib.patches import Patch

    return Patch(color=colour, alpha=0.85, label=label)


def mask_prompt(scores: Scores) -> Figure | None:
    """Fig. 7b: corrections with and without the previous mask as prompt."""
    rows = (
        scores.rows[scores.rows["zoom"] == scores.main_setting[0]]
        if not scores.main.empty
        else scores.rows[:0]
    )
    both = rows.groupby("model", sort=False)["mask_prompt"].transform("nunique") == 2
    rows = data.shared_objects(rows[both], ["model", "mask_prompt"])
    if rows.empty or rows["round"].max() == 0:
        return None
    models, starts = list(rows["model"].unique()), starts_in(rows)
    table = data.overall(rows, ["start", "model", "mask_prompt", "round"])
    width = max(6.5, 0.8 + 2.7 * len(models))
    title = "Corrections without and with the previous mask as prompt"
    figure = new_figure(width, 2.3 * len(starts) + 0.7, title, f"{_MEAN}{data.describe(rows)}.")
    kinds = {False: Look("#0072b2", "o", "-"), True: Look("#d55e00", "s", (0, (4, 1.5)))}
    places = [(start, model) for start in starts for model in models]
    titles = [f"{fold(model, 26)}\n{START_TITLES[start]}" for start, model in places]
    for axes, place in zip(
        panels(figure, titles, len(models), sharex=True, sharey=True), places, strict=True
    ):
        ends = {}
        for prompted, look in kinds.items():
            curve = table.loc[(*place, prompted)]
            draw_curve(axes, curve, look)
            ends[prompted] = curve["mean"].iloc[-1]
        score_axis(axes, _floor(table["mean"]))
        is_low = min(ends.values()) < 0.25 + 0.75 * _floor(table["mean"])  # then the text goes to the top
        gain = f"last: {ends[True] - ends[False]:+.3f} with the mask"
        y, align = (0.96, "top") if is_low else (0.04, "bottom")
        axes.text(0.98, y, gain, transform=axes.transAxes, ha="right", va=align, size=8, color=QUIET)
        axes.set_ylabel("Dice")
        round_axis(axes, int(rows["round"].max()))
        axes.set_xlabel("corrections")
        axes.label_outer()
    handles = [line_handle("without the previous mask", kinds[False]), line_handle("with it", kinds[True])]
    legend_below(figure, handles, width)
    return figure
