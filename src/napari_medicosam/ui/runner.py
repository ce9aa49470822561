"""One worker thread for everything that takes long; answers come back on the GUI thread.

Questions wait in a queue of length one a key, newest wins: moving a point asks about one slice many times, and
only the last time counts. A stream (propagation) goes on one item at a time, and questions go first in between.
A filler (encoding ahead) goes on one item at a time while there is neither.
"""

from __future__ import annotations

import atexit
import threading
import traceback
import weakref
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from psygnal import Signal
from qtpy.QtCore import QEventLoop, QTimer

from napari_medicosam.ui.main_thread import MainThread

Report = Callable[[int, int, str], None]
"""Told by a task how far it is: done, total (0 when unknown), text. Raises `Cancelled` when nobody wants more."""

Task = Callable[[Report], Any]
"""Runs on the worker thread, must not touch Qt or napari. Returns the answer."""

StreamTask = Callable[[Report], Iterator[Any]]
"""A generator on the worker thread; to cancel is to close it."""


_PATIENCE_SECONDS = 0.04
"""How long a window that is being closed waits for the worker: most calls are shorter, the others end by themselves."""

_ending: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Workers of closed runners that were still in a call."""


class Cancelled(Exception):  # noqa: N818  not an error: somebody changed their mind
    """Raised inside a task, where it reports progress, after it was cancelled."""


@dataclass(eq=False, slots=True)
class _Work:
    start: StreamTask
    on_item: Callable[[Any], None]
    on_end: Callable[[], None]
    iterator: Iterator[Any] | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    is_quiet: bool = False
    is_kept: bool = False


class Runner:
    """Runs tasks one after another on a thread of its own.

    All methods are for the GUI thread, and all callbacks and events come on it.

    Args:
        synchronous: run everything at once on the calling thread, along the same path: for tests and scripts.

    Events:
        progressed(done, total, text), busy_changed(is_busy), failed(exception).
        delivering(): an answer is about to be handed over.
    """

    delivering = Signal()
    progressed = Signal(int, int, str)
    busy_changed = Signal(bool)
    failed = Signal(object)

    def __init__(self, *, synchronous: bool = False) -> None:
        self.synchronous = synchronous
        self.closing = threading.Event()
        self._main = MainThread()
        self._news = threading.Condition()
        self._questions: dict[Hashable, _Work] = {}
        self._stream: _Work | None = None
        self._filler: _Work | None = None
        self._active: _Work | None = None
        self._open: set[_Work] = set()
        self._is_draining = False
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """True until the last callback of the last task was called."""
        return any(not work.is_quiet for work in self._open)

    def submit(
        self,
        task: Task,
        on_result: Callable[[Any], None],
        *,
        key: Hashable,
        on_end: Callable[[], None] = lambda: None,
        is_quiet: bool = False,
        is_kept: bool = False,
    ) -> None:
        """Run a task; one with the same key that has not begun is dropped. Does nothing once closed.

        Args:
            task: called on the worker thread.
            on_result: called with what it returns, unless it was cancelled or failed.
            key: what the question is about.
            on_end: called last, however it ended.
            is_quiet: nobody is told of it, and nobody waits for it.
            is_kept: it is done whatever is cancelled, also while the runner is being closed: files are written so.
        """

        def once(report: Report) -> Iterator[Any]:
            yield task(report)

        if self.closing.is_set():
            return
        work = _Work(once, on_result, on_end, is_quiet=is_quiet, is_kept=is_kept)
        with self._news:
            replaced = self._questions.pop(key, None)
            self._questions[key] = work
        self._opened(work)
        if replaced is not None:
            self._finished(replaced)
        self._wake()

    def stream(
        self, start: StreamTask, on_item: Callable[[Any], None], on_end: Callable[[], None] = lambda: None
    ) -> None:
        """Run a generator and hand over what it yields; one that was running is cancelled. Does nothing once closed."""
        if self.closing.is_set():
            return
        work = _Work(start, on_item, on_end)
        with self._news:
            replaced, self._stream = self._stream, work
        self._opened(work)
        if replaced is not None:
            self._drop(replaced)
        self._wake()

    def fill(self, start: StreamTask) -> None:
        """Run a generator while there is nothing else to do; one that was running is dropped.

        Nobody is told of it, and nobody waits for it. Does nothing once closed, nor in a synchronous runner, which is
        never idle.
        """
        if self.closing.is_set() or self.synchronous:
            return
        self.stop_filling()
        work = _Work(start, _ignore, lambda: None, is_quiet=True)
        with self._news:
            self._filler = work
        self._opened(work)
        self._wake()

    def stop_filling(self) -> None:
        """Drop what runs while there is nothing else to do."""
        with self._news:
            dropped, self._filler = self._filler, None
        if dropped is not None:
            self._drop(dropped)

    def cancel(self) -> None:
        """Drop all that waits, and what runs as soon as it reports or yields, but for what is kept.

        Nothing of what is dropped is delivered.
        """
        with self._news:
            dropped = [work for work in self._questions.values() if not work.is_kept]
            self._questions = {key: work for key, work in self._questions.items() if work.is_kept}
            dropped += [work for work in (self._stream, self._filler) if work is not None]
            self._stream = self._filler = None
            for work in self._open.difference(dropped):  # what runs, and what is done but not delivered yet
                if not work.is_kept:
                    work.cancelled.set()
        for work in dropped:
            self._drop(work)

    def cancel_stream(self) -> None:
        """Drop the stream alone; questions go on."""
        with self._news:
            dropped, self._stream = self._stream, None
        if dropped is not None:
            self._drop(dropped)

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
        """Cancel everything and end the thread. Nothing is delivered any more, and what waited for it is let go.

        Nobody can stop the call that the worker is in, and a window need not wait for it: the thread ends with that
        call, and the process not before the thread.
        """
        if self.closing.is_set():
            return
        self.closing.set()
        self.cancel()
        self._main.stop()
        was_busy, left, self._open = self.is_busy, self._open, set()
        for work in left:  # the worker may hold one for a while yet
            work.on_item, work.on_end = _ignore, _ignore
        with self._news:
            self._news.notify_all()
        thread, self._thread = self._thread, None
        if thread is not None:
            _ending.add(thread)
            thread.join(_PATIENCE_SECONDS)
        if was_busy:
            self.busy_changed.emit(False)
        for signal in (self.delivering, self.progressed, self.busy_changed, self.failed):
            signal.disconnect()

    # ------------------------------------------------------------------ GUI thread

    def _opened(self, work: _Work) -> None:
        was_busy = self.is_busy
        self._open.add(work)
        if self.is_busy and not was_busy:
            self.busy_changed.emit(True)

    def _finished(self, work: _Work) -> None:
        if work not in self._open or self.closing.is_set():
            return
        try:
            work.on_end()
        finally:  # whatever it raises, this one is over
            if work in self._open:
                self._open.remove(work)
                if not (work.is_quiet or self.is_busy):
                    self.busy_changed.emit(False)

    def _deliver(self, work: _Work, item: Any) -> None:
        if work.cancelled.is_set():
            return
        try:
            self.delivering.emit()
            work.on_item(item)
        except Exception:
            with self._news:
                is_stream = self._stream is work
                if is_stream:
                    self._stream = None
            if is_stream:  # what went wrong with one slice would with the next
                self._drop(work)
            raise

    def _fail(self, work: _Work, error: Exception) -> None:
        if not work.cancelled.is_set():
            self.failed.emit(error)

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
        while not self.closing.is_set() or self._questions:  # what is kept is done before the end
            work = self._take()
            if work is not None:
                self._step(work)
                continue
            with self._news:
                self._news.wait_for(
                    lambda: self._questions or self._stream or self._filler or self.closing.is_set()
                )

    def _take(self) -> _Work | None:
        """The newest question (that is where the user looks), else the stream, else the filler."""
        with self._news:
            work = self._questions.popitem()[1] if self._questions else self._stream or self._filler
            self._active = work
            return work

    def _step(self, work: _Work) -> None:
        def report(done: int, total: int, text: str) -> None:
            if work.cancelled.is_set():
                raise Cancelled
            self._post(lambda: self._progress(work, done, total, text))

        is_over = work is not self._stream and work is not self._filler
        news: Callable[[], None] | None = None
        try:
            item = _next(work, report)
        except (StopIteration, Cancelled):
            is_over = True
        except Exception as error:
            is_over = True
            news = partial(self._fail, work, _without_frames(error))
        else:
            news = partial(self._deliver, work, item)
        with self._news:
            is_over = is_over or work.cancelled.is_set()
            if is_over and self._stream is work:
                self._stream = None
            if is_over and self._filler is work:
                self._filler = None
            self._active = None
        try:
            if news is not None:
                self._post(news)
        finally:  # a synchronous runner calls it here, and it may raise
            if is_over:
                _close(work)
                self._post(partial(self._finished, work))

    def _progress(self, work: _Work, done: int, total: int, text: str) -> None:
        if not work.cancelled.is_set():
            self.progressed.emit(done, total, text)

    def _post(self, callback: Callable[[], None]) -> None:
        if self.closing.is_set():
            return
        if self.synchronous:
            callback()
        else:
            self._main.post(callback)


def _next(work: _Work, report: Report) -> Any:
    if work.iterator is None:
        work.iterator = work.start(report)
    return next(work.iterator)


def _without_frames(error: Exception) -> Exception:
    """The same error with its traceback as text: frames hold volumes, and a log may hold the error."""
    error.add_note("".join(("On the worker:\n", *traceback.format_exception(error))).rstrip())
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _ignore(*_: Any) -> None:
    """In the place of callbacks that are not wanted any more."""


@atexit.register
def _wait_for_workers() -> None:
    """What a thread computes with must not be taken apart under it."""
    for thread in list(_ending):
        thread.join()


def _close(work: _Work) -> None:
    close = getattr(work.iterator, "close", None)
    if close is not None:
        close()
