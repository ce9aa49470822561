"""Which propagation settings find the most of an object from one box in its middle slice?

    python tools/tune_propagation.py VOLUMES --embeddings STORE --only la_mr_00 --only totalseg_mr_sm

VOLUMES holds NAME_image.nii.gz and NAME_labels.nii.gz. Every slice is encoded once; every object is followed once per
mode and box extension with the lowest IoU threshold, and the higher thresholds are read off the same run, because a
threshold only decides where the run ends. Prints mean 3D Dice over objects, best settings first. docs/tuning.md records
what came out and what was chosen.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from napari_medicosam.cli.job import JobOptions, open_job
from napari_medicosam.core.metrics import iou
from napari_medicosam.core.prompt_derivation import PromptMode, derive_box
from napari_medicosam.core.prompts import PromptSet
from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.io.volumes import read_labels, read_volume
from napari_medicosam.predict.propagation import REFERENCE_SETTINGS, PropagationSettings, propagate
from napari_medicosam.weights.registry import DEFAULT_MODEL

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
MODES = ("box", "mask", "box+points")
EXTENSIONS = (0.025, 0.05, 0.1)
REFERENCE = ("mask", REFERENCE_SETTINGS.box_extension, REFERENCE_SETTINGS.iou_threshold)


def main(
    volumes: Path,
    embeddings: Annotated[Path, typer.Option()],
    only: Annotated[list[str] | None, typer.Option()] = None,
    model: str = DEFAULT_MODEL,
    max_objects: int = 6,
) -> None:
    scores: dict[tuple[str, float, float], list[float]] = {}
    names = only or sorted(path.name[: -len("_image.nii.gz")] for path in volumes.glob("*_image.nii.gz"))
    for name in names:
        image = read_volume(volumes / f"{name}_image.nii.gz")
        truth = read_labels(volumes / f"{name}_labels.nii.gz").array
        job = open_job(image, 0, JobOptions(model, None, embeddings / name))
        ids, sizes = np.unique(truth[truth > 0], return_counts=True)
        for object_id in ids[np.argsort(-sizes)][:max_objects]:
            wanted = truth == object_id
            slices = np.flatnonzero(wanted.any(axis=(1, 2)))
            if len(slices) < 3 or np.count_nonzero(wanted) < 150:
                continue
            for mode, extension in product(MODES, EXTENSIONS):
                for threshold, dice in dices(
                    job, wanted, int(slices[len(slices) // 2]), mode, extension
                ).items():
                    scores.setdefault((mode, extension, threshold), []).append(dice)
            reference = scores[REFERENCE][-1]
            best = max(scores, key=lambda key: scores[key][-1])
            print(
                f"{name} {object_id}: reference {reference:.3f}, best {scores[best][-1]:.3f} {best}",
                flush=True,
            )
    for (mode, extension, threshold), values in sorted(scores.items(), key=lambda item: -np.mean(item[1])):
        print(
            f"{np.mean(values):.3f}  {mode:<11} extension {extension:<6} IoU >= {threshold}  ({len(values)} objects)"
        )


def dices(job, wanted, middle: int, mode: str, extension: float) -> dict[float, float]:
    """3D Dice for each threshold."""
    prompts = PromptSet(job.stack.plane(middle), box=derive_box(wanted[middle]))
    anchor = job.service.segment(SegmentRequest(job.stack.pixels(middle), prompts))
    overlap = {t: np.count_nonzero(anchor.mask & wanted[middle]) for t in THRESHOLDS}
    found = {t: np.count_nonzero(anchor.mask) for t in THRESHOLDS}
    if anchor.region.is_empty:
        return dict.fromkeys(THRESHOLDS, 0.0)
    settings = PropagationSettings(PromptMode.parse(mode), THRESHOLDS[0], extension)
    masks, going = {middle: anchor.mask}, {-1: set(THRESHOLDS), 1: set(THRESHOLDS)}
    for result in propagate(job.service, job.stack, [anchor], settings):
        index = result.plane.index
        side = 1 if index > middle else -1
        agreement = iou(masks[index - side], result.mask)
        going[side] = {t for t in going[side] if agreement >= t}
        for threshold in going[side]:
            overlap[threshold] += np.count_nonzero(result.mask & wanted[index])
            found[threshold] += np.count_nonzero(result.mask)
        masks[index] = result.mask
    return {t: 2 * overlap[t] / (found[t] + np.count_nonzero(wanted)) for t in THRESHOLDS}


if __name__ == "__main__":
    typer.run(main)
