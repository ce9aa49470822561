"""Slices encoded before anybody asks, while there is nothing else to do: those that come next as one scrolls."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from napari import Viewer

    from napari_medicosam.ui.workbench import Workbench

_REST_MS = 300
"""After the last change: slices that are scrolled past are not worth it."""

NUM_FORWARD, NUM_BACKWARD = 24, 8
"""Slices in the direction of scrolling, and in the other one: seconds of work, and not a volume's minutes of a laptop's
battery for slices that nobody may look at."""


class EncodingAhead:
    """For the image that the bench's layers show, once its model has been used.

    Args:
        bench: of the session; every change there may mean other slices.
        viewer: that says which slice is on show.
    """

    def __init__(self, bench: Workbench, viewer: Viewer) -> None:
        self._bench = bench
        self._dims = viewer.dims
        self._is_on = True
        self._last: SlicePlane | None = None
        self._step = 1
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REST_MS)
        self._timer.timeout.connect(self._begin)
        bench.events.changed.connect(self._rest)
        bench.events.busy_changed.connect(self._rest)
        self._dims.events.current_step.connect(self._on_step)

    @property
    def is_on(self) -> bool:
        """Whether anything is encoded before somebody asks."""
        return self._is_on

    @is_on.setter
    def is_on(self, is_on: bool) -> None:
        self._is_on = is_on
        if is_on:
            self._rest()
        else:
            self._timer.stop()
            self._bench.runner.stop_filling()

    def close(self) -> None:
        """Encode nothing any more."""
        self._timer.stop()
        self._bench.events.changed.disconnect(self._rest)
        self._bench.events.busy_changed.disconnect(self._rest)
        self._dims.events.current_step.disconnect(self._on_step)

    def _on_step(self, event: Any = None) -> None:
        plane = self._plane()
        if plane is not None and self._last is not None and plane.axis == self._last.axis:
            if plane.index == self._last.index:
                return  # another axis was moved, which is not in sight
            self._step = 1 if plane.index > self._last.index else -1
        self._last = plane
        self._rest()

    def _rest(self, _: object = None) -> None:
        if self._is_on:
            self._timer.start()

    def _begin(self) -> None:
        bench, plane = self._bench, self._plane()
        if bench.annotation is None or plane is None or bench.runner.is_busy:
            return  # the end of what runs is told of, too
        settings = bench.settings()
        if bench.worker.has_served(settings):  # nobody waits for a model that nobody has asked for
            count = bench.annotation.shape_zyx[plane.axis]
            planes = planes_ahead(plane, self._step, count)
            bench.runner.fill(partial(bench.worker.encode_ahead, settings, planes))

    def _plane(self) -> SlicePlane | None:
        try:
            return None if self._bench.annotation is None else self._bench.layers.plane()
        except InputError:  # no slice is shown
            return None


def planes_ahead(plane: SlicePlane, step: int, count: int) -> list[SlicePlane]:
    """Which slices come next, in the order in which they are likely to be wanted.

    Args:
        plane: on show; the first of them.
        step: 1 or -1, the direction of scrolling: three slices that way for one the other way.
        count: slices along the axis.
    """
    offsets = sorted(
        [*range(NUM_FORWARD + 1), *range(-NUM_BACKWARD, 0)],
        key=lambda offset: offset if offset >= 0 else -NUM_FORWARD / NUM_BACKWARD * offset,
    )
    indices = (plane.index + step * offset for offset in offsets)
    return [SlicePlane(plane.axis, index) for index in indices if 0 <= index < count]
