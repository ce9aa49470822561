"""What `medicosam-finetune` tells while a run goes on, and how it is asked to stop."""

from __future__ import annotations

import math
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_medicosam.cli.console import notes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from napari_medicosam.training.config import RunConfig
    from napari_medicosam.training.trainer import StepReport


class StopRequest:
    """Whether to end the run: after some minutes, or after Ctrl-C or SIGTERM (a job's time is up). A step is finished
    first and everything is saved; a second signal ends it at once.
    """  # noqa: D205

    def __init__(self, minutes: float | None) -> None:
        self._deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._asked = False

    def __call__(self) -> bool:
        """True when the run should end."""
        return self._asked or time.monotonic() > self._deadline

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Inside, Ctrl-C and SIGTERM ask to stop."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        notes.print("finishing this step and saving; once more to stop at once")


class TrainingProgress:
    """A line every few steps and at each validation, with the time left."""

    def __init__(self, settings: RunConfig) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._first: int | None = None

    def on_step(self, report: StepReport) -> None:
        """A line every `log_every` steps."""
        if self._first is None:
            self._first = report.step - 1
        if report.step % self._settings.log_every:
            return
        done = report.step - self._first
        left = (time.monotonic() - self._started) / done * (self._settings.num_steps - report.step)
        notes.print(
            f"step {report.step}/{self._settings.num_steps}  Dice {report.dice[0]:.3f} at the start, "
            f"{report.dice[-1]:.3f} at the end  lr {report.lr:.1e}  about {left / 60:.0f} min left"
        )

    def on_validation(self, step: int, numbers: Mapping[str, float]) -> None:
        """The four means and the score."""
        four = "  ".join(f"{name} {numbers[name]:.3f}" for name in list(numbers)[:5])
        notes.print(f"[bold]validation at step {step}[/bold]: {four}")
