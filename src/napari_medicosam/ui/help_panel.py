"""The panel that lists every key as it is now, and what the mouse does."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from napari.utils.action_manager import action_manager
from qtpy import QtGui
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDialog, QFrame, QGridLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_medicosam.ui.controls import button
from napari_medicosam.ui.help_texts import OUR_HEADING, OUR_NOTE, SECTIONS, Hint, Section
from napari_medicosam.ui.key_map import PACKAGE, keys_of, on_keys_changed, our_actions

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

HELP_ACTION = "help"
"""Name of the action that shows the panel, without the package."""

_NAPARI_S_SHORTCUTS = "napari:show_shortcuts"
_SIZE = QSize(380, 640)
_KEY_STYLE = "QLabel { border: 1px solid #888888; border-radius: 3px; padding: 1px 4px; }"
"""A grey that can be seen on the ground of light and dark themes."""


def toggle_help(session: AnnotationSession) -> None:
    """Show the panel of the session's window, or hide it."""
    window = session.viewer.window._qt_window
    panel = window.findChild(HelpPanel)
    if panel is None:
        panel = HelpPanel(parent=window)
    panel.setVisible(not panel.isVisible())


class HelpPanel(QDialog):
    """Keys and gestures; stays open beside the work, follows the preferences.

    Args:
        parent: the window that it belongs to; it looks like that and is closed with it.
    """

    def __init__(self, *, parent: QWidget | None = None) -> None:
        # A tool window that takes no focus: keys go on working in the image.
        super().__init__(parent, Qt.WindowType.Tool)
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setWindowTitle("MedicoSAM: keys and mouse")
        self._build_ui()
        # What opened the panel closes it, also while the panel has the focus.
        self._hide = QtGui.QAction(self)  # type: ignore[attr-defined]  # elsewhere in Qt 5
        self._hide.triggered.connect(self.hide)
        self.addAction(self._hide)
        on_keys_changed(self._on_keys_changed)
        self.resize(_SIZE)

    def _build_ui(self) -> None:
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._change = button("Change keys …", "Open napari's preferences at Shortcuts")
        layout = QVBoxLayout(self)
        layout.addWidget(self._scroll, stretch=1)
        layout.addWidget(self._change)
        self._change.clicked.connect(self._on_change_clicked)

    def showEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Say what the keys are now."""
        self.refresh()
        super().showEvent(event)

    def refresh(self) -> None:
        """Read all keys anew."""
        self._scroll.setWidget(_page())
        self._hide.setShortcuts([QKeySequence(key) for key in keys_of(f"{PACKAGE}:{HELP_ACTION}")])

    def _on_keys_changed(self) -> None:
        if self.isVisible():
            self.refresh()

    def _on_change_clicked(self) -> None:
        action_manager.trigger(_NAPARI_S_SHORTCUTS)


def _page() -> QWidget:
    page = QWidget()
    grid = QGridLayout(page)
    grid.setColumnStretch(1, 1)
    ours = tuple(Hint(does[:1].upper() + does[1:], action=name) for name, does in our_actions().items())
    for section in (Section(OUR_HEADING, ours, OUR_NOTE), *SECTIONS):
        _add_section(grid, section)
    grid.setRowStretch(grid.rowCount(), 1)
    return page


def _add_section(grid: QGridLayout, section: Section) -> None:
    heading = _label(f"<b>{escape(section.heading)}</b>")
    heading.setContentsMargins(0, 8 if grid.count() else 0, 0, 0)
    grid.addWidget(heading, grid.rowCount(), 0, 1, 2)
    if section.note:
        grid.addWidget(_label(escape(section.note)), grid.rowCount(), 0, 1, 2)
    for hint in section.hints:
        row = grid.rowCount()
        key = _label(escape(how(hint)))
        key.setStyleSheet(_KEY_STYLE)
        grid.addWidget(key, row, 0, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        grid.addWidget(_label(escape(hint.does)), row, 1)


def how(hint: Hint) -> str:
    """The key that a hint's action has now and the gesture: "3 or S, then click"; "no key" without either."""
    keys = " or ".join(keys_of(hint.action)) if hint.action else ""
    if hint.action and not keys:
        keys = "no key"
    return ", ".join(part for part in (keys, hint.gesture) if part)


def _label(html: str) -> QLabel:
    label = QLabel(html)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.RichText)
    label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
    return label
