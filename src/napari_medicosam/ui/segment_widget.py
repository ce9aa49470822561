"""The dock widget `Segment`: what to do next, image and model, prompts, the volume, objects. Only calls its session."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy import QtWidgets
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_medicosam.ui.clean_up_form import CleanUpForm
from napari_medicosam.ui.controls import ScrollColumn, button, close_together, keyed, status_label, told
from napari_medicosam.ui.docks import NarrowAgain
from napari_medicosam.ui.help_panel import HELP_ACTION, toggle_help
from napari_medicosam.ui.image_box import ImageBox
from napari_medicosam.ui.key_map import on_keys_changed, with_keys
from napari_medicosam.ui.more_settings import MoreSettings
from napari_medicosam.ui.next_step import next_step
from napari_medicosam.ui.object_list import ObjectList
from napari_medicosam.ui.propagation_box import PropagationBox
from napari_medicosam.ui.refine_menu import RefineButton
from napari_medicosam.ui.series_bar import SeriesBar
from napari_medicosam.ui.session_menu import RestoreBar, SessionButton
from napari_medicosam.ui.tilt_bar import TiltBar

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

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
_NARROW = 32
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
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
        self._error = ""
        self._build_ui()
        self._connect()
        NarrowAgain(self)
        self._show_keys()
        self._refresh_state()

    def _build_ui(self) -> None:
        content = QWidget()
        parts = QVBoxLayout(content)
        parts.setContentsMargins(0, 0, 0, 0)
        parts.setSpacing(4)
        self._propagation = PropagationBox(session=self._session)
        self._image_box = ImageBox(session=self._session)
        prompts, objects = self._prompt_part(), self._object_part()
        self._more = MoreSettings(
            session=self._session, overlap=self._objects.overlap, details=self._propagation.details
        )
        for part in (self._image_box, prompts, self._propagation, objects, self._more):
            parts.addWidget(part)
        parts.addStretch(1)

        self._save = button("Save labels …", "Write the labels with the geometry of the image")
        self._session_menu = SessionButton(session=self._session)
        self._help = keyed(button("?", "Show all keys and mouse gestures"), HELP_ACTION)
        self._help.setMaximumWidth(_NARROW)
        last = QHBoxLayout()
        last.addWidget(self._save, stretch=1)
        last.addWidget(self._session_menu)
        last.addWidget(self._help)
        layout = QVBoxLayout(self)
        close_together(layout)
        layout.setContentsMargins(2, 4, 2, 4)
        layout.addWidget(SeriesBar(session=self._session, parent=self))
        self._restore_bar = RestoreBar(session=self._session)
        layout.addWidget(self._restore_bar)
        layout.addWidget(TiltBar(session=self._session))
        layout.addWidget(self._state_part())
        self._column = ScrollColumn(content)
        layout.addWidget(self._column, stretch=1)
        layout.addLayout(last)

    def _state_part(self) -> QWidget:
        """What to do next, and what is running: always in sight."""
        self._status = status_label()
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

    def _prompt_part(self) -> QWidget:
        self._tools = {name: button(text, tip, checkable=True) for name, (text, tip) in _TOOLS.items()}
        self._undo = keyed(
            button("Undo", "Take back the last step: prompt, stroke, propagation, commit …"), "undo"
        )
        self._redo = keyed(button("Redo", "Do again what was taken back last"), "redo")
        self._clear = button("Clear slice", "Remove this object's prompts and mask from the visible slice")
        self._another = button("", "")
        self._segment = keyed(button("Segment", "Segment the slices whose prompts have changed"), "segment")
        part = QGroupBox("Prompt the object")
        grid = QGridLayout(part)
        close_together(grid)
        for number, tool in enumerate(self._tools.values()):
            grid.addWidget(tool, number // _TOOLS_IN_A_ROW, number % _TOOLS_IN_A_ROW)
        grid.addWidget(self._another, 2, 1, 1, 2)
        steps = QHBoxLayout()  # not in the columns above: the long words would not lie below each other
        for step in (self._undo, self._redo, self._clear):
            steps.addWidget(step, stretch=1)
        grid.addLayout(steps, 3, 0, 1, _TOOLS_IN_A_ROW)
        grid.addWidget(self._segment, 4, 0, 1, _TOOLS_IN_A_ROW)
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
        column.setContentsMargins(2, 4, 2, 4)
        column.addWidget(self._objects)
        column.addWidget(self._refine)
        column.addWidget(self._clean_up)
        return part

    def _connect(self) -> None:
        for name, tool in self._tools.items():
            tool.clicked.connect(lambda checked, name=name: self._on_tool_clicked(name, checked))
        for keys, wanted, act in (
            (QKeySequence.StandardKey.Undo, self._undo, self._on_undo_clicked),
            (QKeySequence.StandardKey.Redo, self._redo, self._on_redo_clicked),
        ):
            wanted.clicked.connect(act)
            here = QtWidgets.QShortcut(QKeySequence(keys), self)  # type: ignore[attr-defined]  # in Qt 6 elsewhere
            here.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            here.activated.connect(act)
        self._another.clicked.connect(self._on_another_clicked)
        self._clear.clicked.connect(self._on_clear_clicked)
        self._cancel.clicked.connect(self._session.cancel)
        self._save.clicked.connect(self._on_save_clicked)
        self._help.clicked.connect(self._on_help_clicked)
        self._segment.clicked.connect(self._on_segment_clicked)
        events = self._session.events
        for action in (events.changed, events.tool_changed, events.preview_changed):
            action.connect(self._on_session_changed)
        events.busy_changed.connect(self._on_busy_changed)
        events.progress.connect(self._on_progress)
        events.error.connect(self._on_session_error)
        events.saved.connect(self._on_saved)
        self._session.viewer.dims.events.current_step.connect(self._on_step)
        for fold in (self._image_box, self._more):
            fold.opened.connect(partial(self._column.reveal, fold))
        on_keys_changed(self._show_keys)

    def showEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Show what was added while the dock was closed."""
        self._image_box.refresh_models()
        super().showEvent(event)

    # ------------------------------------------------------------------ from the session

    def _on_session_changed(self) -> None:
        self._error = ""
        self._refresh_state()

    def _on_busy_changed(self, is_busy: bool) -> None:
        if is_busy:
            self._error = ""
            self._bar.setRange(0, 0)
        self._refresh_state()

    def _on_progress(self, done: int, total: int, text: str) -> None:
        self._bar.setRange(0, total)
        self._bar.setValue(done)
        self._bar.setToolTip(text)
        if not self._session.is_only_preparing:  # nobody waits for that
            self._status.setText(text)

    def _on_session_error(self, message: str) -> None:
        """It stays until the user goes on: what runs ends with it, and a notification soon goes."""
        self._error = message
        self._status.setText(message)

    def _on_step(self) -> None:
        """Another slice has other masks to choose from."""
        self._another.setEnabled(self._session.has_candidates)
        if not self._session.is_busy or self._session.is_only_preparing:
            self._show_next_step()

    def _on_saved(self, path: str) -> None:
        show_info(f"Saved: {path}")

    def _refresh_state(self) -> None:
        session = self._session
        can_prompt, chosen = session.can_prompt, session.tool
        for name, tool in self._tools.items():
            tool.setEnabled(can_prompt)
            tool.setChecked(name == chosen)
        self._clear.setEnabled(can_prompt and (session.has_mask or bool(session.prompts.planes)))
        self._undo.setEnabled(session.can_undo)
        self._redo.setEnabled(session.can_redo)
        self._more.refresh()
        self._segment.setVisible(not session.is_live or session.has_unasked_prompts)
        self._segment.setEnabled(session.has_unasked_prompts)
        self._objects.refresh()
        self._refine.refresh()
        self._save.setEnabled(session.has_labels)
        self._session_menu.refresh()
        self._restore_bar.refresh()
        self._propagation.refresh()
        self._bar.setVisible(session.is_busy)
        self._cancel.setVisible(session.is_busy)
        self._another.setEnabled(session.has_candidates)
        self._show_next_step()

    def _show_next_step(self) -> None:
        self._status.setText(self._error or next_step(self._session))

    def _show_keys(self) -> None:
        self._another.setText(with_keys("Another mask", "next_candidate"))
        self._another.setToolTip(
            with_keys(
                "One click may mean the whole, a part, or a part of that: show the next of these masks",
                "next_candidate",
            )
        )

    # ------------------------------------------------------------------ to the session

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

    def _on_another_clicked(self) -> None:
        with told():
            self._session.next_candidate()

    def _on_clear_clicked(self) -> None:
        with told():
            self._session.clear_prompts()

    def _on_help_clicked(self) -> None:
        toggle_help(self._session)

    def _on_segment_clicked(self) -> None:
        with told():
            self._session.segment()

    def _on_save_clicked(self) -> None:
        image = self._session.image
        # Pictures are pictures again, all else a format that knows where the scan lies.
        file = "" if image is None else str(getattr(image.source, "path", None) or "").lower()
        ending = ".png" if file.endswith(_PICTURES) else ".nii.gz"
        name = f"{image.name}_labels{ending}" if image is not None else f"labels{ending}"
        chosen = next(one for one in _LABEL_FILES.split(";;") if f"*{ending}" in one)
        # The dialog asks before an existing file is replaced.
        path, _ = QFileDialog.getSaveFileName(self, "Save labels", name, _LABEL_FILES, chosen)
        if path:
            with told(self._on_session_error):
                self._session.save_labels(path)
