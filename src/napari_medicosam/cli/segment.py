"""`medicosam segment`: prompts in, a label map with the image's geometry out."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.cli import options
from napari_medicosam.cli.console import notes, slice_progress
from napari_medicosam.cli.job import JobOptions, axis_of, open_job
from napari_medicosam.cli.prompt_arguments import read_objects
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.predict.zoom import DEFAULT_ZOOM, ZoomRule
from napari_medicosam.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.cli.job import Job
    from napari_medicosam.core.prompts import ObjectPrompts
    from napari_medicosam.core.results import SegmentResult
    from napari_medicosam.predict.propagation import PropagationSettings

OVERLAP_RULES = ("error", "first", "last")


def segment(
    image: options.Image,
    output: options.Labels,
    model: options.Model = DEFAULT_MODEL,
    axis: options.Axis = "0",
    window: options.Window = None,
    point: options.Points = None,
    box: options.Boxes = None,
    prompts: options.Prompts = None,
    propagate: options.Propagate = False,
    mode: options.Mode = None,
    iou_threshold: options.IouThreshold = None,
    box_extension: options.BoxExtension = None,
    min_confidence: options.MinConfidence = None,
    z_range: options.ZRange = None,
    embeddings: options.Embeddings = None,
    zoom: options.Zoom = DEFAULT_ZOOM.policy,
    overlap: options.Overlap = "error",
    overwrite: options.Overwrite = False,
    report: options.Report = None,
    device: options.Device = None,
) -> None:
    """Segment objects in IMAGE from points and boxes.

    2D images leave out Z. Positions are voxel indices in the file's own order; nothing is ever reoriented, and the
    label map has the very geometry of IMAGE.

        medicosam segment ct.nii.gz -o liver.nii.gz --box 60,30,20,80,70 --propagate
    """
    from napari_medicosam.io.volumes import check_writable, read_volume, write_labels

    settings = _settings(mode, iou_threshold, box_extension, min_confidence) if propagate else None
    rule = ZoomRule(zoom)
    volume = read_volume(image)
    _check_targets(image, output, report, overwrite)
    check_writable(output, volume, overwrite=overwrite)
    number = axis_of(volume, axis)
    wanted = read_objects(point or [], box or [], prompts, volume, number)
    canvas = LabelCanvas(volume.geometry.shape_zyx, overlap, max(one.object_id for one in wanted))

    job = open_job(volume, number, JobOptions(model, window, embeddings, device, rule))
    notes.print(f"model {job.model.name}, window {job.mapping}, slices along axis {number}")
    bounds = job.z_range(z_range)
    try:
        entries = [_segment_one(job, one, settings, bounds, canvas) for one in wanted]
    except KeyboardInterrupt:
        where = (
            f"what was encoded is kept in {embeddings}, run again to go on"
            if embeddings
            else "nothing is kept"
        )
        notes.print(f"stopped, nothing written; {where}")
        raise
    write_labels(output, canvas.labels, volume, overwrite=overwrite)
    if report is not None:
        _write_report(report, job, settings, entries)
    for entry in entries:
        size = f"{entry['voxels']} voxels, {entry['mm3'] / 1000:.1f} mL"
        notes.print(f"{entry['label']}: {len(entry['slices'])} slices, {size}, {entry['seconds']:.0f} s")
    notes.print(f"wrote {output}")


@dataclass(slots=True)
class LabelCanvas:
    """The label map as it fills up; two objects never share a voxel silently."""

    shape_zyx: tuple[int, int, int]
    overlap: str = "error"
    max_label: int = 255
    labels: NDArray[np.unsignedinteger] = field(init=False)

    def __post_init__(self) -> None:
        if self.overlap not in OVERLAP_RULES:
            raise InputError(f"--overlap {self.overlap}: wanted error, first or last")
        self.labels = np.zeros(self.shape_zyx, dtype=np.min_scalar_type(self.max_label))

    def write(self, result: SegmentResult, label: str) -> None:
        """Put one slice of one object down; `InputError` when it meets another object and none may win."""
        target = result.plane.cut(self.labels)
        mask = result.mask
        taken = mask & (target != 0) & (target != result.object_id)
        if taken.any() and self.overlap == "error":
            others = ", ".join(str(n) for n in np.unique(target[taken]))
            raise InputError(
                f"{label} overlaps object {others} in {np.count_nonzero(taken)} pixels of slice {result.plane.index}; "
                "give clearer prompts, or choose who wins with --overlap first or --overlap last"
            )
        target[mask & ~taken if self.overlap == "first" else mask] = result.object_id


def _segment_one(
    job: Job,
    wanted: ObjectPrompts,
    settings: PropagationSettings | None,
    bounds: tuple[int, int] | None,
    canvas: LabelCanvas,
) -> dict[str, Any]:
    """Segment one object into the canvas and say what was found."""
    from napari_medicosam.predict.objects import segment_object

    start = time.perf_counter()
    first, last = bounds or (0, len(job.stack))
    scores: dict[int, float] = {}
    with slice_progress() as progress:
        total = len(wanted.prompt_sets) if settings is None else last - first
        task = progress.add_task(str(wanted), total=total)
        for result in segment_object(job.service, job.stack, wanted, settings, bounds):
            canvas.write(result, str(wanted))
            scores[result.plane.index] = round(result.iou_prediction, 4)
            progress.advance(task)
    voxels = int(np.count_nonzero(canvas.labels == wanted.object_id))
    return {
        "id": wanted.object_id,
        "name": wanted.name,
        "label": str(wanted),
        "prompted_slices": [prompts.plane.index for prompts in wanted.prompt_sets],
        "slices": sorted(scores),
        "iou_predictions": {str(index): scores[index] for index in sorted(scores)},
        "voxels": voxels,
        "mm3": round(voxels * job.image.geometry.voxel_volume_mm3, 3),
        "seconds": round(time.perf_counter() - start, 3),
    }


def _settings(
    mode: str | None, iou_threshold: float | None, box_extension: float | None, min_confidence: float | None
) -> PropagationSettings:
    from napari_medicosam.predict.propagation import PropagationSettings

    given: dict[str, Any] = {
        "mode": None if mode is None else PromptMode.parse(mode),
        "iou_threshold": iou_threshold,
        "box_extension": box_extension,
        "min_confidence": min_confidence,
    }
    return PropagationSettings(**{name: value for name, value in given.items() if value is not None})


def _check_targets(image: Path, output: Path, report: Path | None, overwrite: bool) -> None:
    """Before any work: no result may land on the scan, on another result, or on an old report."""
    if output.exists() and output.samefile(image):
        raise FileError(f"{output} is the image itself: labels never replace a scan, give another --output")
    if report is None:
        return
    if report.absolute() in (output.absolute(), image.absolute()):
        raise FileError(f"--json {report} is also the image or the label map: give it another name")
    if report.exists() and not overwrite:
        raise FileError(f"{report} is already there; give --overwrite to replace it")
    if not report.absolute().parent.is_dir():
        raise FileError(f"there is no folder {report.parent} for --json")


def _write_report(
    path: Path, job: Job, settings: PropagationSettings | None, entries: Sequence[dict[str, Any]]
) -> None:
    content = {
        "version": version("napari-medicosam"),
        "model": job.model.name,
        "weights_sha256": job.model.weights_sha256,
        "zoom": job.service.zoom.policy,
        "intensity": job.mapping.as_record(),
        "axis": job.stack.axis,
        "plane": job.image.geometry.plane_name(job.stack.axis),
        "shape_zyx": list(job.image.geometry.shape_zyx),
        "spacing_zyx_mm": list(job.image.geometry.spacing_zyx),
        "propagation": None
        if settings is None
        else {
            "mode": str(settings.mode),
            "iou_threshold": settings.iou_threshold,
            "box_extension": settings.box_extension,
            "min_confidence": settings.min_confidence,
        },
        "objects": [{key: value for key, value in entry.items() if key != "label"} for entry in entries],
    }
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise FileError(f"cannot write the report {path}: {error}") from error
