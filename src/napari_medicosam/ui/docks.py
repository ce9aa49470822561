"""Docks of ours: in one area of the window they lie on each other as tabs, and each is as narrow as it may be."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget


class NarrowAgain(QObject):
    """Has the dock of a widget become as narrow as the widget allows, also after that needed more for a while.

    Qt by itself takes the least width that it once gave to a dock for the user's own.

    Args:
        widget: in the dock; it owns this.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        widget.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802  Qt's name
        """Something in the widget may need less than before."""
        if event.type() == QEvent.Type.LayoutRequest:
            dock = _dock_of(watched)
            if dock is not None and dock.minimumWidth() > watched.minimumSizeHint().width():
                dock.setMinimumWidth(0)
        return False


class TabsOnShow(QObject):
    """Has the dock of a widget, when it is first shown, join another one that has such a companion, too.

    Where the user puts it from then on is left alone.

    Args:
        widget: in the dock; it owns this.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        widget.installEventFilter(self)

    @property
    def dock(self) -> QDockWidget | None:
        """Where the widget lies; None while nobody has put it into one."""
        return _dock_of(self.parent())

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802  Qt's name
        """Not at once: napari is still in the middle of adding the dock."""
        if event.type() == QEvent.Type.Show:
            watched.removeEventFilter(self)
            QTimer.singleShot(0, self._join)
        return False

    def _join(self) -> None:
        dock = self.dock
        window: Any = None if dock is None else dock.parent()
        if dock is None or dock.isFloating() or not isinstance(window, QMainWindow):
            return
        area = window.dockWidgetArea(dock)
        for other in (one.dock for one in window.findChildren(TabsOnShow)):
            if other is None or other is dock or other.isHidden() or other.isFloating():
                continue
            if window.dockWidgetArea(other) == area:
                if other not in window.tabifiedDockWidgets(dock):
                    window.tabifyDockWidget(other, dock)
                    dock.raise_()
                return


def _dock_of(part: Any) -> QDockWidget | None:
    while part is not None and not isinstance(part, QDockWidget):
        part = part.parent()
    return part
