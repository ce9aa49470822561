"""From scores of single objects to the numbers that figures show; no drawing here.

A figure's overall value is the mean over data sets of the mean over objects, so that a data set counts as much with 30
objects as with 3000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas import DataFrame, Series

OBJECT = ["dataset", "image", "object"]
"""Columns that name an object."""

SETTING = ["zoom", "mask_prompt"]
_QUESTION = [*OBJECT, "seed", "start"]
_NEEDED = ["model", *_QUESTION, "round", "dice"]
_DEFAULTS = {"modality": "", "mask_prompt": False, "zoom": "never"}
_ZOOM_ORDER = {"auto": 0, "never": 1, "always": 2}

STARTS = ("point", "box")
SHARE_EDGES = (0.0, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 1.0)
"""Bins of an object's share of its image: the first holds 0 < share <= 0.1 %."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of a run, and the part of them in which models are compared.

    Attributes:
        rows: all of them, one mask of one object a row.
        main: those of one setting, of the objects that every model was asked about.
        models: names, in the order in which they came.
        reference: the model that others are compared with; None when there is only one.
        num_left_out: objects of the setting that only some of the models were asked about.
    """

    rows: DataFrame
    main: DataFrame
    models: tuple[str, ...]
    reference: str | None
    num_left_out: int = 0

    @property
    def last_round(self) -> int:
        """The last correction that every model has."""
        return last_shared_round(self.main)

    @property
    def main_setting(self) -> tuple[str, bool]:
        """(zoom, mask_prompt) of `main`."""
        return self.main["zoom"].iloc[0], bool(self.main["mask_prompt"].iloc[0])

    def describe(self) -> str:
        """What `main` is, for subtitles."""
        left_out = f"; {self.num_left_out} objects that not every model has are left out"
        return describe(self.main) + (left_out if self.num_left_out else "")


def prepare_scores(rows: DataFrame, reference_model: str | None = None) -> Scores:
    """Check the rows and choose what is compared.

    With several settings the one that most models share is chosen; then zoom auto before never before always, and no
    mask prompt (as in the paper) before one.

    Args:
        rows: as `draw_figures` takes them.
        reference_model: default: the first model.

    Raises:
        InputError: for missing columns, no rows, two rows for one mask, or a reference that is not there.
    """
    missing = [name for name in _NEEDED if name not in rows.columns]
    if missing:
        raise InputError(f"scores lack the column {', '.join(missing)}; wanted at least {', '.join(_NEEDED)}")
    if rows.empty:
        raise InputError("there are no scores to draw: wanted at least one row")
    categories = rows.select_dtypes("category").columns
    rows = rows.astype(dict.fromkeys(categories, object))  # else groups of nothing would be counted
    rows = rows.assign(**{name: value for name, value in _DEFAULTS.items() if name not in rows.columns})
    rows = rows.fillna({"modality": ""})  # what an empty cell of a CSV is read as
    identity = ["model", *_QUESTION, *SETTING, "round"]
    if rows.duplicated(identity).any():
        twice = rows.loc[rows.duplicated(identity), identity].iloc[0].to_dict()
        raise InputError(f"two scores for one mask, so a mean would count it twice: {twice}")
    models = tuple(rows["model"].unique())
    if reference_model is not None and reference_model not in models:
        raise InputError(
            f"reference model {reference_model!r} has no scores; wanted one of {', '.join(models)}"
        )
    reference = reference_model or (models[0] if len(models) > 1 else None)
    zoom, mask_prompt = _most_shared_setting(rows)
    of_setting = rows[(rows["zoom"] == zoom) & (rows["mask_prompt"] == mask_prompt)]
    main = shared_objects(of_setting, ["model"])
    return Scores(rows, main, models, reference, _num_objects(of_setting) - _num_objects(main))


def _most_shared_setting(rows: DataFrame) -> tuple[str, bool]:
    num_models = rows.groupby(SETTING)["model"].nunique()
    settings = sorted(num_models.index, key=lambda s: (-num_models[s], _ZOOM_ORDER.get(s[0], 3), s[1]))
    zoom, mask_prompt = settings[0]
    return zoom, bool(mask_prompt)


def _num_objects(rows: DataFrame) -> int:
    return len(rows[OBJECT].drop_duplicates())


def shared_objects(rows: DataFrame, across: list[str]) -> DataFrame:
    """The rows of objects, seeds and starts that have an answer from everything that `across` tells apart.

    An interrupted run has more objects of one model than of another; a mean over what each has would compare
    different objects. A start that only some were asked about is compared among those.
    """
    variant = rows.groupby(across, sort=False).ngroup()
    wanted = variant.groupby(rows["start"]).transform("nunique")
    present = variant.groupby([rows[name] for name in _QUESTION]).transform("nunique")
    return rows[present == wanted]


def last_shared_round(rows: DataFrame) -> int:
    """The last round that every model and start has; 0 for no rows."""
    return 0 if rows.empty else int(rows.groupby(["model", "start"])["round"].max().min())


def mean_over_objects(rows: DataFrame, by: Sequence[str], value: str = "dice") -> DataFrame:
    """Mean over the objects of each data set and seed: columns `by`, dataset, seed and `value`."""
    return rows.groupby([*by, "dataset", "seed"], sort=False)[value].mean().reset_index()


def overall(rows: DataFrame, by: Sequence[str], value: str = "dice") -> DataFrame:
    """Mean over data sets of the mean over objects, with its spread over seeds.

    Args:
        rows: scores.
        by: columns to keep apart; every row counts otherwise, so choose a setting before.
        value: column to average; rows without it are left out.

    Returns:
        Index `by`; columns `mean` (seeds averaged within data sets) and `deviation`: the standard deviation (n - 1)
        of the overall value over those seeds that every data set has, 0 when that is one.
    """
    by = list(by)
    means = mean_over_objects(rows.dropna(subset=[value]), by, value)
    mean = means.groupby([*by, "dataset"], sort=False)[value].mean().groupby(by, sort=False).mean()
    of_seed = means.groupby([*by, "seed"], sort=False)[value].agg(["mean", "size"])
    num_datasets = of_seed.groupby(by, sort=False)["size"].transform("max")
    complete = of_seed[of_seed["size"] == num_datasets]
    deviation = complete.groupby(by, sort=False)["mean"].std().fillna(0.0)
    return pd.DataFrame({"mean": mean, "deviation": deviation}).sort_index()


def first_and_last(rows: DataFrame, last_round: int) -> DataFrame:
    """Rows after the first prompt and after the last correction, told apart by the column `when`."""
    ends = rows[rows["round"].isin((0, last_round))]
    return ends.assign(when=np.where(ends["round"] == 0, "first", "last"))


def per_dataset(rows: DataFrame, variant: str, last_round: int) -> DataFrame:
    """Dice of each data set at both ends: columns `variant`, start, when ("first" or "last"), dataset, dice."""
    means = mean_over_objects(first_and_last(rows, last_round), [variant, "start", "when"])
    return means.groupby([variant, "start", "when", "dataset"], sort=False)["dice"].mean().reset_index()


def difference(table: DataFrame, variant: str, reference: str) -> DataFrame:
    """`per_dataset` minus the row of the same data set, start and time that `reference` has; without the reference."""
    place = ["start", "when", "dataset"]
    base = table[table[variant] == reference].set_index(place)["dice"]
    others = table[table[variant] != reference].set_index(place)
    return (
        others.assign(dice=others["dice"] - base.reindex(others.index)).dropna(subset=["dice"]).reset_index()
    )


def by_object_share(rows: DataFrame, variant: str, last_round: int) -> DataFrame:
    """Dice by bins of object size, every object weighing the same.

    Returns:
        Columns `variant`, start, when, bin (place in `SHARE_EDGES`), mean, error (standard error of the mean over
        objects, 0 for one object) and count (objects).
    """
    rows = first_and_last(rows, last_round)
    of_object = (
        rows.groupby([variant, "start", "when", *OBJECT], sort=False)[["dice", "object_share"]]
        .mean()
        .reset_index()
    )
    of_object["bin"] = np.clip(
        np.searchsorted(SHARE_EDGES, of_object["object_share"], side="left") - 1, 0, None
    )
    found = (
        of_object.groupby([variant, "start", "when", "bin"])["dice"]
        .agg(["mean", "sem", "size"])
        .reset_index()
    )
    return found.rename(columns={"sem": "error", "size": "count"}).fillna({"error": 0.0})


def calibration(rows: DataFrame, last_round: int, num_bins: int = 10) -> DataFrame:
    """Measured IoU by bins of predicted IoU.

    Returns:
        Columns model, start, when, bin, predicted and measured (means in the bin) and count (masks).
    """
    rows = first_and_last(rows, last_round).dropna(subset=["iou_prediction", "iou"])
    predicted = rows["iou_prediction"].clip(0.0, 1.0)
    rows = rows.assign(predicted=predicted, bin=np.minimum((predicted * num_bins).astype(int), num_bins - 1))
    groups = rows.groupby(["model", "start", "when", "bin"])
    found = groups.agg(predicted=("predicted", "mean"), measured=("iou", "mean"), count=("iou", "size"))
    return found.reset_index()


def modality_of(rows: DataFrame) -> Series:
    """Modality by data set; "" where it is not known."""
    return rows.groupby("dataset", sort=False)["modality"].first()


def describe(rows: DataFrame) -> str:
    """What a figure is drawn from, for its subtitle: numbers of data sets, objects and seeds, and the setting."""
    counts = (
        (rows["dataset"].nunique(), "data set"),
        (_num_objects(rows), "object"),
        (rows["seed"].nunique(), "seed"),
    )
    text = ", ".join(
        f"{count:,} {noun}{'' if count == 1 else 's'}".replace(",", "\u202f") for count, noun in counts
    )
    zooms, prompted = rows["zoom"].unique(), rows["mask_prompt"].unique()
    if len(zooms) == 1:
        text += f"; zoom {zooms[0]}"
    if len(prompted) == 1:
        text += f"; previous mask {'given back' if prompted[0] else 'not given back'} as prompt"
    return text
