"""What scores say: means over objects, then over data sets, then over seeds; as tables for programs and for people.

A data set counts once, however many objects it has. A standard deviation is one over seeds: how much the result depends
on where the simulated annotator happened to click.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_medicosam.evaluation.paired import VARIANT, paired_differences
from napari_medicosam.evaluation.score_log import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

METRICS = ("dice", "iou", "surface_distance")

MAX_DROP = 0.02
"""Dice that may be lost between the first and the last correction of a data set before it is pointed out."""

_RUN = [*VARIANT, "start", "round"]


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """Means of one evaluation, each a table with one line a model, variant, start and round.

    Attributes:
        reference: the model that others are compared with; None for none.
        datasets: a line a data set, too, with `images`, `objects`, means, and `_std` over seeds (NaN for one seed).
        modalities: the same a modality, as the mean over its data sets (`datasets` says how many).
        overall: the mean over all data sets.
        corrections: one line a data set, model, variant and start: Dice after the first correction (`one`) and
            after the last (`last`, correction number `round`), their difference `drop`, and whether it `holds`:
            is at most `MAX_DROP`. Empty without corrections.
        differences: of Dice to the reference, `paired_differences`.
    """

    reference: str | None
    datasets: pd.DataFrame
    modalities: pd.DataFrame
    overall: pd.DataFrame
    corrections: pd.DataFrame
    differences: pd.DataFrame

    def as_record(self) -> dict[str, list[dict[str, Any]]]:
        """JSON-ready; what does not exist is null."""
        return {
            "overall": _records(self.overall),
            "modalities": _records(self.modalities),
            "datasets": _records(self.datasets),
            "corrections": _records(self.corrections),
            "differences": _records(self.differences),
        }


def summarise(rows: pd.DataFrame, reference: str | None = None) -> Summary:
    """Means of scores.

    Args:
        rows: one a mask, with the columns of `ObjectScore` (`read_scores`). Models, data sets and starts keep the
            order in which they come.
        reference: the model that others are compared with; None compares none.
    """
    metrics = list(METRICS)
    per_seed = _mean(rows, [*_RUN, "dataset", "seed"])
    of_modality = _mean(rows, [*_RUN, "modality", "dataset", "seed"])
    num_datasets = rows.groupby(_RUN, sort=False)["dataset"].nunique().rename("datasets")
    in_modality = rows.groupby([*_RUN, "modality"], sort=False)["dataset"].nunique().rename("datasets")
    modality_means = _mean(of_modality, [*_RUN, "modality", "seed"])
    datasets = _over_seeds(per_seed, [*_RUN, "dataset"], _sizes(rows))
    corrections = _corrections(datasets)
    return Summary(
        reference=reference,
        datasets=datasets[[*_RUN, "dataset", "images", "objects", *_with_std(metrics)]],
        modalities=_over_seeds(modality_means, [*_RUN, "modality"], in_modality),
        overall=_over_seeds(_mean(per_seed, [*_RUN, "seed"]), _RUN, num_datasets),
        corrections=corrections,
        differences=paired_differences(rows, reference),
    )


def write_report(folder: Path, summary: Summary, header: Mapping[str, Any]) -> str:
    """Write `summary.json` and `summary.txt`; the text.

    Args:
        folder: exists.
        summary: of the scores in it.
        header: what else the JSON says, such as settings and versions.
    """
    text = as_text(summary)
    write_whole(folder / "summary.json", json.dumps({**header, **summary.as_record()}, indent=2) + "\n")
    write_whole(folder / "summary.txt", text + "\n")
    return text


def as_text(summary: Summary) -> str:
    """A table a model and variant, with a line a data set: Dice from each start, after the first prompt and the last
    correction; in brackets the difference to the reference in the same variant. Under it how sure the differences are.
    """  # noqa: D205
    variants = summary.overall[list(VARIANT)].drop_duplicates().itertuples(index=False, name=None)
    return "\n\n".join(_table(summary, variant) for variant in variants)


def dataset_line(rows: pd.DataFrame, dataset: str) -> str:
    """One line that says how all models do on one data set."""
    of_dataset = rows[rows["dataset"] == dataset]
    if of_dataset.empty:
        return f"{dataset}: no objects"
    summary = summarise(of_dataset).datasets
    first, last = summary["round"].min(), summary["round"].max()
    dice = summary.set_index([*VARIANT, "start", "round"])["dice"]
    parts = []
    for variant in dict.fromkeys(zip(*(summary[name] for name in VARIANT), strict=True)):
        starts = [
            f"{start} "
            + " -> ".join(f"{dice[(*variant, start, n)]:.3f}" for n in dict.fromkeys((first, last)))
            for start in summary["start"].unique()
        ]
        parts.append(f"{_name(variant)} {', '.join(starts)}")
    sizes = summary.iloc[0]
    return f"{dataset} ({sizes['images']} images, {sizes['objects']} objects): {'; '.join(parts)}"


def _mean(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return rows.groupby(keys, sort=False)[list(METRICS)].mean().reset_index()


def _over_seeds(per_seed: pd.DataFrame, keys: list[str], counts: pd.DataFrame | pd.Series) -> pd.DataFrame:
    groups = per_seed.groupby(keys, sort=False)[list(METRICS)]
    table = groups.mean().join(groups.std().add_suffix("_std")).join(counts).reset_index()
    extra = [name for name in table.columns if name not in (*keys, *_with_std(list(METRICS)))]
    return table[[*keys, *extra, *_with_std(list(METRICS))]]


def _sizes(rows: pd.DataFrame) -> pd.DataFrame:
    keys = [*_RUN, "dataset"]
    one_seed = rows.drop_duplicates([*keys, "image", "object"]).groupby(keys, sort=False)
    return pd.DataFrame({"images": one_seed["image"].nunique(), "objects": one_seed.size()})


def _corrections(datasets: pd.DataFrame) -> pd.DataFrame:
    last = int(datasets["round"].max()) if len(datasets) else 0
    keys = [*VARIANT, "start", "dataset"]
    by_round = {n: datasets[datasets["round"] == n].set_index(keys)["dice"] for n in (1, last)}
    if last < 1:
        return pd.DataFrame(columns=[*keys, "round", "one", "last", "drop", "holds"])
    table = pd.DataFrame({"round": last, "one": by_round[1], "last": by_round[last]})
    table["drop"] = table["one"] - table["last"]
    table["holds"] = table["drop"] <= MAX_DROP
    return table.reset_index()


def _table(summary: Summary, variant: tuple[str, bool, str]) -> str:
    model, mask_prompt, zoom = variant
    reference = summary.reference
    overall = _of(summary.overall, variant)
    last = int(overall["round"].max())
    columns = [(start, n) for start in overall["start"].unique() for n in dict.fromkeys((0, last))]
    compared = reference if reference not in (None, model) else None
    other = None if compared is None else (compared, mask_prompt, zoom)
    broken = summary.corrections
    broken = set(
        _of(broken[~broken["holds"].astype(bool)], variant)[["dataset", "start"]].itertuples(
            index=False, name=None
        )
    )
    lines = [("data set", "objects", *(f"{start} {n}" if n else start for start, n in columns))]
    for name in _of(summary.datasets, variant)["dataset"].unique():
        of_dataset = summary.datasets[summary.datasets["dataset"] == name]
        here, there = _of(of_dataset, variant), None if other is None else _of(of_dataset, other)
        marks = {(start, last) for dataset, start in broken if dataset == name}
        lines.append((name, str(here["objects"].iloc[0]), *_cells(here, there, columns, marks)))
    there = None if other is None else _of(summary.overall, other)
    if there is not None and set(there["datasets"]) != set(overall["datasets"]):
        there = None  # a mean over other data sets is no comparison
    lines.append((f"mean of {overall['datasets'].max()}", "", *_cells(overall, there, columns, set())))
    title = f"{model}, {_settings(mask_prompt, zoom)}: Dice" + (
        f" (difference to {compared})" if compared else ""
    )
    text = [title, *_aligned(lines)]
    if broken:
        text.append(f"! {last} corrections end more than {MAX_DROP} below one")
    return "\n".join([*text, *_sureness(_of(summary.differences, variant))])


def _sureness(differences: pd.DataFrame) -> list[str]:
    """Lines that say what of a difference other images might change; none without a reference."""
    if differences.empty:
        return []
    one = differences.iloc[-1]
    lines: list[tuple[str, ...]] = [
        (line.what, f"{line.difference:+.4f}", f"({line.low:+.4f} to {line.high:+.4f})")
        for line in differences.itertuples()
    ]
    title = (
        f"Difference on the {one['objects']} objects ({one['images']} images) that both were asked about, "
        "and 95 % of samples of these images:"
    )
    return [title, *_aligned(lines)]


def _of(table: pd.DataFrame, variant: tuple[str, bool, str]) -> pd.DataFrame:
    wanted = pd.Series(True, index=table.index)
    for name, value in zip(VARIANT, variant, strict=True):
        wanted &= table[name] == value
    return table[wanted]


def _cells(
    here: pd.DataFrame,
    there: pd.DataFrame | None,
    columns: list[tuple[str, int]],
    marks: set[tuple[str, int]],
) -> list[str]:
    """A value a column, with its deviation, its difference, and a mark."""
    values = here.set_index(["start", "round"])
    others = None if there is None else there.set_index(["start", "round"])["dice"]
    cells = []
    for column in columns:
        cell = f"{values['dice'][column]:.3f}"
        if pd.notna(values["dice_std"][column]):
            cell += f" ±{values['dice_std'][column]:.3f}"
        if others is not None and column in others.index:
            cell += f" ({values['dice'][column] - others[column]:+.3f})"
        cells.append(cell + ("!" if column in marks else ""))
    return cells


def _aligned(lines: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]


def _name(variant: tuple[str, bool, str]) -> str:
    model, mask_prompt, zoom = variant
    more = [f"zoom {zoom}"] if zoom != "never" else []
    more += ["mask prompt"] if mask_prompt else []
    return f"{model} ({', '.join(more)})" if more else model


def _settings(mask_prompt: bool, zoom: str) -> str:
    return f"{'with' if mask_prompt else 'without'} mask prompt, zoom {zoom}"


def _with_std(metrics: list[str]) -> list[str]:
    return [*metrics, *(f"{name}_std" for name in metrics)]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: None if pd.isna(value) else value for name, value in record.items()}
        for record in table.to_dict(orient="records")
    ]
