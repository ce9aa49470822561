"""The part of the dock widget that says how an object is followed, and finds out on a finished one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QGroupBox, QHBoxLayout, QLabel, QWidget

from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.ui.controls import button, close_together, combo, number_box, told

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

_MODES = {
    "box": "the box around the mask of the slice beside",
    "mask": "that mask itself, and the box around it",
    "points": "points inside that mask, and outside it within its box",
    "points_and_mask": "these points, and the mask itself",
    "single_point": "the innermost point of that mask",
}
_UNITS = {"%": "of the box's side", "px": "pixels", "mm": "millimetres, for images with a spacing"}
_DECIMALS = 3


class PropagationSettingsBox(QGroupBox):
    """Mode, box growth, stop rule and the weights of likeness and brightness; the defaults were measured.

    Args:
        session: its `propagation_settings` are shown and changed.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__("How to follow", parent)
        self._session = session
        self._is_filling = False
        self._build_ui()
        self._connect()
        self.refresh()

    def _build_ui(self) -> None:
        self._mode = combo("What the mask of a slice tells the model about the next one")
        for mode, tip in _MODES.items():
            self._mode.addItem(mode.replace("_", " "), mode)
            self._mode.setItemData(self._mode.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._growth = number_box("How much the box grows on each side from slice to slice", (0, 1000), 1)
        self._unit = QComboBox()
        self._unit.setToolTip("Unit of the growth")
        for unit, tip in _UNITS.items():
            self._unit.addItem(unit)
            self._unit.setItemData(self._unit.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._iou = number_box(
            "Stop where a mask overlaps less with the one before (IoU, for slices 2 mm apart; adapted to the real "
            "distance where the image has a spacing)",
            (0, 1),
            0.05,
        )
        self._confidence = number_box(
            "Stop where the model trusts its mask less than this share of what it trusts the prompted slice; what it "
            "sees of something else in the mask counts against it (Likeness)",
            (0, 1),
            0.05,
        )
        self._brightness = number_box(
            "How much the brightness of the object and of what is around it, on your slices, counts beside the model: "
            "masks do not leak into what is brighter or darker. Less where the object and what is around it look alike",
            (0, 10),
            0.1,
        )
        self._likeness = number_box(
            "How much it counts against a mask when the model sees something else in it than in the object on your "
            "slices, be it as bright as the object: the way ends before masks leak. Less where the object changes on "
            "its way",
            (0, 10),
            0.05,
        )
        for box in (self._brightness, self._likeness):
            box.setSpecialValueText("off")  # instead of 0
        self._tune = button(
            "Tune on this object",
            "Search the settings that would have found this finished object from one of its slices",
        )
        self._reset = button("Defaults", "Back to the settings that were measured to be best on average")
        self._said = QLabel()
        self._said.setWordWrap(True)
        self._lay_out()

    def _lay_out(self) -> None:
        growth = QWidget()
        row = QHBoxLayout(growth)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._growth, stretch=1)
        row.addWidget(self._unit)
        form = QFormLayout(self)
        close_together(form)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        fields = {
            "Prompt with": self._mode,
            "Box growth": growth,
            "Stop at IoU": self._iou,
            "Confidence": self._confidence,
            "Likeness": self._likeness,
            "Brightness": self._brightness,
        }
        for text, field in fields.items():
            form.addRow(text, field)
            field.setAccessibleName(text)
        self._growth.setAccessibleName("Box growth")
        self._unit.setAccessibleName("Unit of the growth")
        buttons = QHBoxLayout()
        buttons.addWidget(self._tune, stretch=1)
        buttons.addWidget(self._reset)
        form.addRow(buttons)
        form.addRow(self._said)

    def _connect(self) -> None:
        self._mode.activated.connect(lambda: self._set(mode=self._mode.currentData()))
        self._unit.activated.connect(self._on_unit_changed)
        self._growth.valueChanged.connect(self._on_growth_changed)
        self._iou.valueChanged.connect(lambda value: self._set(iou_threshold=value))
        self._confidence.valueChanged.connect(lambda value: self._set(min_confidence=value))
        self._brightness.valueChanged.connect(lambda value: self._set(appearance=value))
        self._likeness.valueChanged.connect(lambda value: self._set(likeness=value))
        self._tune.clicked.connect(self._on_tune_clicked)
        self._reset.clicked.connect(self._on_reset_clicked)

    def refresh(self) -> None:
        """Follow the session."""
        settings = self._session.propagation_settings
        self._is_filling = True
        named = {mode: PromptMode.parse(mode) for mode in _MODES}
        word = next((mode for mode, parsed in named.items() if parsed == settings.mode), None)
        if word is None and self._mode.findData(str(settings.mode)) < 0:
            self._mode.addItem(str(settings.mode), str(settings.mode))
        self._mode.setCurrentIndex(self._mode.findData(word or str(settings.mode)))
        value, unit = _growth_of(settings)
        self._unit.setCurrentText(unit)
        self._growth.setValue(value)
        self._iou.setValue(settings.iou_threshold)
        self._confidence.setValue(settings.min_confidence)
        self._brightness.setValue(settings.appearance)
        self._likeness.setValue(settings.likeness)
        self._is_filling = False
        self._tune.setEnabled(self._session.is_3d and self._session.has_mask)
        self._reset.setEnabled(settings != PropagationSettings())
        self._said.setText(self._about_tuning())
        self._said.setVisible(bool(self._said.text()))

    def _about_tuning(self) -> str:
        tuning = self._session.tuning
        if tuning is None:
            return ""
        before, best = tuning.current, tuning.best
        if best.settings == before.settings:
            return f"Tuned: the settings were the best already (Dice {before.dice:.3f} on that object)."
        return f"Tuned: Dice {before.dice:.3f} → {best.dice:.3f} on that object."

    def _set(self, **changes: Any) -> None:
        """What the user changed, and nothing else: the boxes round what a script or the tuning chose."""
        if not self._is_filling:
            with told():
                self._session.set_propagation(**changes)

    def _on_growth_changed(self) -> None:
        value, unit = self._growth.value(), self._unit.currentText()
        if unit == "mm":
            self._set(box_extension_mm=value)
        else:
            self._set(box_extension_mm=None, box_extension=value / 100 if unit == "%" else value)

    def _on_unit_changed(self) -> None:
        """The number means something else now: begin with a small growth."""
        self._is_filling = True
        self._growth.setValue({"%": 5.0, "px": 2.0, "mm": 2.0}[self._unit.currentText()])
        self._is_filling = False
        self._on_growth_changed()

    def _on_tune_clicked(self) -> None:
        with told():
            self._session.tune()

    def _on_reset_clicked(self) -> None:
        defaults = PropagationSettings()
        self._session.set_propagation(**{name: getattr(defaults, name) for name in defaults.__slots__})


def _growth_of(settings: PropagationSettings) -> tuple[float, str]:
    """Growth of the box as a number and its unit; below 1 the extension is a fraction, as `derive_prompts` has it."""
    if settings.box_extension_mm is not None:
        return settings.box_extension_mm, "mm"
    extension = settings.box_extension
    return (extension, "px") if extension >= 1 else (round(100 * extension, _DECIMALS), "%")
