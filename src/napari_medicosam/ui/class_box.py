"""The part of the dock widget that says of which class the current object is, and reads classes from a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QGridLayout, QHBoxLayout, QLabel, QWidget

from napari_medicosam.core.commit_policy import CommitPolicy
from napari_medicosam.ui.controls import button, combo, swatch, told

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

_NO_CLASS = "none"
_FILES = "Label classes (*.json *.csv *.tsv *.txt *.label *.ctbl);;All files (*)"
_BY_NUMBER = re.compile(r"object \d+")
_KEEP, _OVERWRITE, _INSIDE, _OUTSIDE = "keep others", "overwrite unlocked", "only inside", "only outside"
_TIPS = {
    _KEEP: "An object takes no voxel of another one",
    _OVERWRITE: "An object takes voxels of others that are not locked",
    _INSIDE: "An object takes voxels of this class only (a tumour in its organ)",
    _OUTSIDE: "An object takes no voxel of this class",
}


class ClassBox(QWidget):
    """Class of the current object, and what it may take of others.

    Args:
        session: the box shows its state and calls its methods, nothing else.

    Attributes:
        overlap: the policy and the lock of a class, to be placed by who makes the box.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._class = combo("What the object is; classes are read from a file")
        self._load = button("Classes …", "Read classes from JSON, CSV, an ITK-SNAP or a 3D Slicer file")
        self._lock = button(
            "Lock class", "Lock all objects of this class, later ones as they are committed", checkable=True
        )
        self._policy = combo("What the object may take where it meets others")
        self._policy.setMinimumWidth(0)  # rather a line of its own than "keep o…"
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(QLabel("Class"), 0, 0)
        grid.addWidget(self._class, 0, 1)
        grid.addWidget(self._load, 0, 2)
        self._class.setAccessibleName("Class")
        self._policy.setAccessibleName("Overlap")
        self.overlap = QWidget()
        row = QHBoxLayout(self.overlap)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self._policy, stretch=1)
        row.addWidget(self._lock)
        self._class.activated.connect(self._on_class_activated)
        self._load.clicked.connect(self._on_load_clicked)
        self._lock.clicked.connect(self._on_lock_clicked)
        self._policy.activated.connect(self._on_policy_activated)

    def refresh(self) -> None:
        """Follow the session."""
        session = self._session
        self._fill_classes()
        self._fill_policies()
        record = session.record
        class_id = None if record is None else record.class_id
        self._class.setCurrentIndex(max(self._class.findData(class_id), 0))
        self._class.setEnabled(record is not None and len(session.classes) > 0)
        self._policy.setEnabled(record is not None)
        self._lock.setEnabled(class_id is not None)
        self._lock.setChecked(class_id in session.locked_classes)

    def _fill_classes(self) -> None:
        wanted = [(None, _NO_CLASS), *((one.class_id, one.name) for one in self._session.classes)]
        box = self._class
        if [(box.itemData(i), box.itemText(i)) for i in range(box.count())] == wanted:
            return
        box.clear()
        box.addItem(_NO_CLASS, None)
        for one in self._session.classes:
            box.addItem(swatch(one.colour_rgba), one.name, one.class_id)

    def _fill_policies(self) -> None:
        wanted = [(_KEEP, CommitPolicy()), (_OVERWRITE, CommitPolicy(overwrite=True))]
        used = {record.class_id for record in self._session.objects}
        for one in self._session.classes:
            if one.class_id in used:
                wanted.append((f"{_INSIDE} {one.name}", CommitPolicy(inside_class=one.class_id)))
                wanted.append((f"{_OUTSIDE} {one.name}", CommitPolicy(outside_class=one.class_id)))
        box = self._policy
        if [(box.itemText(i), box.itemData(i)) for i in range(box.count())] != wanted:
            box.clear()
            for text, policy in wanted:
                box.addItem(text, policy)
                tip = next(tip for begin, tip in _TIPS.items() if text.startswith(begin))
                box.setItemData(box.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        if self._session.objects:
            policies = [policy for _, policy in wanted]
            policy = self._session.commit_policy
            box.setCurrentIndex(policies.index(policy) if policy in policies else -1)

    def _on_class_activated(self, index: int) -> None:
        session, record = self._session, self._session.record
        if record is None:
            return
        object_id, class_id = record.object_id, self._class.itemData(index)
        fields: dict[str, Any] = {"class_id": class_id}
        # A name that nobody has chosen.
        if _BY_NUMBER.fullmatch(record.name) or record.name == session.class_name(record.class_id):
            fields["name"] = session.class_name(class_id) or f"object {object_id}"
        with told():
            session.change_object(object_id, **fields)
        self.refresh()

    def _on_load_clicked(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Label classes", "", _FILES)
        if path:
            with told():
                self._session.load_classes(path)

    def _on_lock_clicked(self, checked: bool) -> None:
        with told():
            self._session.lock_class(self._class.currentData(), checked)
        self.refresh()

    def _on_policy_activated(self, index: int) -> None:
        with told():
            self._session.commit_policy = self._policy.itemData(index)
