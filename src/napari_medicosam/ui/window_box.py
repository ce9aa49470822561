"""The part of the dock widget that says which intensities the model is shown, as a word and as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_medicosam.errors import InputError
from napari_medicosam.ui.controls import button, combo, told
from napari_medicosam.ui.windowing import Windowing

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medicosam.ui.session import AnnotationSession
    from napari_medicosam.ui.windowing import Choices

_NOT_MEASURED = "…"
_DIGITS = 6
_LEAST_LETTERS = 4
"""Of a preset, where the dock is narrow: the button beside it needs the place."""


class WindowBox(QWidget):
    """Presets, the range they stand for, and the tie to the contrast limits of the layer.

    Args:
        session: the box shows its window and sets it, nothing else.
        windowing: of the session; None makes one.
    """

    def __init__(
        self,
        *,
        session: AnnotationSession,
        windowing: Windowing | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._windowing = Windowing(session) if windowing is None else windowing
        self._offered: tuple[Choices, ...] = ()
        self._build_ui()
        self._connect()
        self.refresh()

    def _build_ui(self) -> None:
        self._preset = combo("How intensities are shown to the model: choose one, or type LOW,HIGH and Enter")
        self._preset.setEditable(True)
        self._preset.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self._preset.setMinimumContentsLength(_LEAST_LETTERS)
        self._low = _number_field("Darkest intensity that the model tells apart: black to it")
        self._high = _number_field("Brightest intensity that the model tells apart: white to it")
        self._follow = button(
            "Like the viewer",
            "The model sees what you see: the window follows the layer's contrast limits. "
            "Every new window encodes the slice anew",
            checkable=True,
        )
        self._show = button(
            "Show",
            "See what the model sees: the layer's contrast limits are those of the window, and of each that you choose",
            checkable=True,
        )
        word, numbers = QHBoxLayout(), QHBoxLayout()
        word.addWidget(self._preset, stretch=1)
        word.addWidget(self._follow)
        for one in (self._low, QLabel("to"), self._high, self._show):
            numbers.addWidget(one)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(word)
        layout.addLayout(numbers)

    def _connect(self) -> None:
        self._preset.activated.connect(self._on_preset_chosen)
        edit: Any = self._preset.lineEdit()
        edit.editingFinished.connect(self._on_preset_chosen)
        self._low.editingFinished.connect(self._on_bound_edited)
        self._high.editingFinished.connect(self._on_bound_edited)
        self._follow.clicked.connect(self._on_follow_clicked)
        self._show.clicked.connect(self._on_show_clicked)
        for news in (self._session.events.changed, self._session.events.busy_changed):
            news.connect(self.refresh)  # the worker may have measured the window

    def refresh(self) -> None:
        """Show the session's window; what is being typed is left alone."""
        session, windowing = self._session, self._windowing
        offered = windowing.choice_groups()
        if offered != self._offered:
            self._offered = offered
            self._fill_presets()
        edit: Any = self._preset.lineEdit()
        if not _is_being_typed_in(edit):
            self._preset.setEditText(session.window)
        shown = windowing.shown_range
        for field, number in zip((self._low, self._high), shown or (None, None), strict=True):
            if not _is_being_typed_in(field):
                field.setText("" if number is None else f"{number:.{_DIGITS}g}")
            field.setEnabled(session.image is not None)
        self._follow.setEnabled(windowing.has_contrast)
        self._follow.setChecked(windowing.follow_contrast)
        self._show.setEnabled(windowing.has_contrast)
        self._show.setChecked(windowing.shows_window)

    def _fill_presets(self) -> None:
        self._preset.clear()
        for group in self._offered:
            if self._preset.count():
                self._preset.insertSeparator(self._preset.count())
            for word, tip in group:
                self._preset.addItem(word)
                self._preset.setItemData(self._preset.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)

    def _on_preset_chosen(self) -> None:
        text = self._preset.currentText().strip()
        if text != self._session.window:
            self._set(lambda: self._session.set_window(text))
        self._preset.setEditText(self._session.window)

    def _on_bound_edited(self) -> None:
        if not (self._low.isModified() or self._high.isModified()):
            return
        fields = (self._low, self._high)
        is_first_of_two = any(field.hasFocus() and not field.isModified() for field in fields)
        texts = tuple(field.text().strip() for field in fields)
        if not all(texts) or (is_first_of_two and not _is_range(texts)):
            return  # the other number is still to come
        self._set(lambda: self._windowing.set_range(*(_number(text) for text in texts)))
        for field in fields:
            field.setModified(False)
        self.refresh()

    def _set(self, change: Callable[[], None]) -> None:
        with told():
            change()
            self._session.prepare()

    def _on_follow_clicked(self, checked: bool) -> None:
        with told():
            self._windowing.follow_contrast = checked
        self.refresh()

    def _on_show_clicked(self, checked: bool) -> None:
        with told():
            self._windowing.shows_window = checked
        self.refresh()


def _number_field(tip: str) -> QLineEdit:
    field = QLineEdit()
    field.setToolTip(tip)
    field.setPlaceholderText(_NOT_MEASURED)
    field.setMinimumWidth(field.fontMetrics().horizontalAdvance("-1000"))
    return field


def _is_being_typed_in(field: QLineEdit) -> bool:
    return field.hasFocus() and field.isModified()


def _is_range(texts: tuple[str, ...]) -> bool:
    try:
        low, high = (float(text) for text in texts)
    except ValueError:
        return False
    return low < high


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"a bound of the window is a number, got {text!r}") from None
