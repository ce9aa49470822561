"""Methods of a session for classes: what objects are called by, coloured by and locked by."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info

from napari_medicosam.core.arguments import file_path, whole_number, yes_or_no
from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.errors import InputError
from napari_medicosam.ui import committing
from napari_medicosam.ui.file_tasks import read_classes
from napari_medicosam.ui.session_base import SessionBase

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medicosam.io.label_class_files import LabelClassFile


class ClassMethods(SessionBase):
    """Classes of all images of the viewer."""

    def set_classes(self, classes: LabelClasses) -> None:
        """Know these classes, of any image: their names for new objects, their colours for all of them."""
        if not isinstance(classes, LabelClasses):
            raise InputError(f"wanted LabelClasses, got {classes!r}")
        self.classes = classes
        self._show_colours()
        self.events.changed.emit()

    def load_classes(self, path: str | Path) -> None:
        """Read classes from a file (docs/label_classes.md), on the worker; `events.changed` says when."""
        task = partial(read_classes, file_path(path))
        self._runner.submit(lambda report: task(), self._on_classes_read, key="classes")

    @property
    def locked_classes(self) -> frozenset[int]:
        """Classes whose objects nothing changes (`lock_class`)."""
        return frozenset() if self._annotation is None else self._annotation.table.locked_classes

    def lock_class(self, class_id: int, is_locked: bool = True) -> None:
        """Lock the committed objects of a class, and later ones as they are committed; or unlock them. A step to undo.

        One of them that is being edited is committed.

        Raises:
            InputError: when it cannot be committed.
        """
        annotation, class_id = self._wanted(), whole_number(class_id, "the id of a class")
        is_locked = yes_or_no(is_locked, "is_locked")
        record = annotation.table.record
        with annotation.step("lock class") as step:
            if is_locked and record.class_id == class_id and annotation.num_open_voxels:
                annotation.edited.look_everywhere()
                committing.commit(annotation, step)
            ids = {
                one.object_id
                for known in annotation.times
                for one in known.table.records.values()
                if one.class_id == class_id and (one.is_committed or one.is_locked)
            }
            annotation.table = annotation.table.with_class_locked(class_id, ids, is_locked=is_locked)
        if annotation.object_layer is not None:
            self._layers.refresh()
        self.events.changed.emit()

    def _on_classes_read(self, read: LabelClassFile) -> None:
        for skipped in read.skipped:
            show_info(skipped)
        self.set_classes(read.classes)
        show_info(f"{len(read.classes)} classes were read: choose that of an object in the box Class")
