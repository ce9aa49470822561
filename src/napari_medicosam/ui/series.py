"""The image series of one viewer: what the widget, scripts and tests call to go through a folder image by image.

Labels are saved before their image leaves the viewer. Files are read and written on the worker of the viewer's
session. Two things go without it: the last save, when the window is being closed, and the reading of the next image,
which must not keep a click waiting.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QTimer

from napari_medicosam.errors import FileError, InputError, MedicoSamError
from napari_medicosam.ui.runner import Cancelled
from napari_medicosam.ui.series_base import SeriesBase
from napari_medicosam.ui.series_closing import CloseGuard
from napari_medicosam.ui.series_image import SeriesImage
from napari_medicosam.ui.series_records import FolderChoice, Turn, joined_classes
from napari_medicosam.ui.series_work import SeriesFiles, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from napari_medicosam.io.image_series import SeriesItem
    from napari_medicosam.ui.layers import Tool
    from napari_medicosam.ui.runner import Report
    from napari_medicosam.ui.series_records import Found, OpenedImage, Saved
    from napari_medicosam.ui.session import AnnotationSession


class SeriesSession(SeriesBase):
    """Goes through a folder of images with a viewer's session. Two viewers, two series.

    All methods are for the GUI thread and return at once (`wait` waits). Wrong arguments, and calls while another one
    is still going on (`is_busy`), raise `InputError`; what fails later comes as `events.told` and as a notification.

    Args:
        session: of the viewer.

    Attributes:
        skip_done: whether `next` passes over images that are done.
    """

    def __init__(self, session: AnnotationSession) -> None:
        super().__init__(session)
        self._num_changes = 0
        self._rescue = QTimer()
        self._rescue.setSingleShot(True)
        self._rescue.timeout.connect(self._save_unsaved)
        session.events.changed.connect(self._on_changed)
        session.events.mask_changed.connect(self._on_mask_changed)
        session.viewer.layers.events.removing.connect(self._on_layer_removing)
        self._guard = CloseGuard(session.viewer.window._qt_window, self)
        session.series = self
        session.events.changed.emit()

    def close(self) -> None:
        """Let go of the session and the viewer. Saves nothing; layers stay."""
        session = self.session
        self._rescue.stop()
        session.events.changed.disconnect(self._on_changed)
        session.events.mask_changed.disconnect(self._on_mask_changed)
        self._turns.close()
        session.viewer.layers.events.removing.disconnect(self._on_layer_removing)
        if self._files is not None:
            self._files.leave()
            self._files.close()
        self._files = self._open = self._unsaved = None
        if session.series is self:
            session.series = None

    # ------------------------------------------------------------------ what can be done

    def open_folder(
        self,
        folder: str | PathLike[str],
        output: str | PathLike[str] | None = None,
        initial_masks: str | PathLike[str] | None = None,
        pattern: str = "*",
    ) -> None:
        """Begin or resume a series: arguments as of `io.image_series.ImageSeries`.

        Opens the image that was saved last, or, when that is done, the next one. An image that is open is saved first;
        when it is one of these, it stays open, prompts, undo and all, and the folder is only listed again.
        """
        choice = FolderChoice(Path(folder), _path(output), _path(initial_masks), pattern)
        is_known = choice == self.choice and self._open is not None and self._open.is_there
        stay_at = self.item if is_known else None
        find = partial(SeriesFiles.resume, choice, skip_done=self.skip_done, stay_at=stay_at)
        self._turns.begin("Opening the folder", partial(self._turn, find))

    def next(self) -> None:
        """Save this image and open the next one; with `skip_done`, after the last come the first."""
        self._go_on()

    def previous(self) -> None:
        """Save this image and open the one before it, done or not."""
        self._go(lambda files, item: iter(()) if item is None else files.before(item))

    def go_to(self, image: str | int) -> None:
        """Save this image and open another one; go back to this one from an image that is not of the series.

        Args:
            image: its name, or its place in `items`.

        Raises:
            InputError: for an image that is not there.
        """
        items = self._wanted_files().items
        names = [item.name for item in items]
        if isinstance(image, str) and image in names:
            item = items[names.index(image)]
        elif isinstance(image, int) and 0 <= image < len(names):
            item = items[image]
        else:
            raise InputError(
                f"no image {image!r} in this series: wanted a name such as {names[0]!r}, or 0 to {len(names) - 1}"
            )
        if self._open is not None and self._open.is_there and item == self.item:
            self._open.use()
        else:
            self._go(lambda _files, _item: iter((item,)))

    def save(self) -> None:
        """Save the labels of this image, if they are new; it stays open."""
        self._check_open()
        self._turns.begin("Saving", partial(self._turn, None))

    def mark_done(self, *, go_on: bool = False) -> None:
        """Save this image, even when nothing is on it, and say that it is finished.

        Args:
            go_on: and open the next one.
        """
        self._check_open()
        if go_on:
            self._go_on(finished=True)
        else:
            self._turns.begin("Saving", partial(self._turn, None, True))

    def mark_not_done(self) -> None:
        """Save this image and say that it is not finished after all."""
        self._check_open()
        self._turns.begin("Saving", partial(self._turn, None, False))

    def save_at_once(self) -> str:
        """Save what is new on the calling thread: for a window that is being closed. Returns what failed, or ""."""
        works = [self._unsaved, None if self._open is None else self._open.captured()]
        turn = Turn() if self._files is None else self._files.save_all(works)
        self._take(turn.saved)
        return turn.failure

    # ------------------------------------------------------------------ going on

    def _go_on(self, finished: bool | None = None) -> None:
        """Save this image, then open the next one."""
        find = partial(self._wanted_files().next_of, self._last, skip_done=self.skip_done)
        self._begin(find, finished)

    def _go(self, candidates: Callable[[SeriesFiles, SeriesItem | None], Iterator[SeriesItem]]) -> None:
        """Save this image, then open the first of others that can be read."""
        files, item, skip_done = self._wanted_files(), self._last, self.skip_done

        def find(report: Report) -> Found:
            return files.first_readable(candidates(files, item), report, skip_done=skip_done)

        self._begin(find)

    def _begin(self, find: Callable[[Report], Found], finished: bool | None = None) -> None:
        activity = "Opening" if self._last is None else "Going on"
        self._turns.begin(activity, partial(self._turn, find, finished))

    def _turn(
        self,
        find: Callable[[Report], Found] | None,
        finished: bool | None = None,
        found: Found | None = None,
    ) -> None:
        """On the worker: save, then, when that went well, find the next image. `found`: that was done already."""
        try:
            work = None if self._open is None else self._open.captured(finished)
        except MedicoSamError as error:
            self._end(str(error), show_error)
            return
        files, works = self._files, [self._unsaved, work]

        def task(report: Report) -> Turn:
            if files is not None and any(works):
                report(0, 0, "Saving labels …")
            turn = Turn() if files is None else files.save_all(works)
            if turn.failure or find is None:
                return Turn(turn.saved, turn.failure, found)
            try:
                found_now = find(report)
                if files is not None and found_now.files is not files:
                    files.leave(found_now.files)
                return Turn(turn.saved, found=found_now)
            except Cancelled:
                raise
            except Exception as error:
                return Turn(turn.saved, reason_of(error))

        again = partial(self._turn, finished=finished)
        self._turns.ask(task, partial(self._on_turned, find, again, self._num_changes))

    def _on_turned(
        self,
        find: Callable[[Report], Found] | None,
        again: Callable[..., None],
        num_changes: int,
        turn: Turn,
    ) -> None:
        self._take(turn.saved)
        if turn.failure:
            self._end(turn.failure, show_error)
        elif turn.found is None:
            self._end()
        elif self._num_changes != num_changes and self._open is not None:
            # Somebody went on drawing while the next image was being read.
            opened = turn.found.opened
            is_same = turn.found.stays or (opened is not None and opened.item == self.item)
            self._turns.once_idle(partial(again, find) if is_same else partial(again, None, found=turn.found))
        else:
            self._take_found(turn.found)

    def _take(self, saved: tuple[Saved, ...]) -> None:
        for one in saved:
            if self._unsaved is one.work:
                self._unsaved = None
            if self._open is not None:
                self._open.take(one)
            name = one.work.item.name
            if one.is_empty and self._statuses.get(name) != "done":
                self._tell(f"{name} is marked as done without objects", show_info)
            if one.work.item in self.items:
                self._statuses[name] = one.status
            if one.is_written:
                self.events.saved.emit(str(one.work.item.label_path))

    def _take_found(self, found: Found) -> None:
        """Show the next image in the place of this one, or say that there is none."""
        tool = self.session.tool  # it goes with the layers of this image
        if found.files is not self._files:
            self._take_series(found)
        for name, reason in found.unreadable.items():
            if name not in self._unreadable or found.opened is None:  # said once is enough, when it goes on
                self._tell(f"Passed over: {reason}", show_warning)
        self._unreadable |= found.unreadable
        if found.stays:
            self._read_ahead(found)
            self._end(found.remark)
            return
        if found.opened is None:
            self._end("" if found.unreadable else self._end_text, show_info)
            return
        self._leave()
        self._show(found, found.opened, tool)

    def _take_series(self, found: Found) -> None:
        """Go through another series from here on, or through this one as it was listed again."""
        if not found.stays:
            self._leave()
            self._last = None
        if self._files is not None:
            self._files.close()
        self._files, self._statuses, self._unreadable = found.files, dict(found.statuses), {}
        if found.stays:
            return
        before = self.session.classes
        classes = joined_classes(before, found.files.classes)
        if classes != before:
            self.session.set_classes(classes)
        if not set(before) <= set(classes):
            self._tell(
                "The label classes are those of this series now: the others have the same ids", show_info
            )

    def _show(self, found: Found, opened: OpenedImage, tool: Tool) -> None:
        self._last, name = opened.item, opened.item.name
        self._unreadable.pop(name, None)
        self._statuses[name] = opened.status
        try:
            self._open = SeriesImage(self.session, opened, tool)
        except FileError as error:
            self._unreadable[name] = str(error)
            self._end(str(error), show_error)
            return
        for complaint in self._open.complaints:
            self._tell(complaint, show_warning)
        self._read_ahead(found)
        self._end(found.remark)
        self.events.opened.emit(name)

    def _read_ahead(self, found: Found) -> None:
        if self.reads_ahead:
            found.files.read_ahead(found.following)

    def _leave(self) -> None:
        left, self._open = self._open, None
        if left is not None:
            left.leave()

    def _end(self, message: str = "", show: Callable[[str], None] = show_info) -> None:
        self._turns.end()
        if message:
            self._tell(message, show)

    def _tell(self, message: str, show: Callable[[str], None]) -> None:
        show(message)
        self.events.told.emit(message)

    # ------------------------------------------------------------------ from the session and the viewer

    def _on_layer_removing(self, event: Any) -> None:
        """Labels that somebody removes, or that go with the viewer, are saved as they were."""
        if self._open is None:
            return
        work = self._open.captured_before_removal(self.session.viewer.layers[event.index])
        if work is not None:
            self._unsaved = work
            self._rescue.start()  # not now: the session cancels what runs when its image is removed

    def _save_unsaved(self) -> None:
        files, work = self._files, self._unsaved
        if files is not None and work is not None:
            self.session.run(lambda report: files.save_all([work]), self._on_rescued, key="removed labels")

    def _on_rescued(self, turn: Turn) -> None:
        self._take(turn.saved)
        self.events.changed.emit()
        if turn.failure:
            self._tell(turn.failure, show_error)

    def _on_changed(self) -> None:
        self._num_changes += 1

    def _on_mask_changed(self, _object_id: int, _plane: object) -> None:
        self._num_changes += 1
        if self._open is not None:
            self._open.note_work()

    def _wanted_files(self) -> SeriesFiles:
        if self._files is None:
            raise InputError("no series yet: open a folder first")
        return self._files

    def _check_open(self) -> None:
        self._wanted_files()
        if self._open is None or not self._open.is_there:
            raise InputError("no image of the series is open: go to one first")


def _path(path: str | PathLike[str] | None) -> Path | None:
    return None if path is None or not str(path) else Path(path)
