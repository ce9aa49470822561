"""The last moment to save: a window that is being closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMessageBox

if TYPE_CHECKING:
    from napari_medicosam.ui.series import SeriesSession


class CloseGuard(QObject):
    """Has a series save itself before its window is gone, and asks the user when that fails.

    Args:
        window: of the viewer; it owns the guard. To be made after the viewer's `AnnotationSession`, whose own watcher
            then comes second: Qt asks the newest filter first.
        series: what to save.
    """

    _series: SeriesSession | None = None  # here, too: Qt still asks while Python takes the guard apart

    def __init__(self, window: Any, series: SeriesSession) -> None:
        super().__init__(window)
        self._series = series
        window.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802  Qt's name
        """A click on the window's button may still be taken back, so it closes nothing, but it saves."""
        series = self._series
        if series is None or event.type() not in (QEvent.Type.Close, QEvent.Type.Hide):
            return False
        if event.type() == QEvent.Type.Close:
            failure = series.save_at_once()
            if failure and event.spontaneous() and not self._is_given_up(failure):
                event.ignore()
                return True
            if failure:
                show_error(failure)
        if not event.spontaneous():
            self._series = None
            series.close()
        return False

    def _is_given_up(self, failure: str) -> bool:
        window: Any = self.parent()
        answer = QMessageBox.warning(
            window,
            "Labels are not saved",
            f"{failure}\n\nClose the window and lose these labels?",
            QMessageBox.StandardButton.Discard | QMessageBox.StandardButton.Cancel,
            QMessageBox.StandardButton.Cancel,
        )
        return bool(answer == QMessageBox.StandardButton.Discard)
