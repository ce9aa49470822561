"""The entry points of the manifest, and the one session of each viewer."""

from __future__ import annotations

import atexit
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari import Viewer
from qtpy.QtCore import QCoreApplication, QEvent, QObject

from napari_medicosam.errors import InputError
from napari_medicosam.io.session_journal import journals_folder
from napari_medicosam.ui.controls import told
from napari_medicosam.ui.docks import TabsOnShow
from napari_medicosam.ui.keys import register_keys
from napari_medicosam.ui.segment_widget import SegmentWidget
from napari_medicosam.ui.series import SeriesSession
from napari_medicosam.ui.series_widget import SeriesWidget
from napari_medicosam.ui.session import AnnotationSession
from napari_medicosam.ui.vispy_programs import (
    draw_no_empty_texts,
    keep_programs_of_meshes,
    let_go_of_deleted_programs,
)

if TYPE_CHECKING:
    import napari.viewer

    from napari_medicosam.ui.laying import Where

_SESSIONS: WeakKeyDictionary[Any, AnnotationSession] = WeakKeyDictionary()


@atexit.register
def _close_all() -> None:
    """A script may end with its windows open: Qt hides them when its timers are gone already.

    The windows are deleted here, too. PyQt does that last of all on a walk over its table of objects, and crashes when
    the signals of so many widgets make it build a new table on the way.
    """
    for known in list(_SESSIONS.values()):
        _end(known)
        with suppress(RuntimeError):  # the window is gone
            known.viewer.close()
    if QCoreApplication.instance() is not None:
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def _end(session: AnnotationSession) -> None:
    if session.is_closed:
        return
    session.close()
    if _SESSIONS.get(session.viewer) is session:
        del _SESSIONS[session.viewer]
    if session.series is not None:
        session.series.close()


class _CloseWatcher(QObject):
    """Closes a session when its window is closed."""

    def __init__(self, window: QObject, session: AnnotationSession) -> None:
        super().__init__(window)
        self._session = weakref.ref(session)
        window.installEventFilter(self)
        application: Any = QCoreApplication.instance()
        application.aboutToQuit.connect(self._close)

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802  Qt's name
        """A click on the window's button may still be taken back in a dialog; then nothing is hidden."""
        if event.type() in (QEvent.Type.Close, QEvent.Type.Hide) and not event.spontaneous():
            self._close()
        return False

    def _close(self) -> None:
        session = self._session()
        if session is not None:
            _end(session)


def session(viewer: napari.viewer.Viewer) -> AnnotationSession:
    """The session of a viewer, made on first use and closed with its window.

    Raises:
        InputError: for anything but a viewer with a window.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)  # plugins are given a proxy
    if not isinstance(viewer, Viewer):
        raise InputError(f"wanted a napari.Viewer, got {type(viewer).__name__}")
    known = _SESSIONS.get(viewer)
    if known is None or known.is_closed:
        known = AnnotationSession(viewer, journals=journals_folder())
        adopt(known)
    return known


def adopt(made: AnnotationSession) -> None:
    """Make a session, with a runner or engine of the caller's own, the one of its viewer."""
    known = _SESSIONS.get(made.viewer)
    if known is not None and not known.is_closed:
        raise ValueError("this viewer has a session already")
    if known is not None and known.series is not None:
        known.series.close()
    _SESSIONS[made.viewer] = made
    register_keys(_SESSIONS.get)
    let_go_of_deleted_programs()
    keep_programs_of_meshes()
    draw_no_empty_texts()
    _CloseWatcher(made.viewer.window._qt_window, made)


class SegmentDock(SegmentWidget):
    """The dock widget `Segment`, as napari makes it: it gives its viewer only to classes."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(session=session(napari_viewer))
        TabsOnShow(self)


def lay_in_world(viewer: Viewer) -> None:
    """The command `Lay in the Patient's World`, for all selected layers."""
    _lay_selected(viewer, "world")


def lay_along_axes(viewer: Viewer) -> None:
    """The command `Lay along Its Own Axes`, for all selected layers."""
    _lay_selected(viewer, "own")


def lay_as_opened(viewer: Viewer) -> None:
    """The command `Lay as It Was Opened`, for all selected layers."""
    _lay_selected(viewer, "opened")


def _lay_selected(viewer: Viewer, where: Where) -> None:
    of_viewer = session(viewer)
    for layer in list(viewer.layers.selection):
        with told():
            of_viewer.lay(where, layer)


def series(viewer: napari.viewer.Viewer) -> SeriesSession:
    """The image series of a viewer, made on first use; it saves before the window is closed."""
    annotation = session(viewer)
    return SeriesSession(annotation) if annotation.series is None else annotation.series


class SeriesDock(SeriesWidget):
    """The dock widget `Image series`, as napari makes it."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__(series=series(napari_viewer))
        TabsOnShow(self)
