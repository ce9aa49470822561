"""Strokes of napari's brush in our label maps, heard until they are there: napari tells of some just before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning

from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.strokes import before_stroke, edits_of, is_applied

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels

    from napari_medicosam.ui.shown_slice import ShownSlice
    from napari_medicosam.ui.strokes import Edit

LOCKED_PUT_BACK = "A locked object was painted over and put back: unlock it to change it"


class StrokeListener:
    """Hears strokes of one viewer, and keeps what is written past them off locked objects.

    Args:
        shown: which image is at hand, and whether its slices can be seen.
        painted: called with a layer and the edits of a stroke, once they are in it.
    """

    def __init__(self, shown: ShownSlice, painted: Callable[[Labels, list[Edit]], object]) -> None:
        self._shown = shown
        self._painted = painted
        self._told: tuple[Labels, Any] | None = None

    def hear(self, layer: Labels, told: Any) -> None:
        """A layer's `paint` event has told a stroke."""
        self._told = layer, told
        self.look(layer)

    def look(self, layer: Labels) -> None:
        """A layer may hold by now what it told last."""
        if self._told is None or self._told[0] is not layer:
            return
        told, annotation = self._told[1], self._shown.annotation
        if annotation is None or layer not in (annotation.object_layer, annotation.labels):
            self._told = None
            return
        edits = edits_of(told, annotation.time)
        if is_applied(layers.voxels(layer, annotation.time), edits):
            self._told = None
            layers.forget_strokes(layer)
            if self._is_meant(layer, edits):
                self._painted(layer, edits)

    def look_at_locked(self, layer: Labels) -> None:
        """A layer shows anew what is in its array: where something wrote over locked objects there, they are put back.

        Who writes in the array itself tells nobody, but has it shown. Strokes on locked objects are told, and dealt
        with then.
        """
        annotation, is_told = self._shown.annotation, self._told is not None and self._told[0] is layer
        if (
            annotation is None
            or layer is not annotation.labels
            or is_told
            or layers.has_strokes_to_tell(layer)
        ):
            return
        try:
            plane = self._shown.plane()
        except InputError:
            return  # no slice is shown
        if annotation.committed.put_back_locked(annotation.table, plane):
            show_warning(LOCKED_PUT_BACK)
            layers.refresh(layer)

    def forget(self) -> None:
        """What was told is waited for no more."""
        self._told = None

    def _is_meant(self, layer: Labels, edits: list[Edit]) -> bool:
        """False, and what was painted is put back, where nobody can have seen what was painted on."""
        try:
            self._shown.check_has_slices()
        except InputError as error:
            label_map = layers.voxels(layer, self._shown.time())
            box, before = before_stroke(label_map, edits)
            label_map[box.index] = before
            layers.refresh(layer)
            show_warning(str(error))
            return False
        return True
