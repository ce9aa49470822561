"""The button whose menu saves and opens sessions, and the bar that offers what a crash left behind."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QFileDialog,
    QMenu,
    QMessageBox,
    QPushButton,
    QWidget,
)

from napari_medicosam.ui.controls import NoticeBar, button, told

if TYPE_CHECKING:
    from napari_medicosam.ui.session import AnnotationSession

_SAVED = "Session (*.zip)"
_OPENED = "Session (*.zip session.json)"
_OPEN_HELP = "Go on with a session; open its image first, unless the session knows where that lies"
_KEEP_PATHS_HELP = (
    "Write into the session where the image's file lies, to open it by itself next time. "
    "File names can hold names of patients"
)


class SessionButton(QPushButton):
    """A button with a menu: the whole session to a file, and back.

    Args:
        session: to be saved.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        super().__init__("Session", parent)
        self._session = session
        self.setToolTip("Save objects, prompts and settings to go on later, or open what was saved")
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self._save = _entry(
            menu, "Save session …", "Write masks, prompts, classes and settings into one file"
        )
        self._save.triggered.connect(self._on_save_triggered)
        _entry(menu, "Open session …", _OPEN_HELP).triggered.connect(self._on_open_triggered)
        menu.addSeparator()
        self._keep_paths = _entry(menu, "Remember the image's file", _KEEP_PATHS_HELP)
        self._keep_paths.setCheckable(True)
        self.setMenu(menu)

    def refresh(self) -> None:
        """Offer what makes sense now."""
        self._save.setEnabled(self._session.has_labels)

    def _on_save_triggered(self) -> None:
        image = self._session.image
        name = "session.zip" if image is None else f"{image.name}_session.zip"
        # The dialog asks before an existing file is replaced.
        path, _ = QFileDialog.getSaveFileName(self, "Save session", name, _SAVED)
        if path:
            with told():
                self._session.save(path, keep_paths=self._keep_paths.isChecked())

    def _on_open_triggered(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open session", "", _OPENED)
        if path and may_replace(self, self._session):
            with told():
                self._session.load(path, overwrite=True)


class RestoreBar(NoticeBar):
    """Offers to restore what an earlier session on the image left; not there when it left nothing.

    Args:
        session: of the image.
    """

    def __init__(self, *, session: AnnotationSession, parent: QWidget | None = None) -> None:
        restore = button("Restore", "Go on where that session ended")
        discard = button("Discard …", "Delete what that session left")
        super().__init__(restore, discard, parent=parent)
        self._session, self._restore, self._discard = session, restore, discard
        self._restore.clicked.connect(self._on_restore_clicked)
        self._discard.clicked.connect(self._on_discard_clicked)
        self.refresh()

    def refresh(self) -> None:
        """Show what there is to restore."""
        found = self._session.restorable()
        when = datetime.fromtimestamp(found[0].written) if found else None
        self.say("" if when is None else f"Work on this image of {when:%Y-%m-%d %H:%M} was not saved.")

    def _on_restore_clicked(self) -> None:
        if may_replace(self, self._session):
            with told():
                self._session.restore(overwrite=True)

    def _on_discard_clicked(self) -> None:
        if _is_sure(self, "Discard", "Delete the work that was not saved? It cannot be restored any more."):
            with told():
                self._session.forget_restorable()


def may_replace(parent: QWidget, session: AnnotationSession) -> bool:
    """True where nothing would be lost, or the user says so."""
    return session.is_untouched or _is_sure(
        parent, "Replace", "Replace the objects that are on this image now? This cannot be undone."
    )


def _entry(menu: QMenu, text: str, tip: str) -> Any:
    made: Any = menu.addAction(text)
    made.setToolTip(tip)
    return made


def _is_sure(parent: QWidget, title: str, question: str) -> bool:
    answer = QMessageBox.question(
        parent,
        title,
        question,
        QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.Cancel,
        QMessageBox.StandardButton.Cancel,
    )
    return bool(answer == QMessageBox.StandardButton.Yes)
