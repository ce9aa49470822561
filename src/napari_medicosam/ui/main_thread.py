"""What a worker thread posts is called on the GUI thread, a little at a time."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from qtpy import QtCore
from qtpy.QtCore import QObject, Qt, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

_TURN_SECONDS = 0.01
"""Of calling back, before the window gets its turn."""


class MainThread(QObject):
    """Calls what the worker posts on the thread that made it, in order, some at a time.

    A worker that is faster than the window must not keep it from drawing and from hearing the user. Qt does all that is
    posted, also meanwhile, before it turns to anything else, so a timer calls.
    """

    posted = QtCore.Signal()  # type: ignore[attr-defined]  # Qt bindings call it differently

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_called = False
        self._later = QTimer(self)  # its turn comes after everything that is posted, drawing included
        self._later.setSingleShot(True)
        self._later.setInterval(0)
        self._later.timeout.connect(self._call)
        self.posted.connect(self._later.start, Qt.ConnectionType.QueuedConnection)

    def post(self, callback: Callable[[], None]) -> None:
        """Call it on the other thread; from any thread."""
        self._waiting.append(callback)
        if not self._is_called:
            self._is_called = True
            self.posted.emit()

    def stop(self) -> None:
        """Call nothing any more."""
        self._waiting.clear()
        self._later.stop()

    def _call(self) -> None:
        self._is_called = False  # what is posted from here on calls again, if only to find nothing left
        end = time.monotonic() + _TURN_SECONDS
        try:
            while self._waiting and time.monotonic() < end:
                self._waiting.popleft()()
        finally:
            if self._waiting:
                self._is_called = True
                self._later.start()
