"""Our layers made before anybody asks for them, one at a time: for each of them napari stands still for a moment.

Nothing else changes: as long as nobody has asked for them they are empty, and count as not there.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Shapes
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from napari import Viewer

    from napari_medicosam.ui.workbench import Workbench

_REST_MS = 50
"""Between two layers: the window draws the last one, and hears the user."""


class LayersAhead:
    """For the image at hand, when it is the only one: of several, another one may be meant.

    Not with a synchronous runner: scripts that wait for nothing get layers when they ask.

    Args:
        bench: of the session; every change there may mean another image.
        viewer: of the session.
    """

    def __init__(self, bench: Workbench, viewer: Viewer) -> None:
        self._bench = bench
        self._shown = viewer.layers
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._make_next)
        bench.events.changed.connect(self._begin)

    def close(self) -> None:
        """Make none any more."""
        self._timer.stop()
        self._bench.events.changed.disconnect(self._begin)

    def _begin(self) -> None:
        if self._is_wanted and not self._timer.isActive():
            self._timer.start()

    @property
    def _is_wanted(self) -> bool:
        annotation = self._bench.annotation
        return (
            annotation is not None
            and annotation.ours.wants_ahead
            and not self._bench.runner.synchronous
            and self._shown.selection.active is not None  # otherwise napari selects what is new
            and [layer for layer in self._shown if isinstance(layer, Image)] == [annotation.image]
        )

    def _make_next(self) -> None:
        if not self._is_wanted:
            return
        is_drawn = bool(QApplication.mouseButtons())  # nothing changes while something is drawn
        if not warm_up().is_alive() and not is_drawn:
            try:
                self._bench.layers.make_ahead()
            except InputError:  # no slice is shown, or no memory left: said to whoever asks for them
                return
        self._begin()


@cache
def warm_up() -> threading.Thread:
    """Does on a thread of its own what takes long when the first layers of a process are made; begun once."""
    thread = threading.Thread(target=_make_for_nobody, name="medicosam-warm-up")
    thread.start()  # no daemon: what it compiles with must not be taken apart under it
    return thread


def _make_for_nobody() -> None:
    from vispy.visuals.line.dash_atlas import DashAtlas

    DashAtlas()  # patterns of dashed lines, which vispy remembers
    Shapes(ndim=3)  # numba compiles for it, or loads what it has compiled; and more for what is drawn
    corners = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    for kind in ("rectangle", "polygon", "path"):
        Shapes([corners], shape_type=kind)
