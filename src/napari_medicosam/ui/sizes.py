"""How many slices each object has and how long it is, measured on the worker once nothing else is going on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_medicosam.core.diameters import diameters
from napari_medicosam.errors import InputError
from napari_medicosam.ui.spacing import spacing_zyx

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari_medicosam.core.boxes import PackedMask
    from napari_medicosam.core.object_table import ObjectRecord
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.runner import Report
    from napari_medicosam.ui.workbench import Workbench

_QUIET_MS = 400
"""After the last change: a drag or a propagation is not measured on its way."""


@dataclass(frozen=True, slots=True)
class ObjectSize:
    """Measures of one object.

    Attributes:
        num_slices: that it is on, along the axis that the viewer slices along.
        longest_mm: distance of its two voxels that are farthest apart; where the layer has no unit, in its units.
    """

    num_slices: int
    longest_mm: float


class ObjectSizes:
    """Sizes of the objects of the image that is shown.

    Args:
        bench: of the session; what changes there is measured anew.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._known: dict[tuple[Annotation, int], tuple[Hashable, ObjectSize]] = {}
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_QUIET_MS)
        self._timer.timeout.connect(self._measure)
        bench.events.changed.connect(self._timer_start)

    def close(self) -> None:
        """Measure nothing any more."""
        self._timer.stop()
        self._bench.events.changed.disconnect(self._timer_start)
        self._known.clear()

    def forget(self, annotations: tuple[Annotation, ...]) -> None:
        """Keep only what is known about these."""
        self._known = {key: known for key, known in self._known.items() if key[0] in annotations}

    def of(self, object_id: int) -> ObjectSize | None:
        """Of an object; None until it is measured as it is now, and for an empty one."""
        annotation = self._bench.annotation
        known = None if annotation is None else self._known.get((annotation, object_id))
        if annotation is None or known is None or known[0] != self._state(annotation, object_id):
            return None
        return known[1]

    def measure_all(self) -> None:
        """Measure on the worker what is not known."""
        annotation = self._bench.annotation
        if annotation is None:
            return
        for record in annotation.table.records.values():
            if self.of(record.object_id) is None:
                self._ask(annotation, record)

    def _timer_start(self) -> None:
        self._timer.start()

    def _measure(self) -> None:
        if self._bench.runner.is_busy:
            self._timer.start()
        else:
            self.measure_all()

    def _state(self, annotation: Annotation, object_id: int) -> Hashable:
        """Another one whenever the object may have another size."""
        record = annotation.table.records.get(object_id)
        try:
            axis = self._bench.layers.axis()
        except InputError:
            axis = 0
        if annotation.is_edited(object_id):
            return axis, annotation.edited.version
        return None if record is None else (axis, record.num_voxels, record.bounds)

    def _ask(self, annotation: Annotation, record: ObjectRecord) -> None:
        object_id, state = record.object_id, self._state(annotation, record.object_id)
        packed = annotation.packed_of(object_id)
        if packed.is_empty or state is None:
            return
        spacing = spacing_zyx(annotation.image)
        axis: Any = state[0] if isinstance(state, tuple) else 0
        self._bench.runner.submit(
            partial(_size, packed, spacing, axis),
            partial(self._on_size, (annotation, object_id), state),
            key=("size", id(annotation), object_id),
            is_quiet=True,
        )

    def _on_size(self, key: tuple[Annotation, int], state: Hashable, size: ObjectSize) -> None:
        self._known[key] = (state, size)
        self._bench.events.sizes_changed.emit()


def _size(
    packed: PackedMask, spacing_zyx: tuple[float, float, float], axis: int, report: Report
) -> ObjectSize:
    mask = packed.mask
    others = tuple(other for other in range(3) if other != axis)
    longest, _, _ = diameters(mask, np.array(spacing_zyx), axis)
    return ObjectSize(int(np.count_nonzero(mask.any(axis=others))), longest)
