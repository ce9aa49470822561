"""The dock widget `Image series`: a folder, its images and how far they are, on to the next. Only calls its series."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medicosam.ui.controls import ScrollColumn, button, status_label, swatch, told
from napari_medicosam.ui.docks import NarrowAgain
from napari_medicosam.ui.key_map import on_keys_changed, with_keys
from napari_medicosam.ui.series_bar import DONE_NEXT, NEXT, PREVIOUS, TIPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medicosam.io.image_series import SeriesItem
    from napari_medicosam.ui.series import SeriesSession
    from napari_medicosam.ui.series_records import FolderChoice

_NAME, _STATUS = range(2)
_SHOWN_ROWS = 6
_STATUS_MARGIN = 36
"""Pixels beside the longest word: a coloured square and what is around it."""

_LOOKS: dict[str, tuple[str, tuple[float, float, float] | None]] = {
    "todo": ("to do", None),
    "started": ("started", (0.95, 0.65, 0.1)),
    "done": ("done", (0.2, 0.7, 0.3)),
    "unreadable": ("unreadable", (0.85, 0.2, 0.2)),
}
"""How far an image is, in words and as a colour."""

_HINT = "Choose a folder of images and open it."


class FolderField(QWidget):
    """A line for the path of a folder, with a dialog to look for it.

    Args:
        what: is looked for.
        tip: for both of its controls.
        placeholder: what an empty line means.
    """

    def __init__(self, what: str, tip: str, placeholder: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._what = what
        self.edit = QLineEdit()
        self.edit.setToolTip(tip)
        self.edit.setPlaceholderText(placeholder)
        self.browse = button("…", tip)
        self.browse.setMaximumWidth(2 * self.browse.sizeHint().height())
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.edit, stretch=1)
        row.addWidget(self.browse)
        self.browse.clicked.connect(self._on_browse_clicked)

    @property
    def path(self) -> str:
        """What stands in the line; "" when it is empty."""
        return self.edit.text().strip()

    def _on_browse_clicked(self) -> None:
        path = QFileDialog.getExistingDirectory(self, self._what, self.path)
        if path:
            self.edit.setText(path)


class SeriesWidget(QWidget):
    """Everything needed to go through a folder of images.

    Args:
        series: does the work; the widget shows its state and calls its methods, nothing else.
    """

    def __init__(self, *, series: SeriesSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._series = series
        self._shown: tuple[SeriesItem, ...] = ()
        self._choice: FolderChoice | None = None
        self._message = ""
        self._build_ui()
        self._connect()
        NarrowAgain(self)
        self._refresh()

    def _build_ui(self) -> None:
        self._folder = FolderField("Images", "The folder of images, 2D or 3D: NIfTI, NRRD, TIFF, PNG …")
        self._output = FolderField(
            "Folder for labels", "Where labels are saved, as NAME_labels; made if needed", "beside the images"
        )
        self._masks = FolderField(
            "Initial masks",
            "Masks to begin with, each named like its image, also with _mask or _seg",
            "no masks",
        )
        self._pattern = QLineEdit()
        self._pattern.setPlaceholderText("all")
        self._pattern.setToolTip("Which file names count, such as *_ct.nii.gz; empty for all")
        self._open = button(
            "Open series",
            "List the folder and go on where work was saved last; an image that is open is saved, and stays if it is "
            "of this series",
        )
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for text, row in (
            ("Images", self._folder), ("Labels to", self._output), ("Begin with", self._masks),
            ("Names", self._pattern),
        ):  # fmt: skip
            form.addRow(text, row)
        self._bar = QProgressBar()
        self._bar.setToolTip("How many images are marked as done")
        self._skip = QCheckBox("Skip images that are done")
        self._skip.setToolTip("Next passes over images that are marked as done; Previous never does")
        self._previous = button("Previous", TIPS[PREVIOUS])
        self._next = button("Save and next", TIPS[NEXT])
        self._done = button(
            "Mark done", "Save the labels, and mark the image as done, or as not done after all"
        )
        self._done_next = button("Done and next", TIPS[DONE_NEXT])
        buttons = QGridLayout()
        for place, one in enumerate((self._previous, self._next, self._done, self._done_next)):
            buttons.addWidget(one, *divmod(place, 2))
        self._status = status_label()
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        column.addWidget(self._open)
        column.addWidget(self._build_table(), stretch=1)
        column.addWidget(self._bar)
        column.addWidget(self._skip)
        layout = QVBoxLayout(self)
        layout.addWidget(self._status)
        layout.addWidget(ScrollColumn(content), stretch=1)
        layout.addLayout(buttons)

    def _build_table(self) -> QTableWidget:
        self._table = QTableWidget(0, 2)
        self._table.setHorizontalHeaderLabels(("Image", "Status"))
        self._table.setToolTip("Double-click an image to open it; the one that is open is saved first")
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self._table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self._table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._table.setWordWrap(False)
        self._table.setCornerButtonEnabled(False)
        rows: Any = self._table.verticalHeader()
        rows.hide()
        header: Any = self._table.horizontalHeader()
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(_STATUS, QHeaderView.ResizeMode.Fixed)
        words = (self._table.fontMetrics().horizontalAdvance(text) for text, _ in _LOOKS.values())
        header.resizeSection(_STATUS, max(words) + _STATUS_MARGIN)
        self._table.setMinimumHeight(_SHOWN_ROWS * rows.defaultSectionSize())
        return self._table

    def _connect(self) -> None:
        self._open.clicked.connect(self._on_open_clicked)
        self._folder.edit.returnPressed.connect(self._on_open_clicked)
        self._table.cellActivated.connect(self._on_row_activated)
        self._skip.toggled.connect(self._on_skip_toggled)
        self._previous.clicked.connect(self._on_previous_clicked)
        self._next.clicked.connect(self._on_next_clicked)
        self._done.clicked.connect(self._on_done_clicked)
        self._done_next.clicked.connect(self._on_done_next_clicked)
        events = self._series.events
        events.changed.connect(self._on_series_changed)
        events.opened.connect(self._on_opened)
        events.told.connect(self._on_told)
        self._series.session.events.progress.connect(self._on_progress)
        on_keys_changed(self._show_keys)
        self._show_keys()

    def _show_keys(self) -> None:
        for control, name in ((self._previous, PREVIOUS), (self._next, NEXT), (self._done_next, DONE_NEXT)):
            control.setToolTip(with_keys(TIPS[name], name))

    # ------------------------------------------------------------------ from the series

    def _on_series_changed(self) -> None:
        if self._series.is_busy:
            self._message = ""
        self._refresh()

    def _on_opened(self, name: str) -> None:
        self._refresh()

    def _on_told(self, message: str) -> None:
        self._message = message
        self._refresh()

    def _on_progress(self, _done: int, _total: int, text: str) -> None:
        if self._series.is_busy:
            self._status.setText(_breakable(text))

    def _refresh(self) -> None:
        series = self._series
        self._fill_fields()
        self._fill_table()
        progress = series.progress
        self._bar.setRange(0, max(progress.total, 1))
        self._bar.setValue(progress.done)
        self._bar.setFormat(str(progress) if progress.total else "")
        self._skip.setChecked(series.skip_done)
        item, is_free = series.item, not series.is_busy
        self._open.setEnabled(is_free)
        self._previous.setEnabled(is_free and item is not None and item != series.items[0])
        self._next.setEnabled(is_free and bool(series.items))
        self._done.setEnabled(is_free and item is not None)
        self._done_next.setEnabled(is_free and item is not None)
        self._done.setText("Mark done" if item is None or series.status(item) != "done" else "Not done")
        text = f"{item.name} is open." if item is not None else (_HINT if not series.items else series.report)
        self._status.setText(_breakable(series.activity or self._message or text))

    def _fill_fields(self) -> None:
        """What was opened, here or by a script, stands in the fields; what is typed since stays."""
        choice = self._series.choice
        if choice is self._choice or choice is None:
            return
        self._choice = choice
        for field, path in (
            (self._folder, choice.folder), (self._output, choice.output), (self._masks, choice.initial_masks),
        ):  # fmt: skip
            field.edit.setText("" if path is None else str(path))
        self._pattern.setText("" if choice.pattern == "*" else choice.pattern)

    def _fill_table(self) -> None:
        """Rows follow the series; only what is new is written: there may be thousands."""
        series = self._series
        if series.items is not self._shown:
            self._shown = series.items
            self._table.setRowCount(len(self._shown))
            for row, item in enumerate(self._shown):
                name = QTableWidgetItem(item.name)
                begins = "" if item.initial_path is None else f"\nBegins with {item.initial_path.name}"
                name.setToolTip(f"{item.name}{begins}\nDouble-click to open it")
                self._table.setItem(row, _NAME, name)
                self._table.setItem(row, _STATUS, QTableWidgetItem())
        for row, item in enumerate(self._shown):
            self._show_status(row, item)
        if series.item is not None and series.item in self._shown:
            row = self._shown.index(series.item)
            if row != self._table.currentRow():
                self._table.setCurrentCell(row, _NAME)
        else:
            self._table.setCurrentCell(-1, -1)

    def _show_status(self, row: int, item: SeriesItem) -> None:
        reason = self._series.why_unreadable(item)
        text, colour = _LOOKS["unreadable" if reason else self._series.status(item)]
        cell: Any = self._table.item(row, _STATUS)
        if cell.text() != text:
            cell.setText(text)
            cell.setToolTip(reason or f"{item.name}: {text}")
            cell.setData(Qt.ItemDataRole.DecorationRole, None if colour is None else swatch(colour))

    # ------------------------------------------------------------------ to the series

    def _call(self, method: Callable[[], None]) -> None:
        with told():
            method()
        self._refresh()

    def _on_open_clicked(self) -> None:
        if not self._folder.path:
            self._on_told(_HINT)
            return
        output, masks = self._output.path or None, self._masks.path or None
        pattern = self._pattern.text().strip() or "*"
        self._call(partial(self._series.open_folder, self._folder.path, output, masks, pattern))

    def _on_row_activated(self, row: int, _column: int) -> None:
        self._call(partial(self._series.go_to, row))

    def _on_skip_toggled(self, is_ticked: bool) -> None:
        self._series.skip_done = is_ticked

    def _on_previous_clicked(self) -> None:
        self._call(self._series.previous)

    def _on_next_clicked(self) -> None:
        self._call(self._series.next)

    def _on_done_next_clicked(self) -> None:
        self._call(partial(self._series.mark_done, go_on=True))

    def _on_done_clicked(self) -> None:
        item = self._series.item
        is_done = item is not None and self._series.status(item) == "done"
        self._call(self._series.mark_not_done if is_done else self._series.mark_done)


def _breakable(text: str) -> str:
    """Long names and paths can be wrapped where they have a mark, so that they do not widen the dock."""
    return re.sub(r"([_/\\.-])(?=\w)", "\\1\u200b", text)
