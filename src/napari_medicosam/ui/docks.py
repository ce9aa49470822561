"""Docks of ours in one area of the window lie on each other as tabs: one above the other, each would be cramped."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget


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
        parent: Any = self.parent()
        while parent is not None and not isinstance(parent, QDockWidget):
            parent = parent.parent()
        return parent

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
