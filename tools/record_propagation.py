"""Follow objects through volumes without a stop rule, and write down what a rule could have seen at every slice.

    python tools/record_propagation.py VOLUMES -o STEPS.csv --embeddings STORE --only la_mr_00 --zoom never --zoom auto

VOLUMES holds NAME_image.nii.gz and NAME_labels.nii.gz. Every object is boxed in its middle slice and followed both ways
with every mode, box extension and zoom, until nothing is found, the volume ends, or `BEYOND` slices after the object's
own end. A rule only decides where to stop, so that all rules can be tried on the same file (tools/tune_propagation.py).
"""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from napari_medicosam.cli.job import JobOptions, open_job
from napari_medicosam.core.metrics import iou
from napari_medicosam.core.prompt_derivation import PromptMode, derive_box, derive_prompts
from napari_medicosam.core.prompts import PromptSet
from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.io.volumes import read_labels, read_volume
from napari_medicosam.predict.zoom import DEFAULT_ZOOM, ZoomRule
from napari_medicosam.weights.registry import DEFAULT_MODEL

BEYOND = 12
COLUMNS = (
    *(
        "volume",
        "object",
        "mode",
        "extension",
        "zoom",
        "side",
        "step",
        "iou",
        "iou_prediction",
        "area",
        "truth_area",
    ),
    *("overlap", "mean", "anchor_mean", "anchor_std", "spacing_z", "spacing_yx", "truth_total"),
)


def main(
    volumes: Path,
    output: Annotated[Path, typer.Option("--output", "-o")],
    embeddings: Annotated[Path, typer.Option()],
    only: Annotated[list[str] | None, typer.Option()] = None,
    mode: Annotated[list[str], typer.Option()] = ["box", "mask", "points_and_mask", "mask+points"],  # noqa: B006
    extension: Annotated[list[float], typer.Option()] = [0.025, 0.05, 0.1],  # noqa: B006
    zoom: Annotated[list[str], typer.Option()] = [DEFAULT_ZOOM.policy],  # noqa: B006
    model: str = DEFAULT_MODEL,
    max_objects: int = 6,
) -> None:
    """Write one line a slice that was reached; side 0 is the anchor."""
    names = only or sorted(path.name[: -len("_image.nii.gz")] for path in volumes.glob("*_image.nii.gz"))
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for name, policy in product(names, zoom):
            image = read_volume(volumes / f"{name}_image.nii.gz")
            truth = read_labels(volumes / f"{name}_labels.nii.gz").array
            job = open_job(image, 0, JobOptions(model, None, embeddings / name, zoom=ZoomRule(policy)))
            ids, sizes = np.unique(truth[truth > 0], return_counts=True)
            for object_id in ids[np.argsort(-sizes)][:max_objects]:
                wanted = truth == object_id
                slices = np.flatnonzero(wanted.any(axis=(1, 2)))
                if len(slices) < 3 or np.count_nonzero(wanted) < 150:
                    continue
                for parts, growth in product(mode, extension):
                    shared = {"volume": name, "object": int(object_id), "mode": parts, "extension": growth}
                    shared |= {"zoom": policy, "truth_total": int(np.count_nonzero(wanted))}
                    spacing = image.geometry.spacing_zyx
                    shared |= {"spacing_z": spacing[0], "spacing_yx": (spacing[1] * spacing[2]) ** 0.5}
                    for line in follow(job, wanted, slices, PromptMode.parse(parts), growth):
                        writer.writerow(shared | line)
                file.flush()
                print(name, policy, object_id, len(slices), "slices", flush=True)


def follow(job, wanted, slices, mode: PromptMode, extension: float):
    """What is seen at the anchor and at each slice on both sides of it."""
    middle = int(slices[len(slices) // 2])
    prompts = PromptSet(job.stack.plane(middle), box=derive_box(wanted[middle]))
    anchor = job.service.segment(SegmentRequest(job.stack.pixels(middle), prompts))
    if anchor.region.is_empty:
        return
    inside = job.stack.pixels(middle)[anchor.mask]
    colours = {"anchor_mean": float(inside.mean()), "anchor_std": float(inside.std())}
    yield colours | measures(job, anchor, wanted[middle], 1.0) | {"side": 0, "step": 0}
    for side in (-1, 1):
        previous = anchor
        end = min(slices[-1] + BEYOND, len(job.stack) - 1) if side > 0 else max(slices[0] - BEYOND, 0)
        for step, index in enumerate(range(middle + side, end + side, side), start=1):
            asked = derive_prompts(previous.mask, job.stack.plane(index), mode, extension)
            found = job.service.segment(SegmentRequest(job.stack.pixels(index), asked))
            if found.region.is_empty:
                break
            agreement = iou(previous.mask, found.mask)
            yield colours | measures(job, found, wanted[index], agreement) | {"side": side, "step": step}
            previous = found


def measures(job, result, truth, agreement: float) -> dict[str, float]:
    """One slice."""
    return {
        "iou": agreement,
        "iou_prediction": result.iou_prediction,
        "area": int(np.count_nonzero(result.mask)),
        "truth_area": int(np.count_nonzero(truth)),
        "overlap": int(np.count_nonzero(truth & result.mask)),
        "mean": float(job.stack.pixels(result.plane.index)[result.mask].mean()),
    }


if __name__ == "__main__":
    typer.run(main)
