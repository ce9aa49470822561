"""`medicosam embed`: encode volumes ahead, so that segmenting them later answers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medicosam.cli import options
from napari_medicosam.cli.batch_options import BatchOptions
from napari_medicosam.cli.console import notes, slice_progress
from napari_medicosam.cli.grouping import grouped
from napari_medicosam.cli.job import JobOptions, axis_of, open_job

if TYPE_CHECKING:
    from pathlib import Path


@grouped
def embed(
    what: BatchOptions,
    embeddings: options.EmbeddingsFolder,
    how: options.EncodingOptions,
    z_range: options.ZRange = None,
) -> None:
    """Encode the slices of IMAGE into a folder that `medicosam segment --embeddings` then reads.

    Slices that are there already are skipped, so it may be stopped and started at any time. Several images, folders of
    images or --batch FILE are worked on at once, here or on a Dask cluster; each has its own folder in DIR.
    """
    wanted = JobOptions(
        how.model,
        how.window,
        embeddings,
        how.device,
        embedding_dtype=how.embedding_dtype,
        runtime=how.runtime,
        is_shared=what.is_batch,
        keep_in_memory=False,
    )
    if what.is_batch:
        from napari_medicosam.cli.batch import embed_batch

        embed_batch(what, wanted, how.axis, z_range)
        return
    done, there = embed_image(what.only_image, wanted, how.axis, z_range)
    notes.print(f"encoded {done} slices, {there} were there already: {embeddings}")


def embed_image(image: Path, wanted: JobOptions, axis: str, z_range: str | None) -> tuple[int, int]:
    """Encode the slices of one image that are not in its folder yet: how many it were, and how many were there.

    Raises:
        MedicoSamError: for an image, a model or a folder that cannot be used; slices that were encoded before are kept.
    """
    from napari_medicosam.io.volumes import read_volume

    volume = read_volume(image)
    job = open_job(volume, axis_of(volume, axis), wanted)
    indices = range(*(job.z_range(z_range) or (0, len(job.stack))))
    done = 0
    try:
        with slice_progress() as progress:
            task = progress.add_task("encoding", total=len(indices))
            planes, slices = [], []
            for index in indices:
                plane, pixels = job.stack.plane(index), job.stack.pixels(index)
                if not job.service.is_embedded(plane, pixels):
                    planes.append(plane)
                    slices.append(pixels)
                if len(planes) == job.service.encode_batch or index == indices[-1]:
                    job.service.embed_many(planes, slices)
                    done += len(planes)
                    planes, slices = [], []
                progress.advance(task)
    except KeyboardInterrupt:
        notes.print(
            f"stopped after {done} slices were encoded; they are kept in {wanted.embeddings}, run again to go on"
        )
        raise
    return done, len(indices) - done
