"""What a worker does with one image of a batch. Doing it twice does no harm: what is done is found done."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from napari_medicosam.cli.batch_records import BatchRecord, attempt_folder, order_digest
from napari_medicosam.cli.console import silence
from napari_medicosam.cli.embed import embed_image
from napari_medicosam.cli.loaded_model import load_once, runtime_once
from napari_medicosam.cli.segment import SegmentOrder, segment_image
from napari_medicosam.errors import ClusterError, FileError, MedicoSamError

if TYPE_CHECKING:
    from napari_medicosam.cli.job import JobOptions

State = Literal["done", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Machinery:
    """What does the work, as it was asked for: see `JobOptions`."""

    model: str
    device: str | None = None
    runtime: str | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What all tasks of a run have in common.

    Attributes:
        run: names the run, to tell what it made from what it found.
        version: of this package; workers must have the same.
        machinery: what does the work.
        weights_sha256: of the weights; those that a worker finds must be the same.
        threads: cores that a task computes on; None leaves it to torch.
    """

    run: str
    version: str
    machinery: Machinery
    weights_sha256: str
    threads: int | None

    @classmethod
    def of_here(cls, run: str, machinery: Machinery, threads: int | None) -> Terms:
        """With the version and weights of this machine.

        Weights are fetched, and graphs made of them, before many workers want them at once.
        """
        from napari_medicosam.cli.console import download_progress

        with download_progress(machinery.model) as progress:
            model = load_once(machinery.model, "cpu", progress)
        runtime_once(model, machinery.runtime)
        return cls(run, version("napari-medicosam"), machinery, model.weights_sha256, threads)

    def check_here(self) -> None:
        """Raise `ClusterError` on a worker that would give other results than the others."""
        here = version("napari-medicosam")
        if here != self.version:
            raise ClusterError(
                f"a worker has napari-medicosam {here}: wanted {self.version}, as where it was started"
            )
        model = self.machinery.model
        found = load_once(model, self.machinery.device).weights_sha256
        if found != self.weights_sha256:
            raise ClusterError(
                f"a worker has other weights for {model}: their sha256 is {found}, wanted {self.weights_sha256}"
            )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image.

    Attributes:
        name: of the image in the batch.
        state: "skipped" is what was done before.
        seconds: that the last try took.
        detail: of what was done, how much; of what failed, why.
        tries: how many it took.
    """

    name: str
    state: State
    seconds: float
    detail: str
    tries: int = 1


class BatchTask(Protocol):
    """One image. Only paths and settings, so that little goes over the wire."""

    @property
    def name(self) -> str:
        """Of the image in the batch."""

    def work(self, terms: Terms) -> tuple[State, str]:
        """Do it, or find it done: state and detail. Raises `MedicoSamError`."""


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """Encode one image. Each slice is marked done when it is, so a task goes on where the last try ended."""

    name: str
    image: Path
    wanted: JobOptions
    axis: str
    z_range: str | None

    def work(self, terms: Terms) -> tuple[State, str]:
        """Encode the slices that are not there."""
        done, there = embed_image(self.image, self.wanted, self.axis, self.z_range)
        return ("done" if done else "skipped"), f"{done} slices encoded, {there} were there"


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """Segment one image; beside its label map lies a record of how it was made.

    The label map is made in a folder of its own beside its place. Then the record is written, which holds the digest of
    the label map, and then the label map is moved. So the two only ever agree when both are whole.
    """

    name: str
    order: SegmentOrder

    def work(self, terms: Terms) -> tuple[State, str]:
        """Segment, unless the label map is there, whole, and made from the same image by the same order."""
        target = self.order.results.output
        digest = order_digest(self.order, terms.weights_sha256)
        record = BatchRecord.read_for(target)
        if record is not None and record.order == digest and record.fits(target):
            return ("done" if record.run == terms.run else "skipped"), record.detail
        is_taken = target.exists() or (record is None and BatchRecord.path_for(target).exists())
        if is_taken and not self.order.results.overwrite:
            raise FileError(
                f"{target} is there, made in another way or changed since: wanted another folder, or --overwrite"
            )
        with attempt_folder(target.parent, terms.run) as folder:
            made = folder / target.name
            results = replace(self.order.results, output=made, report=None)
            report = segment_image(replace(self.order, results=results))
            made_record = BatchRecord.of_made(made, digest, terms.run, report.as_record())
            made_record.write_for(target)
            try:
                made.replace(target)
            except OSError as error:
                raise FileError(f"cannot write {target}: {error.strerror or error}") from error
        return "done", made_record.detail


def run_task(task: BatchTask, terms: Terms) -> Outcome:
    """Do one task in this process. Whatever goes wrong is an `Outcome`, too: nothing is left to a worker's log."""
    start = time.perf_counter()
    state: State
    with silence():
        try:
            _use_threads(terms.threads)
            terms.check_here()
            state, detail = task.work(terms)
        except MedicoSamError as error:
            state, detail = "failed", str(error)
        except Exception as error:
            # The words of libraries may quote a patient's name, so the place has to say it.
            last = traceback.extract_tb(error.__traceback__)[-1]
            state = "failed"
            detail = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
    return Outcome(task.name, state, round(time.perf_counter() - start, 3), detail)


def _use_threads(threads: int | None) -> None:
    """For this thread: Dask's processes are started with one, and torch counts for each thread of Python."""
    import torch

    if threads is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
