"""Work is written to a journal while it is done, so that a crash costs seconds (`io/session_journal.py`).

The GUI thread only copies what was written since the last time, a second ago. All else is on a thread of its own: the
worker may be busy with a slice for longer than that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from qtpy.QtCore import QTimer

from napari_medicosam.core.boxes import VoxelBox
from napari_medicosam.core.image_digest import image_digest
from napari_medicosam.errors import FileError
from napari_medicosam.io.journal_records import Masks, Patch
from napari_medicosam.io.session_journal import (
    FoundJournal,
    JournalWriter,
    find_journals,
    remove_journal,
)
from napari_medicosam.ui import layers
from napari_medicosam.ui.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_medicosam.core.session_state import SessionState
    from napari_medicosam.ui.annotated_images import AnnotatedImages
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.runner import Report
    from napari_medicosam.ui.workbench import Workbench

RECORD_MS = 1000
"""From a change to its record. With the time that writing takes, no more than two seconds are lost."""


@dataclass(eq=False, repr=False, slots=True)
class _Log:
    """The journal of one image.

    Attributes:
        volumes: the image's pixels, one a time point; for the thread.
        folder: of journals.
        last: what was recorded last.
        revision, saved: number of the last change of the work, and of the last that the user saved.
        found: journals of earlier sessions on this image that ended without being saved.
        sha256, writer, is_broken: the thread's.
    """

    volumes: list[NDArray[Any]]
    folder: Path
    last: SessionState | None = None
    revision: int = 0
    saved: int = 0
    found: tuple[FoundJournal, ...] = ()
    sha256: str = ""
    writer: JournalWriter | None = None
    is_broken: bool = False

    def find(self, report: Report) -> tuple[FoundJournal, ...]:
        """Journals that can be restored."""
        return find_journals(self.folder, self._digest())

    def append(self, state: SessionState, patches: list[Patch]) -> None:
        """Write a record. FileError the first time that this is impossible, and nothing from there on."""
        if self.is_broken:
            return
        try:
            if self.writer is None:
                self.writer = JournalWriter(self.folder, self._digest())
            self.writer.append(replace(state, image=replace(state.image, sha256=self._digest())), patches)
        except OSError as error:
            self.is_broken = True
            raise FileError(
                f"your work is not kept for the case of a crash: no journal can be written to {self.folder} "
                f"({error.strerror or error}); save it yourself"
            ) from error

    def end(self, *, keep: bool) -> None:
        """Write no more."""
        if self.writer is not None:
            self.writer.close(keep=keep)
            self.writer = None

    def remove(self, journal: FoundJournal, *, if_written: bool) -> None:
        """Delete a journal of an earlier session; one whose content was to go into this one, only if it did."""
        if not (if_written and self.is_broken):
            remove_journal(journal.path)

    def _digest(self) -> str:
        if not self.sha256:
            self.sha256 = image_digest(self.volumes)
        return self.sha256


class Journals:
    """Keeps a journal of every image that is annotated, and finds those of sessions that ended without saving.

    Args:
        bench: of the session; what changes there is recorded.
        images: all that was annotated.
        state_of: what is known about an image, but for its digest.
        folder: of journals.
    """

    def __init__(
        self,
        bench: Workbench,
        images: AnnotatedImages,
        state_of: Callable[[Image], SessionState],
        folder: Path,
    ) -> None:
        self._bench = bench
        self._images = images
        self._state_of = state_of
        self._folder = folder
        self._logs: dict[Image, _Log] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._runner = Runner(synchronous=bench.runner.synchronous)
        self._runner.failed.connect(bench.tell_failure)
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(RECORD_MS)
        self._timer.timeout.connect(self.record)
        bench.events.changed.connect(self._on_changed)
        bench.events.mask_changed.connect(self._on_mask_changed)
        images.dropped.connect(self._on_dropped)
        images.replaced.connect(self._on_replaced)

    def close(self) -> None:
        """Write what is missing. A journal is removed, unless there is work in it that the user did not save."""
        self.record()
        self._timer.timeout.disconnect(self.record)
        self._bench.events.changed.disconnect(self._on_changed)
        self._bench.events.mask_changed.disconnect(self._on_mask_changed)
        for image in list(self._logs):
            self._end(image)
        self._runner.close()

    def found(self, image: Image | None) -> tuple[FoundJournal, ...]:
        """Journals of earlier sessions on an image, the newest first; none before they were looked for."""
        log = None if image is None else self._logs.get(image)
        return () if log is None else log.found

    def wait(self, timeout: float | None = None) -> bool:
        """Process events until all that was recorded is written; False when something is not after `timeout` s."""
        return self._runner.wait(timeout)

    def record(self) -> None:
        """Hand over what changed since the last time to the thread."""
        self._timer.stop()
        for image in list(self._logs):
            log, state, patches = self._logs[image], self._state_of(image), self._take(image)
            if not patches and (state == log.last or (log.last is None and _is_blank(state))):
                continue
            if patches or log.last is None or state.times != log.last.times:
                log.revision += 1
            log.last = state
            self._do(partial(log.append, state, patches))

    def saving(self, image: Image) -> Callable[[], None]:
        """To be called when the work on an image was copied; what it returns, when the copy is safe in a file."""
        self.record()
        log = self._logs.get(image)
        revision = 0 if log is None else log.revision

        def saved() -> None:
            if log is not None:
                log.saved = revision

        return saved

    def forget(self, image: Image, journal: FoundJournal, *, is_restored: bool = False) -> None:
        """Delete a journal of an earlier session: nobody wants it, or its content is in the image's own by now."""
        log = self._logs[image]
        log.found = tuple(one for one in log.found if one != journal)
        self.record()
        self._do(partial(log.remove, journal, if_written=is_restored))

    def _take(self, image: Image) -> list[Patch]:
        """Copies of what was written since the last time."""
        patches = []
        for known in self._images.times_of(image):
            for name, masks in (("labels", known.committed), ("edited", known.edited)):
                label_map = masks.label_map
                for z, region in masks.touched.take().items():
                    here = (
                        np.zeros((region.y1 - region.y0, region.x1 - region.x0), np.uint16)
                        if label_map is None
                        else label_map[z][region.slices_yx].astype(np.uint16)
                    )
                    voxels = here != 0 if name == "edited" else here
                    patches.append(Patch(cast("Masks", name), known.time, z, region, voxels))
        return patches

    def _do(self, action: Callable[[], None]) -> None:
        """On the thread, in order, whatever is cancelled."""
        self._waiting.append(action)
        self._runner.submit(self._do_waiting, _ignore, key="waiting", is_kept=True)

    def _do_waiting(self, report: Report) -> None:
        while self._waiting:
            self._waiting.popleft()()

    def _begin(self, image: Image) -> None:
        volumes = [layers.volume_of(image, time) for time in range(layers.num_times(image))]
        log = self._logs[image] = _Log(volumes, self._folder)
        self._runner.submit(log.find, partial(self._on_found, log), key=("find", id(image)))

    def _end(self, image: Image) -> None:
        log = self._logs.pop(image, None)
        if log is not None:
            is_unsaved = log.last is not None and log.revision != log.saved and not _is_blank(log.last)
            self._do(partial(log.end, keep=is_unsaved))

    def _on_found(self, log: _Log, found: tuple[FoundJournal, ...]) -> None:
        log.found = found
        if found:
            self._bench.events.changed.emit()

    def _on_changed(self) -> None:
        annotation = self._bench.annotation
        image = None if annotation is None else annotation.image
        # An image that goes takes its questions with it, which say so while it is still the one on show.
        if image is not None and image not in self._logs and self._images.times_of(image):
            self._begin(image)
        self._on_mask_changed()

    def _on_mask_changed(self, *_: Any) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _on_dropped(self, image: Image, _ours: Any) -> None:
        self._end(image)

    def _on_replaced(self, image: Image) -> None:
        """Other pixels, another image: its journal begins with all that is there."""
        self._end(image)
        self._begin(image)
        for known in self._images.times_of(image):
            touch_all(known)
        self._on_mask_changed()


def touch_all(annotation: Annotation) -> None:
    """Have all of its masks recorded anew."""
    annotation.committed.changed(VoxelBox((0, 0, 0), annotation.shape_zyx))
    annotation.edited.changed(annotation.edited.extent)


def begin_log(annotations: list[Annotation], action: str) -> None:
    """Begin the log of an image anew, with the masks of all its time points as they are."""
    log = annotations[0].log
    log.start_over()
    log.action = action
    for known in annotations:
        touch_all(known)


def _is_blank(state: SessionState) -> bool:
    """True when nothing was done, or all of it was undone."""
    return not any(
        len(table.records) > 1
        or table.record.is_committed
        or any(prompts.all for prompts in table.prompts.values())
        or any(table.anchors.values())
        for table in (one.table for one in state.times)
    )


def _ignore(_: Any) -> None:
    """The thread answers nothing."""
