"""One worker thread for everything that takes long; answers come back on the GUI thread.

Questions wait in a queue of length one a key, newest wins: moving a point asks about one slice many times, and
only the last time counts. A stream (propagation) goes on one item at a time, and questions go first in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from psygnal import Signal
from qtpy import QtCore
from qtpy.QtCore import QEventLoop, QObject, Qt, QTimer

Report = Callable[[int, int, str], None]
"""Told by a task how far it is: done, total (0 when unknown), text. Raises `Cancelled` when nobody wants more."""

Task = Callable[[Report], Any]
"""Runs on the worker thread, must not touch Qt or napari. Returns the answer."""

StreamTask = Callable[[Report], Iterator[Any]]
"""A generator on the worker thread; to cancel is to close it."""


class Cancelled(Exception):  # noqa: N818  not an error: somebody changed their mind
    """Raised inside a task, where it reports progress, after it was cancelled."""


@dataclass(eq=False, slots=True)
class _Work:
    start: StreamTask
    on_item: Callable[[Any], None]
    on_end: Callable[[], None]
    iterator: Iterator[Any] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class _MainThread(QObject):
    """Calls what the worker posts on the thread that made it."""

    posted = QtCore.Signal(object)  # type: ignore[attr-defined]  # Qt bindings call it differently

    def __init__(self) -> None:
        super().__init__()
        self.posted.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def _call(self, callback: Callable[[], None]) -> None:
        callback()


class Runner:
    """Runs tasks one after another on a thread of its own.

    All methods are for the GUI thread, and all callbacks and events come on it.

    Args:
        synchronous: run everything at once on the calling thread, along the same path: for tests and scripts.

    Events:
        progressed(done, total, text), busy_changed(is_busy), failed(exception).
    """

    progressed = Signal(int, int, str)
    busy_changed = Signal(bool)
    failed = Signal(object)

    def __init__(self, *, synchronous: bool = False) -> None:
        self.synchronous = synchronous
        self.closing = threading.Event()
        self._main = _MainThread()
        self._news = threading.Condition()
        self._questions: dict[Hashable, _Work] = {}
        self._stream: _Work | None = None
        self._active: _Work | None = None
        self._num_open = 0
        self._is_draining = False
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """True until the last callback of the last task was called."""
        return self._num_open > 0

    def submit(
        self,
        task: Task,
        on_result: Callable[[Any], None],
        *,
        key: Hashable,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a task; one with the same key that has not begun is dropped.

        Args:
            task: called on the worker thread.
            on_result: called with what it returns, unless it was cancelled or failed.
            key: what the question is about.
            on_end: called last, however it ended.
        """

        def once(report: Report) -> Iterator[Any]:
            yield task(report)

        work = _Work(once, on_result, on_end)
        with self._news:
            replaced = self._questions.pop(key, None)
            self._questions[key] = work
        self._opened()
        if replaced is not None:
            self._finished(replaced)
        self._wake()

    def stream(
        self, start: StreamTask, on_item: Callable[[Any], None], on_end: Callable[[], None] = lambda: None
    ) -> None:
        """Run a generator and hand over what it yields; one that was running is cancelled."""
        work = _Work(start, on_item, on_end)
        with self._news:
            replaced, self._stream = self._stream, work
        self._opened()
        if replaced is not None:
            self._drop(replaced)
        self._wake()

    def cancel(self) -> None:
        """Drop all that waits, and what runs as soon as it reports or yields. Nothing of it is delivered."""
        with self._news:
            dropped = [*self._questions.values()]
            self._questions.clear()
            if self._stream is not None:
                dropped.append(self._stream)
                self._stream = None
            if self._active is not None:
                self._active.cancelled.set()
        for work in dropped:
            self._drop(work)

    def wait(self, timeout: float | None = None) -> bool:
        """Process events until nothing runs; False when it still does after `timeout` seconds."""
        loop = QEventLoop()

        def stop(is_busy: bool) -> None:
            if not is_busy:
                loop.quit()

        self.busy_changed.connect(stop)
        timer = QTimer()
        timer.setSingleShot(True)
        timer.timeout.connect(loop.quit)
        if timeout is not None:
            timer.start(round(timeout * 1000))
        try:
            if self.is_busy:
                loop.exec_() if hasattr(loop, "exec_") else loop.exec()
        finally:
            self.busy_changed.disconnect(stop)
            timer.stop()
        return not self.is_busy

    def close(self) -> None:
        """Cancel everything and end the thread; waits for the call that it is in."""
        if self.closing.is_set():
            return
        self.closing.set()
        self.cancel()
        with self._news:
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._num_open:
            self._num_open = 0
            self.busy_changed.emit(False)

    # ------------------------------------------------------------------ GUI thread

    def _opened(self) -> None:
        self._num_open += 1
        if self._num_open == 1:
            self.busy_changed.emit(True)

    def _finished(self, work: _Work) -> None:
        if self.closing.is_set():
            return
        work.on_end()
        self._num_open -= 1
        if self._num_open == 0:
            self.busy_changed.emit(False)

    def _deliver(self, work: _Work, item: Any) -> None:
        if not work.cancelled.is_set():
            work.on_item(item)

    def _drop(self, work: _Work) -> None:
        """Cancel work that is no longer in the queue. What the worker is in ends there, the rest here."""
        with self._news:
            work.cancelled.set()
            is_running = work is self._active
        if not is_running:
            _close(work)
            self._finished(work)

    def _wake(self) -> None:
        if self.closing.is_set():
            return
        if self.synchronous:
            self._drain()
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="medicosam-worker", daemon=True)
            self._thread.start()
        with self._news:
            self._news.notify_all()

    def _drain(self) -> None:
        if self._is_draining:  # a callback asked for more: the loop below gets to it
            return
        self._is_draining = True
        try:
            while (work := self._take()) is not None:
                self._step(work)
        finally:
            self._is_draining = False

    # ------------------------------------------------------------------ worker thread

    def _loop(self) -> None:
        while not self.closing.is_set():
            work = self._take()
            if work is not None:
                self._step(work)
                continue
            with self._news:
                self._news.wait_for(lambda: self._questions or self._stream or self.closing.is_set())

    def _take(self) -> _Work | None:
        """The newest question (that is where the user looks), else the stream."""
        with self._news:
            work = self._questions.popitem()[1] if self._questions else self._stream
            self._active = work
            return work

    def _step(self, work: _Work) -> None:
        def report(done: int, total: int, text: str) -> None:
            if work.cancelled.is_set():
                raise Cancelled
            self._post(lambda: self._progress(work, done, total, text))

        is_over = work is not self._stream
        try:
            if work.iterator is None:
                work.iterator = work.start(report)
            item = next(work.iterator)
        except (StopIteration, Cancelled):
            is_over = True
        except Exception as error:
            is_over = True
            failure = error
            if not work.cancelled.is_set():
                self._post(lambda: self.failed.emit(failure))
        else:
            self._post(lambda: self._deliver(work, item))
        with self._news:
            is_over = is_over or work.cancelled.is_set()
            if is_over and self._stream is work:
                self._stream = None
            self._active = None
        if is_over:
            _close(work)
            self._post(lambda: self._finished(work))

    def _progress(self, work: _Work, done: int, total: int, text: str) -> None:
        if not work.cancelled.is_set():
            self.progressed.emit(done, total, text)

    def _post(self, callback: Callable[[], None]) -> None:
        if self.closing.is_set():
            return
        if self.synchronous:
            callback()
        else:
            self._main.posted.emit(callback)


def _close(work: _Work) -> None:
    close = getattr(work.iterator, "close", None)
    if close is not None:
        close()
