"""Parts of a form that are folded to one line, and are found as they were left."""

from __future__ import annotations

from typing import Any

from qtpy import QtCore
from qtpy.QtCore import QSettings, QSize, Qt
from qtpy.QtWidgets import QPushButton, QSizePolicy, QVBoxLayout, QWidget

_APPLICATION = "napari-medicosam"
_FOLDED, _OPEN = "▸ ", "▾ "
_LOOKS = """
QPushButton, QPushButton:checked { text-align: left; padding: 3px 4px; border: 1px solid transparent;
    background-color: rgba(128, 128, 128, 50); }
QPushButton:hover { background-color: rgba(128, 128, 128, 100); }
QPushButton:focus { border-color: #4c72e0; }
"""
"""Grey that can be seen on light and dark themes; pressed it looks as before: the arrow tells."""


class Fold(QWidget):
    """A heading that shows or hides what is below it. What is hidden takes no room, and no key reaches it.

    Args:
        title: of the heading.
        name: under which it is remembered whether the user opened or closed it, in all windows.
        tip: what is in there.

    Attributes:
        heading: the button, pressed while the fold is open.
        opened: the user opened it.
    """

    opened = QtCore.Signal()  # type: ignore[attr-defined]  # Qt bindings call it differently

    def __init__(self, title: str, *, name: str, tip: str) -> None:
        super().__init__()
        self._title, self._summary = title, ""
        self._name, self._tip = f"folds/{name}", tip
        self._content = QWidget()
        self.heading = _Heading()
        self.heading.setCheckable(True)
        self.heading.setStyleSheet(_LOOKS)
        self.heading.setAccessibleName(title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.heading)
        layout.addWidget(self._content)
        self.heading.toggled.connect(self._on_toggled)
        self.heading.clicked.connect(self._on_clicked)
        settings = _settings()
        self._is_chosen = settings.contains(self._name)
        self.is_open = self._is_chosen and bool(settings.value(self._name, type=bool))
        self._on_toggled(self.is_open)

    @property
    def content(self) -> QWidget:
        """Below the heading: takes a layout."""
        return self._content

    @property
    def is_open(self) -> bool:
        """True while the content is shown."""
        return self.heading.isChecked()

    @is_open.setter
    def is_open(self, is_open: bool) -> None:
        self.heading.setChecked(is_open)

    def suggest(self, is_open: bool) -> None:
        """Open or close it, unless the user has ever done so."""
        if not self._is_chosen:
            self.is_open = is_open

    def summarise(self, text: str) -> None:
        """What the heading says while the content is hidden, instead of the title; "" for the title."""
        if text != self._summary:
            self._summary = text
            self.heading.setAccessibleName(f"{self._title}: {text}" if text else self._title)
            self._show_heading()

    def _show_heading(self) -> None:
        said = self._summary if self._summary and not self.is_open else self._title
        self.heading.show_text(f"{_OPEN if self.is_open else _FOLDED}{said}")
        self.heading.setToolTip("\n".join(one for one in (self._summary, self._tip) if one))

    def _on_toggled(self, is_open: bool) -> None:
        self._content.setVisible(is_open)
        self._show_heading()

    def _on_clicked(self, is_open: bool) -> None:
        self._is_chosen = True
        _settings().setValue(self._name, is_open)
        if is_open:
            self.opened.emit()


class _Heading(QPushButton):
    """A button whose text never widens the dock: its end is left out where there is no room."""

    def __init__(self) -> None:
        super().__init__()
        self._whole = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def minimumSizeHint(self) -> QSize:  # noqa: N802  Qt's name
        """Wide enough for a few letters."""
        hint = super().minimumSizeHint()
        return QSize(min(hint.width(), 8 * self.fontMetrics().height()), hint.height())

    def show_text(self, text: str) -> None:
        """As much of it as there is room for."""
        self._whole = text
        self._elide()

    def resizeEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Another width shows more or less."""
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        metrics = self.fontMetrics()
        room = self.width() - metrics.height()
        self.setText(metrics.elidedText(self._whole, Qt.TextElideMode.ElideRight, room))


def _settings() -> QSettings:
    """A small file of the user's, beside those of other programs."""
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, _APPLICATION, _APPLICATION)
