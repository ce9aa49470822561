"""The entry points of the manifest, and the one session of each viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QCoreApplication, QEvent, QObject

from napari_medicosam.ui.keys import register_keys
from napari_medicosam.ui.segment_widget import SegmentWidget
from napari_medicosam.ui.session import AnnotationSession

if TYPE_CHECKING:
    import napari.viewer

_SESSIONS: WeakKeyDictionary[Any, AnnotationSession] = WeakKeyDictionary()


class _CloseWatcher(QObject):
    """Closes a session when its window is closed."""

    def __init__(self, window: QObject, session: AnnotationSession) -> None:
        super().__init__(window)
        self._session: AnnotationSession | None = session
        window.installEventFilter(self)
        application: Any = QCoreApplication.instance()
        application.aboutToQuit.connect(self._close)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802  Qt's name
        """A click on the window's button may still be taken back in a dialog; then nothing is hidden."""
        if event.type() in (QEvent.Type.Close, QEvent.Type.Hide) and not event.spontaneous():
            self._close()
        return False

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            _SESSIONS.pop(session.viewer, None)
            session.close()


def session(viewer: napari.viewer.Viewer) -> AnnotationSession:
    """The session of a viewer, made on first use and closed with its window."""
    viewer = getattr(viewer, "__wrapped__", viewer)  # plugins are given a proxy
    known = _SESSIONS.get(viewer)
    if known is None:
        known = AnnotationSession(viewer)
        adopt(known)
    return known


def adopt(made: AnnotationSession) -> None:
    """Make a session, with a runner or engine of the caller's own, the one of its viewer."""
    if made.viewer in _SESSIONS:
        raise ValueError("this viewer has a session already")
    _SESSIONS[made.viewer] = made
    register_keys(_SESSIONS.get)
    _CloseWatcher(made.viewer.window._qt_window, made)


class SegmentDock(SegmentWidget):
    """The dock widget `Segment`, as napari makes it: it gives its viewer only to classes."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(session=session(napari_viewer))
