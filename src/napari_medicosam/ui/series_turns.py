"""One thing at a time: what a series asks the worker of its viewer's session, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medicosam.ui.runner import Report
    from napari_medicosam.ui.series_records import Turn
    from napari_medicosam.ui.session import AnnotationSession


class Turns:
    """Runs actions one after another, each once no mask is missing any more.

    Args:
        session: of the viewer; its worker does the work.
        changed: called when something begins or ends.

    Attributes:
        activity: what is going on; "" when nothing is.
    """

    def __init__(self, session: AnnotationSession, changed: Callable[[], None]) -> None:
        self.activity = ""
        self._session = session
        self._changed = changed
        self._when_idle: Callable[[], None] | None = None
        self._is_asked = False
        session.events.busy_changed.connect(self._on_busy_changed)

    def close(self) -> None:
        """Let go of the session."""
        self._session.events.busy_changed.disconnect(self._on_busy_changed)
        self._when_idle = None
        self.activity = ""

    def begin(self, activity: str, action: Callable[[], None]) -> None:
        """Run an action, which is over with `end`.

        Raises:
            InputError: while another one is not over.
        """
        if self.activity:
            raise InputError(f"wait for the series, it is still at work: {self.activity}")
        self.activity = f"{activity}{', once the masks are there' if self._session.is_busy else ''} …"
        self._changed()
        self.once_idle(action)

    def once_idle(self, action: Callable[[], None]) -> None:
        """Run a further part of an action as soon as the session does nothing."""
        if self._session.is_busy:
            self._when_idle = action
        else:
            action()

    def ask(self, task: Callable[[Report], Turn], on_result: Callable[[Turn], None]) -> None:
        """Run a task on the worker; when it is cancelled the action is over."""

        def answered(turn: Turn) -> None:
            self._is_asked = False
            on_result(turn)

        self._is_asked = True
        self._session.run(task, answered, key="image series")

    def end(self) -> None:
        """The action is over."""
        self.activity = ""
        self._when_idle = None
        self._changed()

    def _on_busy_changed(self, _is_busy: bool) -> None:
        if self._session.is_busy:
            return
        action, self._when_idle = self._when_idle, None
        if action is not None:
            action()
        elif self._is_asked:  # cancelled: no answer will come
            self._is_asked = False
            self.end()
