"""The part of the dock widget that carries an object through a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QGridLayout, QGroupBox, QSpinBox, QWidget

from napari_medicosam.ui.controls import button, close_together, combo, keyed, told
from napari_medicosam.ui.propagation_settings_box import PropagationSettingsBox

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

_DIRECTIONS = {"both": "both ways", "up": "up (higher slices)", "down": "down (lower slices)"}

_NARROW = "QSpinBox { min-width: 54px; }"
"""Napari's own style asks for 90, twice, in a dock that may be narrow."""


class PropagationBox(QGroupBox):
    """Direction and the button `Propagate`.

    Args:
        session: propagates its current object.

    Attributes:
        details: the range of slices and how to follow, to be placed by who makes the box.
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
        self._propagate = keyed(
            button("Propagate", "Segment the slices around and between those with prompts"), "propagate"
        )
        self._all = QCheckBox("all objects")
        self._all.setToolTip(
            "All objects with a prompted slice together, but for locked ones: hardly slower than one"
        )
        self._limit = QCheckBox("slices")
        self._limit.setToolTip("Change only these slices, the first and the last included")
        self._first, self._last = QSpinBox(), QSpinBox()
        self._first.setToolTip("First slice that may change")
        self._last.setToolTip("Last slice that may change")
        grid = QGridLayout(self)
        close_together(grid)
        grid.addWidget(self._propagate, 0, 0)
        grid.addWidget(self._direction, 0, 1)
        grid.addWidget(self._all, 1, 0, 1, 2)
        self._direction.setAccessibleName("Direction")
        self._settings = PropagationSettingsBox(session=self._session)
        self.details = QWidget()
        rows = QGridLayout(self.details)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(2)
        rows.addWidget(self._limit, 0, 0)
        for column, box in enumerate((self._first, self._last), start=1):
            box.setEnabled(False)
            box.setMaximum(0)
            box.setStyleSheet(_NARROW)
            box.setAccessibleName(box.toolTip())
            rows.addWidget(box, 0, column)
        rows.addWidget(self._settings, 1, 0, 1, 3)

    def _connect(self) -> None:
        self._propagate.clicked.connect(self._on_propagate_clicked)
        self._all.toggled.connect(self._on_all_toggled)
        for changed in (self._limit.toggled, self._first.valueChanged, self._last.valueChanged):
            changed.connect(self._on_range_changed)

    def refresh(self) -> None:
        """Follow the session: another image or another axis has another number of slices."""
        session = self._session
        with_prompts = [one for one in session.objects if session.has_user_slices(one.object_id)]
        for part in (self, self.details):
            part.setVisible(session.is_3d or session.image is None)
            part.setEnabled(session.is_3d)
        self._all.setVisible(len(with_prompts) > 1)
        is_possible = session.slice_index is not None
        if self._is_for_all:
            is_possible &= any(not one.is_locked for one in with_prompts)
        else:  # an answer that is still to come is waited for
            has_start = session.has_mask or session.is_busy or session.has_unasked_prompts
            is_possible &= session.can_prompt and has_start and session.record in with_prompts
        self._propagate.setEnabled(is_possible)
        self._settings.refresh()
        maximum = max(self._session.num_slices - 1, 0)
        if maximum != self._last.maximum():
            self._limit.setChecked(False)
            for box, value in ((self._first, 0), (self._last, maximum)):
                box.setRange(0, maximum)
                box.setValue(value)

    def _on_propagate_clicked(self) -> None:
        z_range = (self._first.value(), self._last.value() + 1) if self._limit.isChecked() else None
        with told():
            self._session.propagate(
                self._direction.currentData(), z_range, objects="all" if self._is_for_all else "current"
            )

    @property
    def _is_for_all(self) -> bool:
        return self._all.isVisibleTo(self) and self._all.isChecked()

    def _on_all_toggled(self) -> None:
        self.refresh()

    def _on_range_changed(self) -> None:
        """The button says which slices alone may change: the range may be folded away."""
        is_limited = self._limit.isChecked()
        for box in (self._first, self._last):
            box.setEnabled(is_limited)
        text = f"Propagate {self._first.value()} to {self._last.value()}" if is_limited else "Propagate"
        self._propagate.setText(text)
