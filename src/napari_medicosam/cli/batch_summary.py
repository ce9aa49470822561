"""What is told of a batch: one bar while it runs, a table at its end, and a file with a row an image."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from napari_medicosam.cli.console import notes, results
from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from napari_medicosam.cli.batch_tasks import BatchTask, Outcome

_SHOWN = 20
_ESTIMATE_S = 900.0
"""The time left is told from the last quarter of an hour: one image may take minutes."""

_FIELDS = ("name", "state", "tries", "seconds", "detail")


class BatchSummary:
    """Counts outcomes, and writes them down at the end.

    Args:
        tasks: all there are.
        path: .csv or .json to write; None writes nothing.

    Raises:
        FileError: for another ending, a folder that is not there, or a file there that is no such summary.
    """

    def __init__(self, tasks: Sequence[BatchTask], path: Path | None) -> None:
        if path is not None and path.suffix.lower() not in (".csv", ".json"):
            raise FileError(f"--summary {path}: wanted a name ending in .csv or .json")
        if path is not None and not path.absolute().parent.is_dir():
            raise FileError(f"there is no folder {path.parent} for --summary")
        if path is not None and path.exists() and not _is_summary(path):
            raise FileError(f"{path} is there and no summary of ours: wanted another name for --summary")
        self._path = path
        self._places = {task.name: place for place, task in enumerate(tasks)}
        self._outcomes: list[Outcome] = []
        self._counts: Counter[str] = Counter()

    def __str__(self) -> str:
        said = [f"{self._counts[state]} {state}" for state in ("done", "skipped", "failed")]
        return ", ".join(said)

    @property
    def num_failed(self) -> int:
        """Images that failed."""
        return self._counts["failed"]

    @property
    def num_done(self) -> int:
        """Images that were worked on and are done."""
        return self._counts["done"]

    def add(self, outcome: Outcome) -> None:
        """Count one; a failure is told at once."""
        self._outcomes.append(outcome)
        self._counts[outcome.state] += 1
        if outcome.state == "failed" and self.num_failed <= _SHOWN:
            notes.print(f"failed: {outcome.name}: {outcome.detail}", markup=False)

    def show(self, seconds: float) -> None:
        """The table at the end."""
        table = Table("images", "done", "skipped", "failed", "seconds", box=None)
        table.add_row(
            str(len(self._places)),
            *(str(self._counts[s]) for s in ("done", "skipped", "failed")),
            f"{seconds:.0f}",
        )
        results.print(table)
        failed = [one for one in self._in_order() if one.state == "failed"]
        for one in failed[:_SHOWN]:
            results.print(f"failed after {one.tries} tries: {one.name}: {one.detail}", markup=False)
        if len(failed) > _SHOWN:
            results.print(f"... and {len(failed) - _SHOWN} more: --summary FILE.csv lists all")

    def write(self, seconds: float) -> None:
        """Write the file that was asked for, with all that is known by now."""
        if self._path is None:
            return
        rows = [{field: getattr(one, field) for field in _FIELDS} for one in self._in_order()]
        is_csv = self._path.suffix.lower() == ".csv"
        text = _as_csv(rows) if is_csv else json.dumps(self._record(rows, seconds), indent=2) + "\n"
        beside = self._path.with_name(f".{self._path.name}.part")
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            with suppress(OSError):  # a disk that can only be read refuses this, too
                beside.unlink(missing_ok=True)
            raise FileError(f"cannot write the summary {self._path}: {error}") from error

    def _record(self, rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
        return {
            "version": version("napari-medicosam"),
            "seconds": round(seconds, 3),
            "images": len(self._places),
            **{state: self._counts[state] for state in ("done", "skipped", "failed")},
            "rows": rows,
        }

    def _in_order(self) -> list[Outcome]:
        return sorted(self._outcomes, key=lambda one: self._places[one.name])


@contextmanager
def batch_progress(total: int) -> Iterator[Callable[[BatchSummary, int], None]]:
    """One bar for all workers; what is yielded shows the counts, and how many processes there are."""
    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn("images: {task.description}"), TimeElapsedColumn(),
        TextColumn("gone,"), TimeRemainingColumn(compact=True), TextColumn("left"),
    )  # fmt: skip
    with Progress(*columns, console=notes, transient=True, speed_estimate_period=_ESTIMATE_S) as bar:
        task = bar.add_task("starting", total=total)

        def show(summary: BatchSummary, workers: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f", {summary.num_done / elapsed * 60:.1f} a minute" if elapsed else ""
            processes = f" by {workers} processes" if workers else ""
            bar.update(task, advance=1, description=f"{summary}{rate}{processes}")

        yield show


def _is_summary(path: Path) -> bool:
    """A list of images, say, must not be replaced by mistake."""
    try:
        with path.open(encoding="utf-8") as stream:
            if path.suffix.lower() == ".csv":
                return stream.readline().strip() == ",".join(_FIELDS)
            content = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"version", "rows"} <= set(content)


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
