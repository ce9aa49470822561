"""`medicosam segment`: prompts in, a label map with the image's geometry out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medicosam.cli import options
from napari_medicosam.cli.batch_options import BatchOptions
from napari_medicosam.cli.console import notes, slice_progress
from napari_medicosam.cli.grouping import grouped
from napari_medicosam.cli.job import JobOptions, axis_of, is_same_file, open_job
from napari_medicosam.cli.label_canvas import LabelCanvas
from napari_medicosam.cli.prompt_arguments import read_objects
from napari_medicosam.cli.refining import FoundSlices, Refinement, clean_up_of
from napari_medicosam.cli.segment_report import FoundObject, SegmentReport
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.predict.zoom import ZoomRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medicosam.cli.job import Job
    from napari_medicosam.core.prompts import ObjectPrompts
    from napari_medicosam.predict.propagation import PropagationSettings


@grouped
def segment(
    what: BatchOptions,
    results: options.ResultOptions,
    prompts: options.PromptOptions,
    how: options.SegmentOptions,
    propagation: options.PropagationOptions,
    clean_up: options.CleanUpOptions,
) -> None:
    """Segment objects in IMAGE from points and boxes.

    2D images leave out Z. Positions are voxel indices in the file's own order; nothing is ever reoriented, and the
    label map has the very geometry of IMAGE.

        medicosam segment ct.nii.gz -o liver.nii.gz --box 60,30,20,80,70 --propagate

    Several images, folders of images or --batch FILE are worked on at once, here or on a Dask cluster; LABELS then is
    a folder. What is done is skipped.
    """
    if what.is_batch:
        from napari_medicosam.cli.batch import segment_batch

        segment_batch(what, SegmentOrder(Path(), results, prompts, how, propagation, clean_up))
        return
    segment_image(SegmentOrder(what.only_image, results, prompts, how, propagation, clean_up))


@dataclass(frozen=True, slots=True)
class SegmentOrder:
    """All that is needed to segment one image: the image, and the options in their groups.

    `is_shared` says that the folder of embeddings is one for many images, see `JobOptions`.
    """

    image: Path
    results: options.ResultOptions
    prompts: options.PromptOptions
    how: options.SegmentOptions
    propagation: options.PropagationOptions
    clean_up: options.CleanUpOptions
    is_shared: bool = False


def segment_image(order: SegmentOrder) -> SegmentReport:
    """Segment one image, write its label map and, if wanted, the report, which is returned.

    Raises:
        MedicoSamError: for what cannot be read, asked or written; then nothing is written.
    """
    from napari_medicosam.io.volumes import check_writable, read_volume, write_labels

    image, results, how, propagation = order.image, order.results, order.how, order.propagation
    output, overwrite = results.output, results.overwrite
    settings = _settings(propagation)
    rule = ZoomRule(how.zoom)
    volume = read_volume(image)
    _check_targets(image, output, results.report, overwrite)
    check_writable(output, volume, overwrite=overwrite)
    axis = axis_of(volume, how.axis)
    if propagation.three_planes and volume.is_2d:
        raise InputError("--three-planes: a 2D image has one plane, wanted a volume")
    cleaning = clean_up_of(order.clean_up, axis)
    asked = order.prompts
    wanted = read_objects(asked.point or [], asked.box or [], asked.prompts, volume, axis)
    canvas = LabelCanvas(volume.geometry.shape_zyx, wanted, results.overlap)

    told = JobOptions(
        how.model,
        how.window,
        how.embeddings,
        how.device,
        rule,
        how.embedding_dtype,
        how.runtime,
        order.is_shared,
    )
    job = open_job(volume, axis, told)
    notes.print(f"model {job.model.name}, window {job.mapping}, slices along axis {axis}")
    bounds = job.z_range(propagation.z_range)
    refinement = Refinement(settings if propagation.three_planes else None, bounds, cleaning)
    start = time.perf_counter()
    try:
        found = _segment(job, wanted, settings, refinement, canvas)
    except KeyboardInterrupt:
        kept = how.embeddings
        where = f"what was encoded is kept in {kept}, run again to go on" if kept else "nothing is kept"
        notes.print(f"stopped, nothing written; {where}")
        raise
    seconds = time.perf_counter() - start
    names = {one.object_id: one.name for one in wanted if one.name}
    write_labels(output, canvas.labels, volume, overwrite=overwrite, classes=names)
    report = SegmentReport(job, settings, refinement, results.overlap, found, seconds)
    if results.report is not None:
        report.write(results.report)
    for one in found:
        size = f"{one.voxels} voxels, {one.voxels * volume.geometry.voxel_volume_mm3 / 1000:.1f} mL"
        notes.print(f"{one.wanted}: {len(one.slices)} slices, {size}", markup=False)
    notes.print(f"wrote {output} after {seconds:.0f} s", markup=False)
    return report


def _segment(
    job: Job,
    wanted: Sequence[ObjectPrompts],
    settings: PropagationSettings | None,
    refinement: Refinement,
    canvas: LabelCanvas,
) -> list[FoundObject]:
    """Segment all objects into the canvas, together, and say what was found."""
    from napari_medicosam.predict.objects import segment_objects

    found = {one.object_id: FoundObject(one) for one in wanted}
    slices = {one.object_id: FoundSlices() for one in wanted}
    first, last = refinement.z_range or (0, len(job.stack))
    total = sum(last - first if settings else len(one.prompt_sets) for one in wanted)
    with slice_progress() as progress:
        task = progress.add_task(
            str(wanted[0]) if len(wanted) == 1 else f"{len(wanted)} objects", total=total
        )
        for result in segment_objects(job.service, job.stack, wanted, settings, refinement.z_range):
            found[result.object_id].scores[result.plane.index] = result.iou_prediction
            if refinement.is_wanted:
                slices[result.object_id].add(result)
            else:
                canvas.write(result.object_id, result.plane, result.mask)
            progress.advance(task)
    if refinement.is_wanted:
        for object_id, one in found.items():
            mask = slices.pop(object_id).mask(job.stack.shape_zyx)
            mask, one.agreement = refinement(job, one.wanted, mask)
            for plane in map(job.stack.plane, range(len(job.stack))):
                canvas.write(object_id, plane, plane.cut(mask))
    for one in found.values():
        one.count(canvas.labels, job.stack.axis)
    return list(found.values())


def _settings(given: options.PropagationOptions) -> PropagationSettings | None:
    """None without --propagate."""
    from napari_medicosam.predict.propagation import PropagationSettings

    if given.three_planes and not given.propagate:
        raise InputError("--three-planes follows objects through the volume: wanted --propagate, too")
    if given.box_extension is not None and given.box_extension_mm is not None:
        raise InputError("--box-extension and --box-extension-mm exclude each other: wanted one of them")
    if not given.propagate:
        return None
    said: dict[str, Any] = {
        "mode": None if given.mode is None else PromptMode.parse(given.mode),
        "between": given.between,
        "iou_threshold": given.iou_threshold,
        "min_confidence": given.min_confidence,
        "box_extension": given.box_extension,
        "box_extension_mm": given.box_extension_mm,
        "appearance": given.appearance,
        "likeness": given.likeness,
    }
    return PropagationSettings(**{name: value for name, value in said.items() if value is not None})


def _check_targets(image: Path, output: Path, report: Path | None, overwrite: bool) -> None:
    """Before any work: no result may land on the scan, on another result, or on an old report."""
    if is_same_file(output, image):
        raise FileError(f"{output} is the image itself: labels never replace a scan, give another --output")
    if report is None:
        return
    if report.absolute() in (output.absolute(), image.absolute()):
        raise FileError(f"--json {report} is also the image or the label map: give it another name")
    if report.exists() and not overwrite:
        raise FileError(f"{report} is already there; give --overwrite to replace it")
    if not report.absolute().parent.is_dir():
        raise FileError(f"there is no folder {report.parent} for --json")
