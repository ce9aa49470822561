"""What the commands say: progress and notes go to stderr, results to stdout."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

notes = Console(stderr=True, highlight=False, soft_wrap=True)
results = Console(highlight=False, soft_wrap=True)


def slice_progress() -> Progress:
    """A bar that counts slices and estimates the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slices,"),
        TimeRemainingColumn(compact=True),
        TextColumn("left at most"),
        console=notes,
        transient=True,
    )


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A callback (done bytes, total bytes) that shows a bar from its first call on, so not for a file that is here."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=notes, transient=True) as bar:
        task: TaskID | None = None

        def show(done: int, total: int | None) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task(name, total=total, completed=done)  # `done` > 0 is what was resumed
            bar.update(task, completed=done, total=total)

        yield show
