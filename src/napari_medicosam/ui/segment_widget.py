"""The dock widget `Segment`: what to do next, image and model, prompts, the volume, objects. Only calls its session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_medicosam.ui.clean_up_form import CleanUpForm
from napari_medicosam.ui.controls import ScrollColumn, button, close_together, combo, told
from napari_medicosam.ui.help_panel import toggle_help
from napari_medicosam.ui.model_choices import ZOOM_HELP, model_choices, next_step
from napari_medicosam.ui.object_list import ObjectList
from napari_medicosam.ui.propagation_box import PropagationBox
from napari_medicosam.ui.refine_menu import RefineButton
from napari_medicosam.ui.series_bar import SeriesBar
from napari_medicosam.ui.session_menu import RestoreBar, SessionButton
from napari_medicosam.ui.window_box import WindowBox

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

_OTHER_FILE = "From file …"
_TOOLS = {
    "point+": ("Point +", "Click on the object (Q toggles + and −)"),
    "scribble+": ("Scribble +", "Draw a stroke along the object (Q toggles + and −)"),
    "lasso+": ("Lasso +", "Draw around the object (Q toggles + and −)"),
    "point-": ("Point −", "Click on what is not the object (Q toggles + and −)"),
    "scribble-": ("Scribble −", "Draw a stroke along what is not the object (Q toggles + and −)"),
    "lasso-": ("Lasso −", "Draw around what is not the object (Q toggles + and −)"),
    "box": ("Box", "Drag a box around the object; a slice has one box an object"),
}
_TOOLS_IN_A_ROW = 3
_NARROW, _ROOM = 32, 10
_STATUS_STYLE = "QLabel { border-left: 3px solid #4c72e0; padding-left: 6px; font-weight: bold; }"
"""A blue that can be seen on the ground of light and dark themes."""
_CHECKPOINTS = "Checkpoints (*.pth *.pt *.safetensors)"
_LABEL_FILES = (
    "NIfTI (*.nii.gz *.nii);;NRRD (*.nrrd);;MetaImage (*.mha);;TIFF (*.tif *.tiff);;PNG (*.png)"
    ";;DICOM segmentation (*.dcm);;OME-Zarr (*.zarr)"
)


class SegmentWidget(QWidget):
    """Everything needed to segment a scan by hand.

    Args:
        session: does the work; the widget shows its state and calls its methods, nothing else.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._model_files: list[str] = []
        self._build_ui()
        self._connect()
        self._refresh_models()
        self._refresh_images()
        self._refresh_state()

    def _build_ui(self) -> None:
        content = QWidget()
        parts = QVBoxLayout(content)
        parts.setContentsMargins(0, 0, 0, 0)
        self._propagation = PropagationBox(session=self._session)
        for part in (self._image_part(), self._prompt_part(), self._propagation, self._object_part()):
            parts.addWidget(part)
        parts.addStretch(1)

        self._save = button("Save labels …", "Write the labels with the geometry of the image")
        self._session_menu = SessionButton(session=self._session)
        self._help = button("?", "Show all keys and mouse gestures")
        self._help.setMaximumWidth(_NARROW)
        last = QHBoxLayout()
        last.addWidget(self._save, stretch=1)
        last.addWidget(self._session_menu)
        last.addWidget(self._help)
        layout = QVBoxLayout(self)
        close_together(layout)
        layout.addWidget(SeriesBar(session=self._session, parent=self))
        self._restore_bar = RestoreBar(session=self._session)
        layout.addWidget(self._restore_bar)
        layout.addWidget(self._state_part())
        layout.addWidget(ScrollColumn(content), stretch=1)
        layout.addLayout(last)

    def _state_part(self) -> QWidget:
        """What to do next, and what is running: always in sight."""
        self._status = QLabel()
        self._status.setWordWrap(True)
        self._status.setAlignment(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
        self._status.setMinimumHeight(2 * self._status.fontMetrics().lineSpacing() + _ROOM)
        self._status.setStyleSheet(_STATUS_STYLE)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setMaximumHeight(8)
        self._cancel = button("Cancel", "Stop what is running; slices that are done stay")
        part = QWidget()
        grid = QGridLayout(part)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self._status, 0, 0)
        grid.addWidget(self._cancel, 0, 1)
        grid.addWidget(self._bar, 1, 0, 1, 2)
        grid.setColumnStretch(0, 1)
        return part

    def _image_part(self) -> QWidget:
        self._image = combo("The image or volume to segment")
        self._model = combo("The model; large ones are downloaded when first used")
        self._window = WindowBox(session=self._session, windowing=self._session.windowing)
        self._zoom = combo(
            "How closely the model looks: a small object loses its shape when the whole slice is shown"
        )
        for name, tip in ZOOM_HELP.items():
            self._zoom.addItem(name)
            self._zoom.setItemData(self._zoom.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self._ahead = QCheckBox("encode ahead")
        self._ahead.setToolTip(
            "While nothing else is to be done, the slices that come next as you scroll are encoded, so that they "
            "answer at once; without, a slice is encoded when it is first asked about"
        )
        zoom_and_ahead = QHBoxLayout()
        zoom_and_ahead.addWidget(self._zoom, stretch=1)
        zoom_and_ahead.addWidget(self._ahead)
        part = QGroupBox("Image and model")
        form = QFormLayout(part)
        close_together(form)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for text, row in (
            ("Image", self._image), ("Model", self._model), ("Window", self._window), ("Zoom", zoom_and_ahead),
        ):  # fmt: skip
            form.addRow(text, row)
        return part

    def _prompt_part(self) -> QWidget:
        self._tools = {name: button(text, tip, checkable=True) for name, (text, tip) in _TOOLS.items()}
        self._undo = button("Undo", "Take back the last step: prompt, stroke, propagation, commit …")
        self._redo = button("Redo", "Do again what was taken back last")
        self._clear = button("Clear slice", "Remove this object's prompts and mask from the visible slice")
        self._live = QCheckBox("live")
        self._live.setToolTip(
            "The mask follows every prompt at once; without, it waits for Segment: for slow models"
        )
        self._segment = button("Segment", "Segment the slices whose prompts have changed")
        part = QGroupBox("Prompt the object")
        grid = QGridLayout(part)
        close_together(grid)
        for number, tool in enumerate(self._tools.values()):
            grid.addWidget(tool, number // _TOOLS_IN_A_ROW, number % _TOOLS_IN_A_ROW)
        for row, others in enumerate(
            ((None, self._live, self._segment), (self._undo, self._redo, self._clear)), start=2
        ):
            for column, other in enumerate(others):
                if other is not None:
                    grid.addWidget(other, row, column)
        for column in range(_TOOLS_IN_A_ROW):
            grid.setColumnStretch(column, 1)
        return part

    def _object_part(self) -> QWidget:
        self._objects = ObjectList(session=self._session)
        self._clean_up = CleanUpForm(session=self._session)
        self._refine = RefineButton(session=self._session, clean_up=self._clean_up.open)
        part = QGroupBox("Objects")
        column = QVBoxLayout(part)
        close_together(column)
        column.addWidget(self._objects)
        column.addWidget(self._refine)
        column.addWidget(self._clean_up)
        return part

    def _connect(self) -> None:
        self._image.activated.connect(self._on_image_activated)
        self._model.opening.connect(self._refresh_models)
        self._model.activated.connect(self._on_model_activated)
        self._zoom.activated.connect(self._on_zoom_activated)
        self._ahead.clicked.connect(self._on_ahead_clicked)
        for name, tool in self._tools.items():
            tool.clicked.connect(lambda checked, name=name: self._on_tool_clicked(name, checked))
        self._undo.clicked.connect(self._on_undo_clicked)
        self._redo.clicked.connect(self._on_redo_clicked)
        self._clear.clicked.connect(self._on_clear_clicked)
        self._cancel.clicked.connect(self._session.cancel)
        self._save.clicked.connect(self._on_save_clicked)
        self._help.clicked.connect(self._on_help_clicked)
        self._live.clicked.connect(self._on_live_clicked)
        self._segment.clicked.connect(self._on_segment_clicked)
        events = self._session.events
        events.changed.connect(self._on_session_changed)
        events.tool_changed.connect(self._refresh_state)
        events.preview_changed.connect(self._refresh_state)
        events.busy_changed.connect(self._on_busy_changed)
        events.progress.connect(self._on_progress)
        events.error.connect(self._on_session_error)
        events.saved.connect(self._on_saved)

    def showEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Show what was added while the dock was closed."""
        self._refresh_models()
        super().showEvent(event)

    # ------------------------------------------------------------------ from the session

    def _on_session_changed(self) -> None:
        self._refresh_images()
        self._refresh_state()

    def _on_busy_changed(self, is_busy: bool) -> None:
        if is_busy:
            self._bar.setRange(0, 0)
        self._refresh_state()

    def _on_progress(self, done: int, total: int, text: str) -> None:
        self._bar.setRange(0, total)
        self._bar.setValue(done)
        self._status.setText(text)

    def _on_session_error(self, message: str) -> None:
        self._status.setText(message)

    def _on_saved(self, path: str) -> None:
        show_info(f"Saved: {path}")

    def _refresh_images(self) -> None:
        """The combo follows the layer list; the first image that can be segmented is taken by itself."""
        images = [layer for layer in self._session.viewer.layers if isinstance(layer, Image)]
        known = [(self._image.itemText(i), self._image.itemData(i)) for i in range(self._image.count())]
        if known != [(layer.name, layer) for layer in images]:
            self._image.clear()
            for layer in images:
                self._image.addItem(layer.name, layer)
                layer.events.name.connect(self._on_session_changed)
        if self._session.image is None:
            first = next((layer for layer in images if layer.ndim in (2, 3)), None)
            if first is not None:
                self._choose_image(first)
        self._image.setCurrentIndex(self._image.findData(self._session.image))

    def _refresh_models(self) -> None:
        """The combo follows the list of models, to which a finetuning run or a command may have added one."""
        files = [(path, Path(path).name, path) for path in self._model_files]
        choices = [*model_choices(), *files, ("", _OTHER_FILE, "")]
        box = self._model
        if [(name, text) for name, text, _ in choices] != [
            (box.itemData(i), box.itemText(i)) for i in range(box.count())
        ]:
            box.clear()
            for name, text, tip in choices:
                box.addItem(text, name)
                box.setItemData(box.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        box.setCurrentIndex(box.findData(self._session.model))

    def _refresh_state(self) -> None:
        session = self._session
        has_image, has_prompts = session.image is not None, bool(session.prompts.planes)
        chosen = session.tool
        for name, tool in self._tools.items():
            tool.setEnabled(has_image)
            tool.setChecked(name == chosen)
        self._clear.setEnabled(has_prompts)
        self._undo.setEnabled(session.can_undo)
        self._redo.setEnabled(session.can_redo)
        self._live.setChecked(session.is_live)
        self._segment.setVisible(not session.is_live)
        self._segment.setEnabled(session.has_unasked_prompts)
        self._objects.refresh()
        self._refine.refresh()
        self._save.setEnabled(session.has_labels)
        self._session_menu.refresh()
        self._restore_bar.refresh()
        self._propagation.refresh()
        self._zoom.setCurrentText(session.zoom.policy)
        self._ahead.setChecked(session.encodes_ahead)
        self._bar.setVisible(session.is_busy)
        self._cancel.setVisible(session.is_busy)
        self._status.setText(next_step(session))

    # ------------------------------------------------------------------ to the session

    def _choose_image(self, layer: Any) -> None:
        with told():
            self._session.set_image(layer)
            self._session.prepare()

    def _on_image_activated(self, index: int) -> None:
        self._choose_image(self._image.itemData(index))
        self._refresh_images()

    def _on_model_activated(self, index: int) -> None:
        name = self._model.itemData(index)
        if not name:
            name, _ = QFileDialog.getOpenFileName(self, "Weights of a model", "", _CHECKPOINTS)
            if name and name not in self._model_files:
                self._model_files.append(name)
        if name:
            with told():
                self._session.set_model(name)
                self._session.prepare()
        self._refresh_models()

    def _on_zoom_activated(self) -> None:
        self._session.set_zoom(self._zoom.currentText())

    def _on_ahead_clicked(self, checked: bool) -> None:
        self._session.encodes_ahead = checked

    def _on_tool_clicked(self, name: Any, checked: bool) -> None:
        with told():
            self._session.tool = name if checked else ""
        self._refresh_state()

    def _on_undo_clicked(self) -> None:
        with told():
            self._session.undo()

    def _on_redo_clicked(self) -> None:
        with told():
            self._session.redo()

    def _on_clear_clicked(self) -> None:
        with told():
            self._session.clear_prompts()

    def _on_help_clicked(self) -> None:
        toggle_help(self._session)

    def _on_live_clicked(self, checked: bool) -> None:
        with told():
            self._session.is_live = checked

    def _on_segment_clicked(self) -> None:
        with told():
            self._session.segment()

    def _on_save_clicked(self) -> None:
        image = self._session.image
        name = f"{image.name}_labels.nii.gz" if image is not None else "labels.nii.gz"
        # The dialog asks before an existing file is replaced.
        path, _ = QFileDialog.getSaveFileName(self, "Save labels", name, _LABEL_FILES)
        if path:
            with told():
                self._session.save_labels(path)
