"""The next image of a series, read while the user works on this one. Knows neither Qt nor napari."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medicosam.io.image_series import SeriesItem
    from napari_medicosam.ui.series_records import OpenedImage, Stamp

THREAD_NAME = "medicosam-reader"


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """An image as it was read, and its files as they were then; of others, it would be read again."""

    opened: OpenedImage
    stamps: tuple[Stamp | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    item: SeriesItem
    future: Future[ReadImage]


class ReadAhead:
    """Holds at most one image that nobody has asked for yet. For any thread.

    Nobody can interrupt the reading of a file, and the worker of a session must be free for a click: so this has a
    thread of its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(1, THREAD_NAME)
        self._asked: _Asked | None = None
        self._is_closed = False

    def begin(self, item: SeriesItem, read: Callable[[SeriesItem], ReadImage]) -> None:
        """Read this image in the place of the one before. Does nothing once closed."""
        self.drop()
        with self._lock:
            if not self._is_closed:
                self._asked = _Asked(item, self._executor.submit(partial(read, item)))

    def take(self, item: SeriesItem) -> ReadImage | None:
        """The image, once it is read; None when there is another one, or none, or it cannot be read.

        It is let go either way.
        """
        asked = self._let_go()
        if asked is None or asked.item != item:
            return None
        try:
            return asked.future.result()
        except Exception:  # whoever asks for it now reads it again, and hears what is wrong with it
            return None

    def drop(self) -> None:
        """Let the image go, read or not."""
        self._let_go()

    def close(self) -> None:
        """Let the image go, and read no other one. The thread ends with the file that it is in."""
        with self._lock:
            self._is_closed = True
        self.drop()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _let_go(self) -> _Asked | None:
        """What was asked for, unless nobody has begun to read it yet."""
        with self._lock:
            asked, self._asked = self._asked, None
        return None if asked is None or asked.future.cancel() else asked
