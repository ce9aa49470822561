"""`medicosam demo`: one box on a real scan, propagated through depth, measured against its ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from napari_medicosam.cli import options
from napari_medicosam.cli.console import notes, results, slice_progress
from napari_medicosam.cli.job import JobOptions, open_job
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.metrics import dice
from napari_medicosam.core.prompts import BoxPrompt, ObjectPrompts, PromptSet
from napari_medicosam.errors import FileError
from napari_medicosam.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.cli.job import Job
    from napari_medicosam.io.sample import SampleScan


def demo(
    output: options.DemoFolder = Path("demo-output"),
    model: options.Model = DEFAULT_MODEL,
    device: options.Device = None,
) -> None:
    """Segment the shipped CT from one box and compare with its ground truth."""
    from napari_medicosam.io.sample import ct_abdomen
    from napari_medicosam.io.volumes import read_labels, read_volume, write_labels

    scan = ct_abdomen()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {output}: {error}") from error
    image = read_volume(scan.image)
    truth = read_labels(scan.labels).array == scan.label
    job = open_job(image, 0, JobOptions(model, scan.window, device=device))
    notes.print(f"{scan.name}, {scan.organ}: one box on slice {scan.slice_index}, model {job.model.name}")
    mask = _segment(job, scan)

    results.print(_table(mask, truth))
    results.print(
        f"3D Dice {dice(mask, truth):.3f} ({scan.organ}, {np.count_nonzero(mask.any(axis=(1, 2)))} slices)"
    )
    results.print(f"ground truth: {scan.truth}")
    labels_path, picture_path = output / f"{scan.organ}.nii.gz", output / "demo.png"
    write_labels(labels_path, mask.astype(np.uint8), image, overwrite=True)
    _picture(picture_path, job, scan, mask, truth)
    results.print(f"wrote {labels_path} and {picture_path}")


def _segment(job: Job, scan: SampleScan) -> NDArray[np.bool_]:
    from napari_medicosam.predict.objects import segment_objects
    from napari_medicosam.predict.propagation import PropagationSettings

    prompts = PromptSet(SlicePlane(0, scan.slice_index), box=BoxPrompt(*scan.box))
    wanted = ObjectPrompts(1, (prompts,), scan.organ)
    mask = np.zeros(job.image.geometry.shape_zyx, dtype=bool)
    with slice_progress() as progress:
        task = progress.add_task(scan.organ, total=len(job.stack))
        for result in segment_objects(job.service, job.stack, [wanted], PropagationSettings()):
            mask[result.plane.index] = result.mask
            progress.advance(task)
    return mask


def _table(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Table:
    table = Table("slice", "voxels", "ground truth", "Dice", title="Dice per slice")
    for index, (found, wanted) in enumerate(zip(mask, truth, strict=True)):
        if found.any() or wanted.any():
            counts = (np.count_nonzero(found), np.count_nonzero(wanted))
            table.add_row(str(index), *map(str, counts), f"{dice(found, wanted):.3f}")
    return table


def _picture(
    path: Path, job: Job, scan: SampleScan, mask: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> None:
    from napari_medicosam.cli.overlay import Tile, save_overlay

    occupied = np.flatnonzero(mask.any(axis=(1, 2)))
    chosen = np.linspace(occupied[0], occupied[-1], 6).round().astype(int)
    chosen[np.abs(chosen - scan.slice_index).argmin()] = scan.slice_index
    tiles = [
        Tile(
            pixels=job.mapping.to_uint8(job.stack.pixels(index)),
            mask=mask[index],
            truth=truth[index],
            caption=f"slice {index}, Dice {dice(mask[index], truth[index]):.3f}",
            box=BoxPrompt(*scan.box) if index == scan.slice_index else None,
        )
        for index in np.unique(chosen).tolist()
    ]
    save_overlay(path, tiles, job.image.geometry)
