"""Everything is read once before training starts: what cannot be used is known then, and not after hours."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.errors import FileError, InputError, MedicoSamError
from napari_medicosam.io.data_report import DataReport, SampleSet, Skipped
from napari_medicosam.io.sample_reading import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_medicosam.io.samples import AnnotatedImage, Sample

_CHUNKS_A_THREAD = 64
"""Chunks that wait for each thread: there may be millions of samples, and they are not all queued at once."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    sample: Sample
    digest: bytes = b""
    num_objects: int = 0
    reason: str = ""


def check_samples(
    sample_set: SampleSet,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> SampleSet:
    """Read every sample and drop those that cannot be used; the report tells them, with the reasons.

    Args:
        sample_set: from `find_samples`.
        progress: called with the number of samples read and their total, now and then, on the calling thread.
        workers: threads; None for one a core, at most 8. The result does not depend on it.

    Returns:
        The samples that are left, in their order; the report has their objects and `digest`.

    Raises:
        InputError: for less than one worker.
        FileError: when no sample is left.
    """
    workers = min(8, os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise InputError(f"at least 1 worker is needed, got {workers}")
    outcomes: list[_Outcome] = []
    with ThreadPoolExecutor(workers) as pool:
        chunks = _chunks(sample_set.samples)
        while batch := list(islice(chunks, workers * _CHUNKS_A_THREAD)):
            for of_chunk in pool.map(_check_chunk, batch):
                outcomes += of_chunk
                if progress is not None:
                    progress(len(outcomes), len(sample_set.samples))
    checked = _checked(sample_set, outcomes)
    if not checked.samples:
        raise FileError(f"no annotated image can be used.\n{checked.report.as_text()}")
    return checked


def _chunks(samples: Sequence[Sample]) -> Iterator[tuple[Sample, ...]]:
    """Neighbours of one patient stay together: the slices of a volume are read by one thread, and so it once."""
    for _, chunk in groupby(samples, key=lambda sample: (sample.dataset, sample.patient)):
        yield tuple(chunk)


def _check_chunk(samples: tuple[Sample, ...]) -> list[_Outcome]:
    return [_check(sample) for sample in samples]


def _check(sample: Sample) -> _Outcome:
    try:
        annotated = sample.load()
    except MedicoSamError as error:
        return _Outcome(sample, reason=reason_of(error, getattr(sample, "named_paths", ())))
    if not annotated.objects:
        return _Outcome(sample, reason="no objects")
    return _Outcome(sample, annotated_digest(annotated), len(annotated.objects))


def annotated_digest(annotated: AnnotatedImage) -> bytes:
    """sha256 over the pixels of an image and of its objects."""
    image = np.ascontiguousarray(annotated.image)
    digest = hashlib.sha256(f"{image.dtype.str} {image.shape}".encode())
    digest.update(image.data)
    for item in annotated.objects:
        region = item.region
        place = (item.class_id, region.y0, region.x0, region.y1, region.x1)
        digest.update(f"{place}".encode())
        digest.update(np.packbits(item.pixels).data)
    return digest.digest()


def _checked(sample_set: SampleSet, outcomes: list[_Outcome]) -> SampleSet:
    used = [outcome for outcome in outcomes if not outcome.reason]
    dropped = [outcome for outcome in outcomes if outcome.reason]
    num_samples = Counter(outcome.sample.dataset for outcome in used)
    num_objects: Counter[str] = Counter()
    for outcome in used:
        num_objects[outcome.sample.dataset] += outcome.num_objects
    before = sample_set.report
    report = DataReport(
        datasets=tuple(
            replace(summary, num_samples=num_samples[summary.name], num_objects=num_objects[summary.name])
            for summary in before.datasets
        ),
        skipped=before.skipped
        + tuple(Skipped(o.sample.dataset, o.sample.sample_id, o.reason) for o in dropped),
        digest=_digest_of(used),
    )
    return SampleSet(tuple(outcome.sample for outcome in used), report)


def _digest_of(outcomes: list[_Outcome]) -> str:
    """sha256 over all samples, whatever their order."""
    digest = hashlib.sha256()
    for item in sorted(outcomes, key=lambda outcome: (outcome.sample.dataset, outcome.sample.sample_id)):
        digest.update(f"{item.sample.dataset}\0{item.sample.sample_id}\0".encode())
        digest.update(item.digest)
    return digest.hexdigest()
