"""Many images with one command: shared out, watched, counted; a failed one does not stop the others."""

from __future__ import annotations

import math
import secrets
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from napari_medicosam.cli.batch_cluster import local_shape, num_workers, open_cluster, run_on_cluster
from napari_medicosam.cli.batch_inputs import BatchItem, items_of, read_batch_list
from napari_medicosam.cli.batch_records import sweep_attempts
from napari_medicosam.cli.batch_summary import BatchSummary, batch_progress
from napari_medicosam.cli.batch_tasks import EmbedTask, Machinery, Outcome, SegmentTask, Terms, run_task
from napari_medicosam.cli.console import notes
from napari_medicosam.errors import ClusterError, FileError, InputError
from napari_medicosam.io.sample_reading import stem_of
from napari_medicosam.io.series_files import label_name
from napari_medicosam.io.volumes import suffix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from napari_medicosam.cli.batch_options import BatchOptions
    from napari_medicosam.cli.batch_tasks import BatchTask
    from napari_medicosam.cli.job import JobOptions
    from napari_medicosam.cli.segment import SegmentOrder

_COUNT_S = 1.0
"""So often processes are counted."""


def embed_batch(what: BatchOptions, wanted: JobOptions, axis: str, z_range: str | None) -> None:
    """Encode many images, each into its own folder in `wanted.embeddings`.

    Raises:
        MedicoSamError: for what concerns all of them; `typer.Exit` with 1 when images failed.
    """
    if wanted.embeddings is None:
        raise InputError("nowhere to keep embeddings: wanted --embeddings")
    shared = replace(wanted, embeddings=wanted.embeddings.absolute(), model=_everywhere(wanted.model))
    items = _items(what)
    for item in items:
        if item.listed.prompts or item.listed.points or item.listed.boxes or item.listed.output:
            raise InputError(f"{what.batch}: prompts and outputs are for segment, embed takes image and name")
    tasks = [EmbedTask(item.name, item.image, shared, axis, z_range) for item in items]
    _run(what, tasks, Machinery(shared.model, shared.device, shared.runtime))


def segment_batch(what: BatchOptions, order: SegmentOrder) -> None:
    """Segment many images into the folder `order.results.output`.

    Raises:
        MedicoSamError: for what concerns all of them; `typer.Exit` with 1 when images failed.
    """
    if order.results.report is not None:
        raise InputError(
            "--json is for one image: of many, each has its record beside its labels; --summary lists all"
        )
    folder = order.results.output.absolute()
    if folder.exists() and not folder.is_dir():
        raise FileError(f"{folder} is a file: wanted a folder for the labels of many images")
    how = order.how
    kept = None if how.embeddings is None else how.embeddings.absolute()
    order = replace(order, how=replace(how, embeddings=kept, model=_everywhere(how.model)), is_shared=True)
    tasks = [SegmentTask(item.name, _order_of(item, order, folder)) for item in _items(what)]
    _check_outputs(tasks)
    folders = sorted({task.order.results.output.parent for task in tasks})
    machinery = Machinery(order.how.model, how.device, how.runtime)
    _run(what, tasks, machinery, lambda run: sweep_attempts(folders, run))


def _items(what: BatchOptions) -> list[BatchItem]:
    return items_of(what.images or []) if what.batch is None else read_batch_list(what.batch)


def _everywhere(model: str) -> str:
    """A checkpoint file by its absolute path: workers are started elsewhere."""
    from napari_medicosam.weights.registry import is_checkpoint_path

    return str(Path(model).expanduser().absolute()) if is_checkpoint_path(model) else model


def _order_of(item: BatchItem, order: SegmentOrder, folder: Path) -> SegmentOrder:
    """The order for one image: its prompts from its row, from its file in a folder, or those of all."""
    listed, place = item.listed, Path(item.name)
    prompts = order.prompts
    if listed.prompts or listed.points or listed.boxes:
        beside = item.listed_in.parent if item.listed_in else Path()
        own = (beside / listed.prompts).absolute() if listed.prompts else None
        prompts = replace(prompts, point=listed.points, box=listed.boxes, prompts=own)
    elif prompts.prompts is not None:
        file = prompts.prompts.absolute()
        is_folder = file.is_dir()
        prompts = replace(
            prompts, prompts=file / place.parent / f"{stem_of(place)}.json" if is_folder else file
        )
    output = folder / (listed.output or place.with_name(label_name(place.name)))
    results = replace(order.results, output=output)
    return replace(order, image=item.image, prompts=prompts, results=results)


def _check_outputs(tasks: Sequence[SegmentTask]) -> None:
    """No label map may land on an image of the batch, or on another label map."""
    images = {task.order.image.resolve() for task in tasks}
    names: dict[str, str] = {}
    for task in tasks:
        output = task.order.results.output
        if output.resolve() in images:
            raise FileError(
                f"{output} is an image itself: labels never replace a scan, wanted another output"
            )
        if suffix_of(output) is None:
            raise InputError(f"labels of {task.name} cannot go to {output}: wanted a file, such as .nii.gz")
        other = names.setdefault(str(output).casefold(), task.name)
        if other != task.name:
            raise InputError(
                f"the labels of {other} and {task.name} would both be {output}: wanted a list with outputs"
            )


def _run(
    what: BatchOptions,
    tasks: Sequence[BatchTask],
    machinery: Machinery,
    clear: Callable[[str | None], None] = lambda run: None,
) -> None:
    """Do all tasks, with one view of how far it is; then say what became of them.

    `clear` is called at the end, with the name of the run unless workers may still be at it.
    """
    run = secrets.token_hex(8)
    summary = BatchSummary(tasks, what.summary)
    start = time.perf_counter()
    try:
        with (
            batch_progress(len(tasks)) as show,
            closing(_outcomes(what, tasks, run, machinery)) as outcomes,
        ):
            for outcome, workers in outcomes:
                summary.add(outcome)
                show(summary, workers)
    except (KeyboardInterrupt, ClusterError):
        clear(run if what.scheduler is None else None)
        summary.write(time.perf_counter() - start)
        notes.print(f"stopped: {summary}; what is done is kept, run again to go on")
        raise
    clear(run)
    summary.write(time.perf_counter() - start)
    summary.show(time.perf_counter() - start)
    if summary.num_failed:
        raise typer.Exit(1)


def _outcomes(
    what: BatchOptions, tasks: Sequence[BatchTask], run: str, machinery: Machinery
) -> Generator[tuple[Outcome, int]]:
    """Outcomes, each with the number of processes that there are."""
    if what.workers == 0:
        terms = Terms.of_here(run, machinery, what.threads)
        yield from ((outcome, 0) for outcome in _one_after_another(tasks, terms, what.retries))
        return
    workers, threads = 0, what.threads or 1
    if what.scheduler is None:
        on_gpu = _is_on_gpu(machinery.device)
        workers, threads = local_shape(what.workers, what.threads, on_gpu)
        if workers > len(tasks):
            workers, threads = local_shape(len(tasks), what.threads, on_gpu)
    terms = Terms.of_here(run, machinery, threads)
    with open_cluster(what.scheduler, workers) as client:
        counted = -math.inf
        for outcome in run_on_cluster(client, tasks, terms, what.retries):
            if time.monotonic() - counted > _COUNT_S:  # the scheduler has other things to do
                workers, counted = num_workers(client), time.monotonic()
            yield outcome, workers


def _one_after_another(tasks: Sequence[BatchTask], terms: Terms, retries: int) -> Iterator[Outcome]:
    for task in tasks:
        for tries in range(1, retries + 2):
            outcome = replace(run_task(task, terms), tries=tries)
            if outcome.state != "failed":
                break
        yield outcome


def _is_on_gpu(device: str | None) -> bool:
    from napari_medicosam.weights.loading import resolve_device

    return resolve_device(device).type != "cpu"
