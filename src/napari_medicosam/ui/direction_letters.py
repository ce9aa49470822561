"""Letters at the edges of the image that say where in the patient they are: right, left, front, back, head, feet."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, QPoint, Qt
from qtpy.QtWidgets import QLabel

from napari_medicosam.core.layer_frame import patient_letters
from napari_medicosam.io.records import record_of
from napari_medicosam.ui.laying import drawn_place_of
from napari_medicosam.ui.orientation import camera_of, orientation_of, shown_axes

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image
    from psygnal import SignalInstance
    from qtpy.QtWidgets import QWidget

    from napari_medicosam.ui.shown_slice import ShownSlice

_MARGIN = 6
_STYLE = (
    "QLabel { background: rgba(0, 0, 0, 130); color: #e8e8e8; border-radius: 3px; padding: 1px 5px; "
    "font-weight: bold; }"
)
"""Light on dark, whatever the theme: scans are mostly dark at their edges, X-rays and figures may be bright."""

Letters = tuple[str, str, str, str]
_NOWHERE: Letters = ("", "", "", "")


class DirectionLetters(QObject):
    """Keeps them at the edges of the canvas of one viewer; none where nobody knows how the patient lies.

    Args:
        viewer: with a window.
        shown: which of its images is annotated.
        changed: told when that may be another one.
    """

    def __init__(self, viewer: Viewer, shown: ShownSlice, changed: SignalInstance) -> None:
        super().__init__()
        self._viewer, self._shown = viewer, shown
        self._canvas = _canvas_of(viewer)
        self._labels = [QLabel(self._canvas) for _ in _NOWHERE]
        for one in self._labels:
            one.setObjectName("medicosam_direction")
            one.setStyleSheet(_STYLE)
            one.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            one.hide()
        self._canvas.installEventFilter(self)
        camera, grid = camera_of(viewer), _grid_of(viewer)
        dims: Any = viewer.dims
        self._events: list[Any] = [dims.events.order, dims.events.ndisplay, grid.events.enabled, changed]
        if hasattr(camera, "orientation2d"):
            self._events.append(camera.events.orientation)
        for event in self._events:
            event.connect(self.refresh)

    def close(self) -> None:
        """Let go of the viewer, whose canvas may be gone already with all that lay on it."""
        for event in self._events:
            event.disconnect(self.refresh)
        with suppress(RuntimeError):
            self._canvas.removeEventFilter(self)
            for one in self._labels:
                one.hide()
                one.deleteLater()

    @property
    def letters(self) -> Letters:
        """What is shown at the top, on the right, at the bottom and on the left; "" where nothing is."""
        top, right, bottom, left = (one.text() for one in self._labels)
        return top, right, bottom, left

    def refresh(self) -> None:
        """Show those of the slices that are shown."""
        annotation = self._shown.annotation
        letters = _NOWHERE if annotation is None else letters_of(self._viewer, annotation.image)
        if letters == self.letters:
            return
        for one, text in zip(self._labels, letters, strict=True):
            one.setText(text)
            one.adjustSize()
            one.setVisible(bool(text))
        self._lay_out()

    def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: N802  Qt's name
        """The canvas has another size."""
        if event.type() == QEvent.Type.Resize:
            self._lay_out()
        return super().eventFilter(watched, event)

    def _lay_out(self) -> None:
        area = self._canvas.rect()
        for number, one in enumerate(self._labels):
            x, y = (area.width() - one.width()) // 2, (area.height() - one.height()) // 2
            if number % 2:
                x = area.width() - one.width() - _MARGIN if number == 1 else _MARGIN
            else:
                y = _MARGIN if number == 0 else area.height() - one.height() - _MARGIN
            one.move(QPoint(x, y))


def letters_of(viewer: Viewer, image: Image) -> Letters:
    """Where the top, the right, the bottom and the left of a viewer's canvas are in the patient.

    "" in 3D, in grid mode, and where the image's file does not say how the patient lies.
    """
    record = record_of(image.metadata)
    is_plain = viewer.dims.ndisplay == 2 and not _grid_of(viewer).enabled
    if record is None or not record.is_oriented or image.ndim < 3 or not is_plain:
        return _NOWHERE
    row, column = shown_axes(viewer)
    place = None if min(row, column) < 0 else drawn_place_of(viewer, image)
    if place is None:
        return _NOWHERE
    up, right = orientation_of(camera_of(viewer))
    upward, rightward = np.zeros(3), np.zeros(3)
    upward[row] = 1 if up == "up" else -1
    rightward[column] = 1 if right == "right" else -1
    top, right_side, bottom, left = (
        patient_letters(record.geometry, place[-4:-1, -4:-1], toward)
        for toward in (upward, rightward, -upward, -rightward)
    )
    return top, right_side, bottom, left


def _grid_of(viewer: Any) -> Any:
    """The grid mode of a viewer; napari 0.9 moved it."""
    return getattr(viewer, "canvas", viewer).grid


def _canvas_of(viewer: Viewer) -> QWidget:
    """The widget that the viewer draws in."""
    canvas: QWidget = viewer.window._qt_viewer.canvas.native
    return canvas
