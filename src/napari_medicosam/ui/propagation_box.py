"""The part of the dock widget that carries an object through a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QGridLayout, QGroupBox, QSpinBox, QWidget

from napari_medicosam.ui.controls import button, combo, told

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

_DIRECTIONS = {"both": "both ways", "up": "up (higher slices)", "down": "down (lower slices)"}


class PropagationBox(QGroupBox):
    """Direction, range and the button `Propagate`.

    Args:
        session: propagates its current object.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__("Through the volume", parent)
        self._session = session
        self._build_ui()
        self._connect()

    def _build_ui(self) -> None:
        self._direction = combo("Where to carry the object from the slices with prompts")
        for name, text in _DIRECTIONS.items():
            self._direction.addItem(text, name)
        self._propagate = button("Propagate", "Segment the slices around and between those with prompts")
        self._limit = QCheckBox("slices")
        self._limit.setToolTip("Change only these slices, the first and the last included")
        self._first, self._last = QSpinBox(), QSpinBox()
        self._first.setToolTip("First slice that may change")
        self._last.setToolTip("Last slice that may change")
        grid = QGridLayout(self)
        grid.addWidget(self._propagate, 0, 0)
        grid.addWidget(self._direction, 0, 1, 1, 2)
        grid.addWidget(self._limit, 1, 0)
        for column, box in enumerate((self._first, self._last), start=1):
            box.setEnabled(False)
            box.setMaximum(0)
            grid.addWidget(box, 1, column)

    def _connect(self) -> None:
        self._propagate.clicked.connect(self._on_propagate_clicked)
        self._limit.toggled.connect(self._first.setEnabled)
        self._limit.toggled.connect(self._last.setEnabled)

    def refresh(self) -> None:
        """Follow the session: another image or another axis has another number of slices."""
        self.setEnabled(self._session.is_3d and bool(self._session.prompts.planes))
        maximum = max(self._session.num_slices - 1, 0)
        if maximum != self._last.maximum():
            self._limit.setChecked(False)
            for box, value in ((self._first, 0), (self._last, maximum)):
                box.setRange(0, maximum)
                box.setValue(value)

    def _on_propagate_clicked(self) -> None:
        z_range = (self._first.value(), self._last.value() + 1) if self._limit.isChecked() else None
        with told():
            self._session.propagate(self._direction.currentData(), z_range)
