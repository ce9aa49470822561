"""What is known about an image series, and what it tells: the part of `SeriesSession` that changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from psygnal import Signal, SignalGroup

from napari_medicosam.io.image_series import SeriesProgress
from napari_medicosam.ui.series_turns import Turns

if TYPE_CHECKING:
    from napari_medicosam.io.image_series import SeriesItem, Status
    from napari_medicosam.ui.series_image import SeriesImage
    from napari_medicosam.ui.series_records import FolderChoice, LabelWork
    from napari_medicosam.ui.series_work import SeriesFiles
    from napari_medicosam.ui.session import AnnotationSession


class SeriesEvents(SignalGroup):
    """What a series tells, always on the GUI thread.

    changed(): images, how far they are, which one is open, what is going on. opened(name), saved(path): of an image
    and of its label file. told(message): what went wrong, that the end is reached, and the like; also shown as a
    notification.
    """

    changed = Signal()
    opened = Signal(str)
    saved = Signal(str)
    told = Signal(str)


class SeriesBase:
    """The state of a series. Arguments are those of `SeriesSession`."""

    def __init__(self, session: AnnotationSession) -> None:
        self.session = session
        self.events = SeriesEvents()
        self.skip_done = True
        self._reads_ahead = True
        self._files: SeriesFiles | None = None
        self._statuses: dict[str, Status] = {}
        self._unreadable: dict[str, str] = {}
        self._open: SeriesImage | None = None
        self._last: SeriesItem | None = None
        self._unsaved: LabelWork | None = None
        self._turns = Turns(session, self.events.changed.emit)

    @property
    def reads_ahead(self) -> bool:
        """Whether the next image is read while this one is on show: faster, for the memory of one image more."""
        return self._reads_ahead

    @reads_ahead.setter
    def reads_ahead(self, is_wanted: bool) -> None:
        self._reads_ahead = is_wanted
        if self._files is not None and not is_wanted:
            self._files.read_ahead(None)

    @property
    def choice(self) -> FolderChoice | None:
        """The folders and the pattern that the series was opened with; None before the first."""
        return None if self._files is None else self._files.choice

    @property
    def items(self) -> tuple[SeriesItem, ...]:
        """All images of the folder, in natural order of their names."""
        return () if self._files is None else self._files.items

    @property
    def item(self) -> SeriesItem | None:
        """The image that is open."""
        return None if self._open is None else self._open.item

    @property
    def is_aside(self) -> bool:
        """True while the session works on another image than the one that is open."""
        return self._open is not None and not self._open.is_in_use

    def status(self, item: SeriesItem) -> Status:
        """How far an image is: "todo", "started" (labels to go on from) or "done"."""
        return self._statuses[item.name]

    def why_unreadable(self, item: SeriesItem) -> str:
        """Why an image was passed over; "" for one that was not."""
        return self._unreadable.get(item.name, "")

    @property
    def progress(self) -> SeriesProgress:
        """How many images are done, started and untouched."""
        counts = Counter(self._statuses.values())
        return SeriesProgress(counts["done"], counts["started"], counts["todo"])

    @property
    def _end_text(self) -> str:
        """What there is to say when no image comes next."""
        progress = self.progress
        if progress.done == progress.total:
            return f"All {progress.total} images are done."
        if self.skip_done and self.item is not None:
            return f"This is the last image to do: {progress}."
        return f"There is no image further on: {progress}."

    @property
    def report(self) -> str:
        """One line: how many images, initial masks, and what of the folder is not used and why."""
        return "" if self._files is None else self._files.report

    @property
    def activity(self) -> str:
        """What is going on, such as "Saving …"; "" when nothing is."""
        return self._turns.activity

    @property
    def is_busy(self) -> bool:
        """True until the last call has come to its end."""
        return bool(self._turns.activity)

    def wait(self, timeout: float | None = None) -> bool:
        """Process events until nothing runs; False when something still does after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while self.session.is_busy:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            self.session.wait(left)
        return not self.is_busy
