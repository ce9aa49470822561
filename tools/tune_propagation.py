"""Which propagation settings find the most of an object from one box in its middle slice?

    python tools/record_propagation.py VOLUMES -o STEPS.csv --embeddings STORE --only la_mr_00 --only totalseg_mr_sm
    python tools/tune_propagation.py STEPS.csv
    python tools/tune_propagation.py STEPS.csv --reference-mm 2

Every stop rule of `IOU_THRESHOLDS` x `CONFIDENCES` is tried on what tools/record_propagation.py has written down, with
every mode, box extension and zoom in it. Prints the mean 3D Dice over objects; `at best` is what a rule that knew the
ground truth would reach. With `--reference-mm`, thresholds are for slices that far apart, as in
`PropagationSettings`. docs/tuning.md records what came out and what was chosen.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import typer

from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.predict.propagation_settings import PropagationSettings, StopRule

IOU_THRESHOLDS = (0.5, 0.6, 0.7, 0.8)
CONFIDENCES = (0.0, 0.7, 0.75, 0.8, 0.85, 0.9)
HOW = ["mode", "extension", "zoom"]
OBJECT = ["volume", "object"]


def main(steps: Path, reference_mm: float = 0.0) -> None:
    """Print a line a mode, extension, zoom and IoU threshold, with a column a confidence."""
    found = pd.read_csv(steps)
    print(
        "mode, extension, zoom, IoU >=  "
        + "  ".join(f"conf {c:.2f}" for c in CONFIDENCES)
        + "  at best  objects"
    )
    for how, lines in found.groupby(HOW):
        runs = [run for _, run in lines.groupby(OBJECT)]
        best = float(np.mean([best_dice(run) for run in runs]))
        table = {
            rule: float(np.mean([dice(run, rule_of(run, *rule, reference_mm)) for run in runs]))
            for rule in product(IOU_THRESHOLDS, CONFIDENCES)
        }
        for threshold in IOU_THRESHOLDS:
            means = "  ".join(f"{table[threshold, c]:9.3f}" for c in CONFIDENCES)
            print(f"{how[0]:<16} {how[1]:<6} {how[2]:<6} {threshold}  {means}  {best:7.3f}  {len(runs)}")


def rule_of(run: pd.DataFrame, threshold: float, confidence: float, reference_mm: float) -> StopRule:
    """The rule for the volume of a run; a reference of 0 takes the threshold as it is."""
    spacing = float(run["spacing_z"].iloc[0])
    settings = PropagationSettings(
        iou_threshold=threshold, min_confidence=confidence, reference_spacing_mm=reference_mm or None
    )
    return settings.stop_rule(SliceStack(np.empty((1, 1, 1)), 0, (spacing, 1.0, 1.0)))


def dice(run: pd.DataFrame, rule: StopRule) -> float:
    """3D Dice of one object when its run stops by a rule."""
    anchor = run[run["side"] == 0].iloc[0]
    overlap, area = anchor["overlap"], anchor["area"]
    for side in (-1, 1):
        way = run[run["side"] == side].sort_values("step")
        stops = [
            rule.ends_at(*seen, anchor["iou_prediction"])
            for seen in zip(way["iou"], way["iou_prediction"], strict=True)
        ]
        kept = way[~np.maximum.accumulate(np.array(stops, dtype=bool))]
        overlap, area = overlap + kept["overlap"].sum(), area + kept["area"].sum()
    return float(2 * overlap / (area + anchor["truth_total"]))


def best_dice(run: pd.DataFrame) -> float:
    """3D Dice of one object when its run stops where that is best."""
    anchor = run[run["side"] == 0].iloc[0]
    ways = [run[run["side"] == side].sort_values("step")[["overlap", "area"]].to_numpy() for side in (-1, 1)]
    sums = [np.vstack([np.zeros(2), way.cumsum(axis=0)]) for way in ways]
    both = sums[0][:, None] + sums[1][None] + anchor[["overlap", "area"]].to_numpy(dtype=float)
    return float((2 * both[..., 0] / (both[..., 1] + anchor["truth_total"])).max())


if __name__ == "__main__":
    typer.run(main)
