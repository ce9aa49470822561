"""How good is an object in 3D from one box, and after its worst slices were corrected with one click each?

    python tools/measure_corrections.py VOLUMES --embeddings STORE --only la_mr_00 --only totalseg_mr_sm -o SCORES.csv

VOLUMES holds NAME_image.nii.gz and NAME_labels.nii.gz. Every object is boxed tightly in its middle slice and propagated
both ways. Then, as often as `--clicks` says, one click goes to the worst slice that was not corrected yet: the one with
the most wrong pixels (`--worst dice`: with the lowest Dice, of those the larger). The click goes to the innermost point
of the largest region that was missed (positive) or is too much (negative), whichever of the two is larger. As in the
widget the slice becomes an anchor, and only the gaps beside it are propagated again. A mask that was propagated is
fed back as mask prompt with the box around it and the click (`--hint both`, what the widget does), or as one of
the two; on a slice that the object is not on the user says "Not here" instead. Prints the 3D Dice after each step, and
the lowest means that leaving one volume out gives. docs/tuning.md records what came out.
"""

from __future__ import annotations

import csv
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from scipy import ndimage

from napari_medicosam.cli.job import JobOptions, open_job
from napari_medicosam.core.metrics import dice
from napari_medicosam.core.prompt_derivation import box_beside, prompts_to_correct
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.results import SegmentRequest, SegmentResult
from napari_medicosam.core.simulated_prompts import innermost_point, tight_box
from napari_medicosam.io.volumes import read_labels, read_volume
from napari_medicosam.predict.objects import as_clicked
from napari_medicosam.predict.propagation import Gap, PropagationSettings, gaps_of, propagate
from napari_medicosam.predict.zoom import DEFAULT_ZOOM, ZoomRule
from napari_medicosam.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_medicosam.cli.job import Job

MIN_SLICES, MIN_VOXELS = 3, 150
"""Smaller objects are left out, as in tools/record_propagation.py."""


def main(
    volumes: Path,
    embeddings: Annotated[Path, typer.Option()],
    output: Annotated[Path | None, typer.Option("--output", "-o")] = None,
    only: Annotated[list[str] | None, typer.Option()] = None,
    clicks: int = 2,
    worst: str = "pixels",
    hint: str = "both",
    zoom: str = DEFAULT_ZOOM.policy,
    model: str = DEFAULT_MODEL,
    max_objects: int = 6,
) -> None:
    """Print a line an object: 3D Dice from the box, then after each click; and the means."""
    names = only or sorted(path.name[: -len("_image.nii.gz")] for path in volumes.glob("*_image.nii.gz"))
    rows = []
    for name in names:
        image = read_volume(volumes / f"{name}_image.nii.gz")
        truth = read_labels(volumes / f"{name}_labels.nii.gz").array
        job = open_job(image, 0, JobOptions(model, None, embeddings / name, zoom=ZoomRule(zoom)))
        for object_id in objects_of(truth)[:max_objects]:
            simulated = Simulation(job, truth == object_id, hint)
            scores = list(simulated.run(clicks, worst))
            rows.append([name, object_id, *scores])
            told = "  ".join(f"{score:.3f}" for score in scores)
            print(f"{name:<18} {object_id:>3}  {told}  {'; '.join(simulated.log)}", flush=True)
    means = np.mean([row[2:] for row in rows], axis=0)
    print(f"mean of {len(rows):<14}  " + "  ".join(f"{mean:.3f}" for mean in means))
    kept = [[row[2:] for row in rows if row[0] != name] for name in names]
    if all(kept):
        lowest = np.min([np.mean(scores, axis=0) for scores in kept], axis=0)
        print(f"{'one volume less':<22}  " + "  ".join(f"{mean:.3f}" for mean in lowest))
    if output is not None:
        with output.open("w", newline="") as file:
            csv.writer(file).writerows(
                [["volume", "object", "box", *(f"click {n + 1}" for n in range(clicks))], *rows]
            )


def objects_of(truth) -> list[int]:
    """Labels of the objects that are large enough, the largest first."""
    ids, sizes = np.unique(truth[truth > 0], return_counts=True)
    return [
        int(ids[i])
        for i in np.argsort(-sizes)
        if sizes[i] >= MIN_VOXELS and np.count_nonzero((truth == ids[i]).any(axis=(1, 2))) >= MIN_SLICES
    ]


@dataclass(eq=False)
class Simulation:
    """One object, annotated as `ui.questions` does it, by somebody who knows the truth (z, y, x)."""

    job: Job
    truth: np.ndarray
    hint: str = "both"
    settings: PropagationSettings = field(default_factory=PropagationSettings)

    def __post_init__(self) -> None:
        self.mask = np.zeros_like(self.truth)
        self.prompts: dict[int, PromptSet] = {}
        self.answers: dict[int, SegmentResult] = {}
        self.boxes: dict[int, BoxPrompt | None] = {}
        self.filled: dict[Gap, tuple[int, int]] = {}
        self.log: list[str] = []

    def run(self, clicks: int, worst: str):
        """3D Dice from the box, then after each click."""
        slices = np.flatnonzero(self.truth.any(axis=(1, 2)))
        middle = int(slices[len(slices) // 2])
        self.prompts[middle] = PromptSet(self.job.stack.plane(middle), box=tight_box(self.truth[middle]))
        self.ask(middle)
        self.propagate()
        yield dice(self.mask, self.truth)
        corrected: set[int] = set()
        for _ in range(clicks):
            index = self.worst_slice(worst, corrected)
            if index is not None:
                corrected.add(index)
                self.correct(index)
                self.propagate()
            yield dice(self.mask, self.truth)

    def worst_slice(self, worst: str, corrected: set[int]) -> int | None:
        """The slice to correct next; None when nothing is wrong on those that were not corrected."""
        wrong = np.count_nonzero(self.mask != self.truth, axis=(1, 2)).astype(float)
        wrong[list(corrected)] = 0
        if not wrong.any():
            return None
        if worst == "pixels":
            return int(wrong.argmax())
        scores = [(dice(self.mask[i], self.truth[i]), -wrong[i], i) for i in np.flatnonzero(wrong)]
        return int(min(scores)[2])

    def correct(self, index: int) -> None:
        """One click on a slice where something is wrong."""
        missed = largest(self.truth[index] & ~self.mask[index])
        excess = largest(self.mask[index] & ~self.truth[index])
        positive = np.count_nonzero(missed) >= np.count_nonzero(excess)
        point = PointPrompt(innermost_point(missed if positive else excess).position_yx, positive)
        before = dice(self.mask[index], self.truth[index])
        known = self.prompts.get(index, PromptSet(self.job.stack.plane(index)))
        self.prompts[index] = replace(known, points=(*known.points, point))
        self.ask(index)
        after = dice(self.mask[index], self.truth[index])
        self.log.append(f"{'+' if positive else '-'} on {index}: {before:.2f} to {after:.2f}")

    def ask(self, index: int) -> None:
        """The mask of a prompted slice, from its prompts and what it was: `ui.questions.Questions.request`."""
        prompts, own, last = self.prompts[index], self.mask[index], self.answers.get(index)
        logits = view = None
        is_absent = prompts.is_stop and not self.truth[index].any()
        if is_absent:
            pass  # "Not here"
        elif last is not None and own.any() and np.array_equal(own, last.mask):
            logits, view = last.low_res_logits, last.view
            prompts = replace(prompts, box=prompts.box or self.boxes.get(index))
        elif own.any():
            both = prompts_to_correct(prompts, own)
            prompts = {
                "mask": replace(prompts, mask=own),
                "box": replace(both, mask=None),
                "both": both,
            }[self.hint]
        request = SegmentRequest(
            self.job.stack.pixels(index),
            prompts,
            logits,
            previous_view=view,
            nearby_box=box_beside(self.mask.__getitem__, index, len(self.mask), prompts.points),
        )
        answer = self.job.service.segment(request)
        self.answers[index] = as_clicked(answer, prompts)
        self.boxes[index] = self.answers[index].asked_box
        self.mask[index] = self.answers[index].mask

    def propagate(self) -> None:
        """Fill again what lies beside a changed slice: `ui.propagations.Propagations`."""
        anchors = {index: answer for index, answer in self.answers.items() if answer.mask.any()}
        stops = {index for index in self.prompts.keys() - anchors.keys() if self.prompts[index].is_stop}
        if not anchors:
            return
        sums = {index: zlib.crc32(np.packbits(anchor.mask)) for index, anchor in anchors.items()}
        wanted = {gap: (sums.get(gap[0], -1), sums.get(gap[1], -1)) for gap in gaps_of(anchors.keys(), stops)}
        skip = {gap for gap, filled_from in wanted.items() if self.filled.get(gap) == filled_from}
        changed = np.ones(len(self.mask), dtype=bool)
        for below, above in skip:
            changed[0 if below is None else below + 1 : above] = False
        changed[list(self.prompts)] = False
        self.mask[changed] = False
        in_order = [anchors[index] for index in sorted(anchors)]
        for result in propagate(
            self.job.service, self.job.stack, in_order, self.settings, stops=stops, skip=skip
        ):
            if result.plane.index not in self.prompts:
                self.mask[result.plane.index] = result.mask
        self.filled |= wanted


def largest(mask):
    """The largest connected part of a mask (rows, columns)."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    return parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())


if __name__ == "__main__":
    typer.run(main)
