"""`medicosam embed`: encode a volume ahead, so that segmenting it later answers at once."""

from __future__ import annotations

from napari_medicosam.cli import options
from napari_medicosam.cli.console import notes, slice_progress
from napari_medicosam.cli.grouping import grouped
from napari_medicosam.cli.job import JobOptions, axis_of, open_job


@grouped
def embed(
    image: options.Image,
    embeddings: options.EmbeddingsFolder,
    how: options.EncodingOptions,
    z_range: options.ZRange = None,
) -> None:
    """Encode the slices of IMAGE into a folder that `medicosam segment --embeddings` then reads.

    Slices that are there already are skipped, so it may be stopped and started at any time.
    """
    from napari_medicosam.io.volumes import read_volume

    volume = read_volume(image)
    wanted = JobOptions(
        how.model,
        how.window,
        embeddings,
        how.device,
        embedding_dtype=how.embedding_dtype,
        runtime=how.runtime,
    )
    job = open_job(volume, axis_of(volume, how.axis), wanted)
    indices = range(*(job.z_range(z_range) or (0, len(job.stack))))
    missing = [i for i in indices if not job.service.is_embedded(job.stack.plane(i), job.stack.pixels(i))]
    done = 0
    try:
        with slice_progress() as progress:
            task = progress.add_task("encoding", total=len(missing))
            for start in range(0, len(missing), job.service.encode_batch):
                few = missing[start : start + job.service.encode_batch]
                job.service.embed_many([*map(job.stack.plane, few)], [*map(job.stack.pixels, few)])
                done += len(few)
                progress.advance(task, len(few))
    except KeyboardInterrupt:
        notes.print(
            f"stopped after {done} of {len(missing)} slices; they are kept in {embeddings}, run again to go on"
        )
        raise
    notes.print(f"encoded {done} slices, {len(indices) - done} were there already: {embeddings}")
