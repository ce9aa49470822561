"""The part of the dock widget that lists the objects: choose, name, lock, commit and delete them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QGridLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medicosam.ui.class_box import ClassBox
from napari_medicosam.ui.controls import TICKED_SWATCH, button, keyed, millilitres, swatch, told
from napari_medicosam.ui.review_strip import ReviewStrip

if TYPE_CHECKING:
    from napari_medicosam.core.object_table import ObjectRecord
    from napari_medicosam.ui.session import AnnotationSession

_NAME, _SIZE, _SHOWN, _LOCKED, _CLASS, _LONGEST, _SLICES, _STATE = range(8)
_HEADINGS = ("Object", "Size", "Show", "Lock", "Class", "Longest", "Slices", "State")
_ORDER = (_NAME, _CLASS, _SIZE, _LONGEST, _SLICES, _STATE, _SHOWN, _LOCKED)
"""From left to right."""
_NEEDS_WIDTH = {_SIZE: 270, _LONGEST: 380, _SLICES: 440, _STATE: 500, _CLASS: 580}
"""Of the table, in pixels: in a narrow dock these are in the tooltip of the name."""
_SHOWN_ROWS = 5
_GROWING_MS = 700
_TICK_STYLE = "QTableWidget::indicator:unchecked { border: 1px solid #8a8d93; border-radius: 2px; }"
"""Else an empty box can hardly be seen on a dark ground."""


class ObjectList(QWidget):
    """A table of the session's objects, and what can be done with the current one.

    Args:
        session: its objects are shown; the list calls its methods, nothing else.

    Attributes:
        review: the strip of the current object's slices, under the table.
        overlap: what objects may take of others, and the lock of a class: placed by who makes the list.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._is_filling = False
        self._shown: Any = None
        self._build_ui()
        self._connect()

    def _build_ui(self) -> None:
        self._table = _Table(0, len(_HEADINGS))
        self._table.setHorizontalHeaderLabels(_HEADINGS)
        self._table.setStyleSheet(_TICK_STYLE)
        self._table.setIconSize(TICKED_SWATCH)
        self._table.setTabKeyNavigation(False)  # Tab goes on to what is below
        self._table.setAccessibleName("Objects")
        self._table.setToolTip("Click an object to go back to it, double-click its name to change it")
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        corner: Any = self._table.findChild(QAbstractButton)
        corner.setToolTip(self._table.toolTip())
        rows: Any = self._table.verticalHeader()
        rows.hide()
        header: Any = self._table.horizontalHeader()
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        for column in _ORDER[1:]:
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        for place, column in enumerate(_ORDER):
            header.moveSection(header.visualIndex(column), place)
        self._show_rows()
        self._new = keyed(button("New", "Commit this object and begin another one"), "new_object")
        self._commit = keyed(
            button("Commit", "Put this object among the finished ones; a prompt opens it again"), "commit"
        )
        self._delete = button("Delete", "Remove this object with its prompts and mask")
        self._classes = ClassBox(session=self._session)
        self.overlap = self._classes.overlap
        self.review = ReviewStrip(session=self._session, parent=self)
        buttons = QGridLayout()
        buttons.setSpacing(4)
        for column, one in enumerate((self._new, self._commit, self._delete)):
            buttons.addWidget(one, 0, column)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._table)
        layout.addWidget(self.review)
        layout.addLayout(buttons)
        layout.addWidget(self._classes)

    def _connect(self) -> None:
        self._table.currentCellChanged.connect(self._on_row_chosen)
        self._table.cellClicked.connect(self._on_cell_clicked)
        self._table.itemChanged.connect(self._on_item_changed)
        delegate: Any = self._table.itemDelegate()
        delegate.closeEditor.connect(self._show_again)
        self._new.clicked.connect(self._on_new_clicked)
        self._commit.clicked.connect(self._on_commit_clicked)
        self._delete.clicked.connect(self._on_delete_clicked)
        self._session.events.sizes_changed.connect(self._show_again)
        self._growing = QTimer(self)
        self._growing.setSingleShot(True)
        self._growing.setInterval(_GROWING_MS)
        self._growing.timeout.connect(self.refresh)
        self._session.events.mask_changed.connect(self._on_mask_changed)

    def resizeEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """A wide list says more."""
        super().resizeEvent(event)
        self._choose_columns()

    def changeEvent(self, event: Any) -> None:  # noqa: N802  Qt's name
        """Larger letters need higher rows."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange) and hasattr(self, "_table"):
            rows: Any = self._table.verticalHeader()
            rows.resetDefaultSectionSize()
            self._show_rows()

    def _choose_columns(self) -> None:
        for column, width in _NEEDS_WIDTH.items():
            self._table.setColumnHidden(column, self.width() < width)

    def _show_rows(self) -> None:
        """As high as its objects, up to some: what is below shall be in sight, too."""
        rows: Any = self._table.verticalHeader()
        header: Any = self._table.horizontalHeader()
        num_rows = min(max(self._table.rowCount(), 1), _SHOWN_ROWS)
        around = 2 * self._table.frameWidth()
        self._table.setFixedHeight(num_rows * rows.defaultSectionSize() + header.sizeHint().height() + around)

    def refresh(self) -> None:
        """Follow the session."""
        session = self._session
        objects = session.objects
        current = session.object_id if objects else 0
        record = session.record
        colours = tuple(session.colour_of(known.object_id) for known in objects)
        shown = (objects, current, session.num_open_voxels, session.voxel_volume_mm3, colours)
        if shown != self._shown and not self._table.is_editing:
            self._shown = shown
            self._is_filling = True
            self._table.setRowCount(len(objects))
            self._show_rows()
            for row, known in enumerate(objects):
                self._fill(row, known)
            if record is not None:
                self._table.setCurrentCell(objects.index(record), _NAME)
            self._is_filling = False
        is_locked, is_empty = record is not None and record.is_locked, session.is_object_empty
        self._new.setEnabled(not is_empty)
        self._commit.setEnabled(session.num_open_voxels > 0)
        self._delete.setEnabled(record is not None and not is_locked and (not is_empty or len(objects) > 1))
        self._classes.refresh()

    def _fill(self, row: int, record: ObjectRecord) -> None:
        said = {
            _NAME: record.name,
            _SIZE: self._size(record),
            _CLASS: self._session.class_name(record.class_id),
            _STATE: self._state(record),
        }
        size = self._session.size_of(record.object_id)
        if size is not None:
            longest = f"{size.longest_mm:.1f} {self._session.length_unit}".rstrip()
            said |= {_LONGEST: longest, _SLICES: str(size.num_slices)}
        # Those that are there are kept: a name may be about to be edited.
        if self._table.item(row, _NAME) is None:
            for column in _ORDER:
                self._table.setItem(row, column, _new_item(column))
        for column in _ORDER:
            item: Any = self._table.item(row, column)
            if column in (_SHOWN, _LOCKED):
                is_ticked = record.is_visible if column == _SHOWN else record.is_locked
                item.setCheckState(Qt.CheckState.Checked if is_ticked else Qt.CheckState.Unchecked)
            else:
                item.setText(said.get(column, "–"))
        name: Any = self._table.item(row, _NAME)
        name.setData(Qt.ItemDataRole.UserRole, record.object_id)
        name.setToolTip("\n".join(f"{_HEADINGS[one]}: {said[one] or '–'}" for one in _ORDER if one in said))
        name.setIcon(swatch(self._session.colour_of(record.object_id), is_ticked=record.is_committed))
        font = name.font()
        font.setBold(record.object_id == self._session.object_id)
        name.setFont(font)

    def _state(self, record: ObjectRecord) -> str:
        if record.is_locked:
            return "locked"
        if record.is_committed:
            return "committed"
        return "open" if record.object_id == self._session.object_id else "empty"

    def _size(self, record: ObjectRecord) -> str:
        is_open = record.object_id == self._session.object_id and not record.is_committed
        count = self._session.num_open_voxels if is_open else record.num_voxels
        if not count:
            return "–"
        volume = self._session.voxel_volume_mm3
        return f"{count} px" if volume is None else millilitres(count * volume)

    def _on_row_chosen(self, row: int, column: int, before: int, _before_column: int) -> None:
        if self._is_filling or row < 0 or row == before:
            return
        with told():
            self._session.select(self._object_id(row))
            if column not in (_SHOWN, _LOCKED):
                self._session.go_to_object()
        self._show_again()

    def _on_cell_clicked(self, row: int, column: int) -> None:
        """The current object is gone back to as well, where it is committed."""
        record = self._session.record
        is_back = record is not None and record.is_committed and record.object_id == self._object_id(row)
        if not is_back or column in (_SHOWN, _LOCKED):
            return
        with told():
            self._session.select(self._object_id(row))
            self._session.go_to_object()

    def _on_item_changed(self, item: QTableWidgetItem) -> None:
        if self._is_filling:
            return
        object_id = self._object_id(item.row())
        with told():
            if item.column() == _NAME:
                self._session.change_object(object_id, name=item.text().strip())
            elif item.column() in (_SHOWN, _LOCKED):
                field = "is_visible" if item.column() == _SHOWN else "is_locked"
                is_ticked = item.checkState() == Qt.CheckState.Checked
                self._session.change_object(object_id, **{field: is_ticked})
        self._show_again()

    def _show_again(self) -> None:
        """Show what the session has, whether or not it took what the user wanted."""
        self._shown = None
        self.refresh()

    def _on_mask_changed(self) -> None:
        """Its size grows while it is propagated; not to be looked at with every slice."""
        if not self._growing.isActive():
            self._growing.start()

    def _object_id(self, row: int) -> int:
        item: Any = self._table.item(row, _NAME)
        return int(item.data(Qt.ItemDataRole.UserRole))

    def _on_new_clicked(self) -> None:
        with told():
            self._session.new_object()

    def _on_commit_clicked(self) -> None:
        with told():
            self._session.commit()

    def _on_delete_clicked(self) -> None:
        with told():
            self._session.delete_object()


class _Table(QTableWidget):
    """A table that says when something is being typed into it, which would be lost if anything in its cell were set."""

    @property
    def is_editing(self) -> bool:
        """True while an editor is open."""
        return bool(self.state() == QAbstractItemView.State.EditingState)


def _new_item(column: int) -> QTableWidgetItem:
    """An empty cell of a column."""
    item, flags = QTableWidgetItem(), Qt.ItemFlag
    if column in (_SHOWN, _LOCKED):
        item.setFlags(flags.ItemIsEnabled | flags.ItemIsUserCheckable)
        item.setToolTip(
            "Show the object, or hide it"
            if column == _SHOWN
            else "Nothing changes a locked object, the brush included"
        )
    elif column != _NAME:
        item.setFlags(flags.ItemIsEnabled | flags.ItemIsSelectable)
    if column in (_SIZE, _LONGEST, _SLICES):
        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item
