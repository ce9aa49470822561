"""The part of the dock widget in which a clean-up is chosen while the image shows what it would do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_medicosam.core.post_processing import CleanUp
from napari_medicosam.ui.controls import button, close_together, combo, number_box, swatch, told
from napari_medicosam.ui.layers import preview_colours

if TYPE_CHECKING:
    from napari_medicosam.core.clean_up_effect import CleanUpEffect
    from napari_medicosam.ui.session import AnnotationSession

_HOLES = {
    "no": ("no", "Holes stay"),
    "slices": ("within slices", "Fill what is enclosed within its slice"),
    "volume": ("in the volume", "Fill what is enclosed on all sides"),
}

_ROOM = 4


class CleanUpForm(QGroupBox):
    """Settings, numbers, and what they come to; in sight only while the session previews a clean-up.

    Enter in it applies, Escape cancels, as its buttons do. Napari has these keys for shapes, in the canvas alone.

    Args:
        session: its preview is shown and changed.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__("Clean up", parent)
        self._session = session
        self._settings = CleanUp()
        self._is_filling = False
        self._build_ui()
        self._connect()
        if session.previewed is None:
            self.hide()
        else:  # it comes into sight with its dock
            self._follow(session.previewed)

    def open(self) -> None:
        """Begin with the settings that were looked at last.

        Raises:
            InputError: as `AnnotationSession.preview_clean_up`.
        """
        settings = asdict(self._settings)
        del settings["fill_axis"]  # holes are filled in the slices that are shown
        self._session.preview_clean_up(**settings)
        self._largest.setFocus()

    def keyPressEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """What no control in the form wants for itself: a number counts by then, a button is pressed as ever."""
        key, chosen = event.key(), self.focusWidget()
        if key == Qt.Key.Key_Escape:
            self._drop.click()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            (chosen if isinstance(chosen, QPushButton) else self._apply).click()
        else:
            super().keyPressEvent(event)

    def _build_ui(self) -> None:
        self._largest = QCheckBox("Largest piece only")
        self._largest.setToolTip("Remove all pieces but the largest")
        self._holes = combo("What is enclosed by the object becomes part of it")
        for word, (text, tip) in _HOLES.items():
            self._holes.addItem(text, word)
            self._holes.setItemData(self._holes.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._smooth = _amount(
            "Smooth the surface; parts thinner than about twice the amount are lost", 100, 0.5, " mm"
        )
        self._least = _amount("Remove pieces of less than this volume", 1e9, 10, " mm³")
        self._going, self._coming = _line(), _line()
        self._going.setToolTip("What the clean-up takes away, in its colour in the image")
        self._coming.setToolTip("What the clean-up adds, in its colour in the image")
        self._swatches = QLabel(), QLabel()
        self._said = _line()
        self._said.setToolTip(
            "The object before and after the clean-up: size, pieces, and slices that differ"
        )
        self._said.setMinimumHeight(
            2 * self._said.fontMetrics().lineSpacing() + _ROOM
        )  # never moves what is below
        self._said.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self._next = button("Next change", "Show the next slice that changes")
        self._drop = button("Cancel", "Leave the object as it is (Escape)")
        self._apply = button("Apply", "Clean the object; a step to undo (Enter)")
        column = QVBoxLayout(self)
        close_together(column)
        column.addLayout(self._fields())
        column.addLayout(self._numbers())
        column.addWidget(self._said)
        buttons = QHBoxLayout()
        for one in (self._next, self._drop, self._apply):
            buttons.addWidget(one)
        column.addLayout(buttons)

    def _fields(self) -> QFormLayout:
        form = QFormLayout()
        form.setSpacing(4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(self._largest)
        fields = {"Fill holes": self._holes, "Smooth": self._smooth, "Remove pieces below": self._least}
        for text, field in fields.items():
            form.addRow(text, field)
        return form

    def _numbers(self) -> QHBoxLayout:
        row = QHBoxLayout()
        for square, line in zip(self._swatches, (self._going, self._coming), strict=True):
            row.addWidget(square)
            row.addWidget(line, stretch=1)
        return row

    def _connect(self) -> None:
        self._largest.clicked.connect(self._on_changed)
        self._holes.activated.connect(self._on_changed)
        for box in (self._smooth, self._least):
            box.valueChanged.connect(self._on_changed)
        self._next.clicked.connect(self._session.go_to_change)
        self._drop.clicked.connect(self._session.drop_preview)
        self._apply.clicked.connect(self._on_apply_clicked)
        for signal in (self._session.events.preview_changed, self._session.events.tool_changed):
            signal.connect(self.refresh)

    def showEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """The dock may be lower than what is in it: bring the form into sight."""
        super().showEvent(event)
        QTimer.singleShot(0, self._come_into_sight)

    def _come_into_sight(self) -> None:
        around: Any = self.parent()
        while around is not None and not isinstance(around, QScrollArea):
            around = around.parent()
        if around is not None:
            around.ensureWidgetVisible(self)

    def refresh(self) -> None:
        """Follow the session."""
        settings = self._session.previewed
        chosen = self.focusWidget()
        if settings is not None:
            self._follow(settings)
        elif chosen is not None:
            chosen.clearFocus()  # else the next control in the dock would get what is typed
        self.setVisible(settings is not None)

    def _follow(self, settings: CleanUp) -> None:
        self._settings = settings
        self._fill(settings)
        self._tell(self._session.preview)

    def _fill(self, settings: CleanUp) -> None:
        self._is_filling = True
        self._largest.setChecked(settings.largest_component)
        self._holes.setCurrentIndex(self._holes.findData(settings.fill_holes))
        self._smooth.setValue(settings.smooth_mm)
        self._least.setValue(settings.min_size_mm3)
        self._is_filling = False

    def _tell(self, effect: CleanUpEffect | None) -> None:
        """What was said last stays, grey, until the next effect is known."""
        lines = self._going, self._coming, self._said
        for line in lines:
            line.setEnabled(effect is not None)
        self._next.setEnabled(bool(self._session.preview_slices))
        self._apply.setEnabled(effect is None or not effect.box.is_empty)
        if effect is None:
            self._said.setText(self._said.text() or "Looking …")
            return
        for square, colour in zip(
            self._swatches, preview_colours(self._session.colour_of(self._session.object_id)), strict=True
        ):
            square.setPixmap(swatch(colour).pixmap(12, 12))
        self._going.setText(f"{self._size(effect.num_going)} removed")
        self._coming.setText(f"{self._size(effect.num_coming)} added")
        self._said.setText(self._summary(effect))

    def _summary(self, effect: CleanUpEffect) -> str:
        before, after = effect.num_voxels
        if effect.box.is_empty:
            return f"Nothing changes: {self._size(before)}, {_pieces(effect.num_pieces[0])}"
        share = f"{100 * (after - before) / before:+.1f} %"
        pieces = _pieces(effect.num_pieces[1])
        if effect.num_pieces[0] != effect.num_pieces[1]:
            pieces = f"{effect.num_pieces[0]} → {pieces}"
        slices = len(self._session.preview_slices)
        return (
            f"{self._size(before)} → {self._size(after)} ({share.replace('-', '−')})\n"
            f"{pieces}; {slices} {'slice changes' if slices == 1 else 'slices change'}"
        )

    def _size(self, num_voxels: int) -> str:
        volume = self._session.voxel_volume_mm3
        if volume is None:
            return f"{num_voxels} px"
        return f"{num_voxels * volume / 1000:#.4g}".rstrip(".") + " mL" if num_voxels else "0 mL"

    def _on_changed(self) -> None:
        if self._is_filling or self._session.previewed is None:
            return
        with told():
            self._session.preview_clean_up(
                largest_component=self._largest.isChecked(),
                fill_holes=self._holes.currentData(),
                smooth_mm=self._smooth.value(),
                min_size_mm3=self._least.value(),
            )

    def _on_apply_clicked(self) -> None:
        with told():
            self._session.apply_preview()


def _pieces(count: int) -> str:
    return f"{count} piece" if count == 1 else f"{count} pieces"


def _line() -> QLabel:
    line = QLabel()
    line.setWordWrap(True)
    return line


def _amount(tip: str, most: float, step: float, unit: str) -> QDoubleSpinBox:
    box = number_box(tip, (0, most), step)
    box.setSuffix(unit)
    box.setSpecialValueText("no")  # instead of 0
    return box
