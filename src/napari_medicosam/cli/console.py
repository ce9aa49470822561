"""What the commands say: progress and notes go to stderr, results to stdout."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

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

from napari_medicosam.errors import MedicoSamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import typer

_is_silent: ContextVar[bool] = ContextVar("is_silent", default=False)


class _Notes(Console):
    def print(self, *objects: Any, **how: Any) -> None:
        if not _is_silent.get():
            super().print(*objects, **how)


notes = _Notes(stderr=True, highlight=False, soft_wrap=True)
results = Console(highlight=False, soft_wrap=True)


@contextmanager
def silence() -> Iterator[None]:
    """No notes and no bars from this thread: of many images only the whole is shown, and a worker's log stays empty."""
    before = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(before)


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
        disable=_is_silent.get(),
    )


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A callback (done bytes, total bytes) that shows a bar from its first call on, so not for a file that is here."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=notes, transient=True, disable=_is_silent.get()) as bar:
        task: TaskID | None = None

        def show(done: int, total: int | None) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task(name, total=total, completed=done)  # `done` > 0 is what was resumed
            bar.update(task, completed=done, total=total)

        yield show


def run_app(app: typer.Typer) -> None:
    """Run a command: errors that a user can mend are one line on stderr and exit code 1, Ctrl-C is 130."""
    try:
        app(standalone_mode=True)
    except MedicoSamError as error:
        notes.quiet = False  # of several processes all but the first are quiet, but not about what ends them
        notes.print(f"{app.info.name}: {error}", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        notes.print(f"{app.info.name}: stopped")
        sys.exit(130)
