"""The threads that torch and OpenVINO compute with let the window go first.

There are as many as processors, and the window would have to wait for one of them at every turn of its event loop.
They never hold Python's lock, so nobody waits for them but the worker. The worker itself keeps its priority: made to
wait while it holds the lock, it would stop the window for longer than ever.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

NICENESS = 10
"""Of the system's -20 to 19: a thread with 0 gets nine times as much of a processor that both want.

Beside other programs slices take longer for it (docs/performance.md).
"""

_THREADS = Path("/proc/self/task")


class PoolThreads:
    """Finds threads that libraries start while the worker works. Does nothing but on Linux.

    Nobody says which threads a library has. They are those that are new, that are not Python's, and that bear the name
    of the thread that started them: others, of drivers and of Qt, were given names of their own.
    """

    def __init__(self) -> None:
        self._settled: set[int] | None = None
        self._seen: set[int] = set()

    def begin(self) -> None:
        """What runs by now is left alone. Called on the worker before it first computes; later calls do nothing."""
        if self._settled is None and sys.platform == "linux":
            self._settled = _all_threads()

    def lower(self) -> None:
        """Threads that were started since let others go first. Called on the worker, after it has computed."""
        if self._settled is None:
            return
        new = _all_threads() - self._settled
        new -= {thread.native_id or 0 for thread in threading.enumerate()}
        if not new:
            return
        own_name = _name(threading.get_native_id())
        for thread in new & self._seen:  # one that Python has just begun to start is not on its list yet
            if _name(thread) == own_name:
                with suppress(OSError):  # it has ended
                    known = os.getpriority(os.PRIO_PROCESS, thread)  # all of the process may be lower already
                    os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, known))
            self._settled.add(thread)
        self._seen = new


def _all_threads() -> set[int]:
    try:
        return {int(thread.name) for thread in _THREADS.iterdir()}
    except OSError:
        return set()


def _name(thread: int) -> str:
    try:
        return (_THREADS / str(thread) / "comm").read_text()
    except OSError:
        return ""
