"""The layers of the image being annotated, in the viewer: made when needed, found by identity, never by name."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.layers import Labels, Shapes
from psygnal import Signal

from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.laying import lie_in_slices, lie_with
from napari_medicosam.ui.orientation import orient_view
from napari_medicosam.ui.prompts_in_layers import (
    forget_undrawn,
    next_is_positive,
    read_prompts,
    set_axis,
    set_label,
    write_prompts,
)
from napari_medicosam.ui.shown_slice import ShownSlice
from napari_medicosam.ui.stroke_listener import StrokeListener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari import Viewer
    from napari.layers import Image

    from napari_medicosam.core.volume_prompts import VolumePrompts
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.layers import LayerSet, Tool

_TOOLS: dict[Tool, tuple[str, str, bool | None]] = {
    "point+": ("points", "add", True),
    "point-": ("points", "add", False),
    "box": ("boxes", "add_rectangle", None),
    "lasso+": ("boxes", "add_polygon_lasso", True),
    "lasso-": ("boxes", "add_polygon_lasso", False),
    "scribble+": ("scribbles", "add_path", True),
    "scribble-": ("scribbles", "add_path", False),
}
"""Layer, its mode, and what the next prompt says."""

_FINISHED = ("added", "changed", "removed")
"""Actions of napari's data events after the fact; each is announced by an `-ing` one."""


class PromptLayers(ShownSlice):
    """Keeps the layers of one annotation in step with it.

    Events:
        prompts_changed(VolumePrompts): a user moved, added or removed prompts; as read, not cleaned.
        painted(layer, edits): a stroke of the brush in one of our label maps.
        given(layer): something else than us has given one of our label maps other data.
        time_changed(time): the viewer shows another time point of the image.
        layers_made(): some that were missing.
        undo_wanted(), redo_wanted(): napari's keys for strokes of the brush were pressed.
        tool_changed(): the tool, the axis that is sliced along, or whether a label map is shown.
    """

    prompts_changed = Signal(object)
    painted = Signal(object, object)
    given = Signal(object)
    time_changed = Signal(int)
    layers_made = Signal()
    tool_changed = Signal()
    undo_wanted = Signal()
    redo_wanted = Signal()

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self._is_writing = False
        self._strokes = StrokeListener(self, self.painted.emit)
        self._drawn_on: tuple[Any, Any] | None = None
        """The shapes layer where something was begun to be drawn, and where the viewer was then."""
        self._heard: WeakSet[Any] = WeakSet()
        viewer.dims.events.order.connect(self._on_dims_order)
        viewer.dims.events.ndisplay.connect(self._on_dims_order)
        viewer.dims.events.current_step.connect(self._on_step)
        viewer.layers.selection.events.active.connect(self._on_layer_active)

    def close(self) -> None:
        """Let go of the viewer."""
        self._viewer.dims.events.order.disconnect(self._on_dims_order)
        self._viewer.dims.events.ndisplay.disconnect(self._on_dims_order)
        self._viewer.dims.events.current_step.disconnect(self._on_step)
        self._viewer.layers.selection.events.active.disconnect(self._on_layer_active)
        for layer in self._heard:
            for emitter, callback in self._connections(layer):
                emitter.disconnect(callback)
            if isinstance(layer, Shapes):
                layer.mouse_drag_callbacks.remove(self._on_press)
        self._heard.clear()
        self._strokes.forget()
        self._drawn_on = self.annotation = None

    def show(self, annotation: Annotation | None) -> None:
        """Switch to another image (its layers are shown, those of the last one hidden) or time point."""
        if self.annotation is None or annotation is None or self.annotation.ours is not annotation.ours:
            with self.tool_changed.blocked():
                for owner, visible in ((self.annotation, False), (annotation, True)):
                    if owner is not None:
                        for layer in owner.ours.all:
                            layer.visible = visible and layer is not owner.ours.preview
        self.annotation = annotation
        if annotation is not None:
            self.follow(annotation.image, annotation.ours)
            orient_view(self._viewer, annotation.image)

    def go_to(self, index: int) -> None:
        """Show a slice along the axis that is sliced along. Raises as `plane`."""
        super().go_to(index)
        if self.wanted().image.ndim > 2 and abs(self._position()[self.axis() - 3] - index) > 0.5:
            self.make_missing()  # out of the slider's reach: see `follow`
            super().go_to(index)

    def follow(self, image: Image, ours: LayerSet) -> None:
        """Our layers lie where the viewer shows the image."""
        for layer in ours.all:
            # That of the object stays: with it napari's slider reaches all slices of an image that is turned.
            lay = lie_with if layer is ours.labels else lie_in_slices
            lay(self._viewer, layer, image)

    def make_missing(self) -> None:
        """Make the layers that are not there yet, or that the user removed, with prompts and masks in them."""
        annotation = self.wanted()
        ours = annotation.ours
        if ours.is_complete:
            return
        made: dict[str, Any] = {"points": None, "boxes": None, "scribbles": None}
        with self._selection_kept():
            self._raise(ours.ahead.values())
            for name in layers.MAKERS:
                if getattr(ours, name) is None:
                    layer = ours.take(name)
                    if layer is None:
                        layer = self._make(name, annotation)
                        setattr(ours, name, layer)
                        self._lower(layer)
                    made |= {name: layer} if name in made else {}
        self._on_dims_order()
        # The others may hold what was drawn just now, and is why somebody asked for the layers.
        self._write(made, annotation.current)
        self.layers_made.emit()

    def make_ahead(self) -> None:
        """Make the lowest layer that is not there yet, for nobody in particular.

        Raises:
            InputError: when no slice is shown, or there is no memory for it.
        """
        annotation = self.wanted()
        self.axis()
        ours = annotation.ours
        name = next((name for name in layers.MAKERS if ours.find(name) is None), None)
        if name is None:
            ours.wants_ahead = False
            return
        with self._selection_kept():
            ours.ahead[name] = layer = layers.make_layer(ours, name, annotation.image)
            self._listen(self._add(layer))
        self._on_dims_order()

    def _make(self, name: str, annotation: Annotation) -> Any:
        return self._listen(self._add(layers.make_layer(annotation.ours, name, annotation.image)))

    def _lower(self, layer: Any) -> None:
        """A layer that was just made lies below those of ours that belong above it, and were there already."""
        ours, shown = self.wanted().ours.all, self._viewer.layers
        lowest = min(map(shown.index, ours[ours.index(layer) :]))
        if lowest < shown.index(layer):
            shown.move(shown.index(layer), lowest)

    def _raise(self, made: Iterable[Any]) -> None:
        """Layers that were made ahead lie where new ones would."""
        ours, shown = list(made), self._viewer.layers
        if ours != list(shown)[len(shown) - len(ours) :]:
            for layer in ours:
                shown.move(shown.index(layer), len(shown))

    def _take_drawn(self, layer: Any) -> None:
        """Layers that were made ahead are no longer for nobody once the user draws into one by napari's own tools."""
        ours = self.wanted().ours
        if any(layer is one for one in ours.ahead.values()):
            for name in layers.MAKERS:
                ours.take(name)
            self.layers_made.emit()

    def write(self, prompts: VolumePrompts) -> None:
        """Replace what the prompt layers show, without an event."""
        annotation = self.wanted()
        ours = annotation.ours
        self._write({"points": ours.points, "boxes": ours.boxes, "scribbles": ours.scribbles}, prompts)

    def _write(self, into: dict[str, Any], prompts: VolumePrompts) -> None:
        self._is_writing = True
        try:
            write_prompts(**into, prompts=prompts, time=self.wanted().time)
        finally:
            self._is_writing = False

    def add_above(self, layer: Any, below: Any) -> None:
        """Put a layer just above another one, without taking the selection away from the user."""
        shown = self._viewer.layers
        if layer not in shown:
            with self._selection_kept():
                self._add(layer)
        if shown.index(layer) != shown.index(below) + 1:
            shown.move(shown.index(layer), shown.index(below) + 1)

    def remove(self, layer: Any) -> None:
        """Take a layer out of the viewer, if it is there. Not while napari is in the middle of something."""
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def refresh(self) -> None:
        """Show what was written into the label maps; thumbnails and extents are left as they are."""
        annotation = self.wanted()
        annotation.committed.follow_locks(annotation.table)
        for layer in (annotation.labels, annotation.object_layer):
            if layer is not None:
                layers.refresh(layer)

    @property
    def tool(self) -> Tool:
        """What a click in the canvas does now; "" when it is none of ours."""
        active: Any = self._viewer.layers.selection.active
        for tool, (name, mode, positive) in _TOOLS.items():
            layer = None if self.annotation is None else self.annotation.ours.find(name)
            if (
                layer is not None
                and layer is active
                and layer.mode == mode
                and positive in (None, next_is_positive(layer))
            ):
                return tool
        return ""

    @tool.setter
    def tool(self, tool: Tool) -> None:
        if not isinstance(tool, str) or tool not in ("", *_TOOLS):
            raise InputError(f"unknown tool {tool!r}: wanted {', '.join(_TOOLS)}, or nothing")
        if not tool:
            for layer in self.wanted().ours.all:
                layer.mode = "pan_zoom"
            return
        self.check_in_sight()
        with self.tool_changed.paused(lambda before, after: after):  # said once, and not at each of its steps
            self.make_missing()
            annotation = self.wanted()
            name, mode, positive = _TOOLS[tool]
            chosen: Any = getattr(annotation.ours, name)
            set_label(chosen, positive=positive is not False)
            self._viewer.layers.selection.active = chosen
            chosen.mode = mode
            self.tool_changed.emit()

    @contextmanager
    def _selection_kept(self) -> Iterator[None]:
        """Layers are added without taking the selection away from the user."""
        shown: Any = self._viewer.layers
        selected, active = set(shown.selection), shown.selection.active
        if active is None:  # napari selects what is new
            yield
            return
        # To select each of them, and then the user's again, would draw napari's controls for both.
        before, shown._activate_on_insert = getattr(shown, "_activate_on_insert", True), False
        try:
            yield
        finally:
            shown._activate_on_insert = before
            shown.selection = selected
            shown.selection.active = active

    def _add(self, layer: Any) -> Any:
        lie_in_slices(self._viewer, layer, self.wanted().image)
        self._viewer.add_layer(layer)
        return layer

    def _listen(self, layer: Any) -> Any:
        self._heard.add(layer)
        # On labels napari would take strokes back, behind our steps; elsewhere these keys are free.
        layer.bind_key("Control-Z", lambda _: self.undo_wanted.emit())
        layer.bind_key("Control-Shift-Z", lambda _: self.redo_wanted.emit())
        if isinstance(layer, Shapes):
            layer.mouse_drag_callbacks.insert(0, self._on_press)
        for emitter, callback in self._connections(layer):
            emitter.connect(callback)
        return layer

    def _connections(self, layer: Any) -> tuple[tuple[Any, Callable[..., None]], ...]:
        events = layer.events
        if isinstance(layer, Labels):
            return (
                (events.paint, self._on_paint),
                (events.labels_update, self._on_labels_update),
                (events.data, self._on_labels_data),
                (events.mode, self._on_labels_mode),
                (events.visible, self._on_labels_visible),
                (events.set_data, self._on_labels_shown),
            )
        return (events.data, self._on_layer_data), (events.mode, self._on_layer_mode)

    def _on_layer_data(self, event: Any) -> None:
        annotation = self.annotation
        action = str(getattr(event.action, "value", event.action))
        if self._is_writing or annotation is None or action not in _FINISHED:
            return
        self._take_drawn(event.source)
        ours, known = annotation.ours, annotation.current
        if event.source not in ours.all:
            return
        forget_undrawn(event.source)
        # What has no layer, as masks, or one that the user removed, stays.
        read = replace(read_prompts(ours.points, ours.boxes, ours.scribbles), masks=known.masks)
        if ours.points is None:
            read = replace(read, points=known.points)
        if ours.boxes is None:
            read = replace(read, boxes=_united(known.boxes, read.boxes))
            read = replace(read, lassos=_united(known.lassos, read.lassos))
        if ours.scribbles is None:
            read = replace(read, scribbles=_united(known.scribbles, read.scribbles))
        self.prompts_changed.emit(read)

    def _on_paint(self, event: Any) -> None:
        if self.annotation is not None:
            self._take_drawn(event.source)
        self._strokes.hear(event.source, event.value)

    def _on_labels_data(self, event: Any) -> None:
        if self.annotation is not None:
            self._take_drawn(event.source)
        self.given.emit(event.source)

    def _on_labels_mode(self) -> None:
        if self.annotation is not None:
            self.follow(self.annotation.image, self.annotation.ours)

    def _on_labels_visible(self) -> None:
        self.tool_changed.emit()

    def _on_labels_update(self, event: Any) -> None:
        self._strokes.look(event.source)

    def _on_labels_shown(self, event: Any) -> None:
        self._strokes.look_at_locked(event.source)

    def _on_dims_order(self) -> None:
        annotation = self.annotation
        if annotation is None:
            return
        self.follow(annotation.image, annotation.ours)
        try:
            axis = self.axis()
        except InputError:  # said when somebody tries to make a prompt
            self.tool_changed.emit()
            return
        orient_view(self._viewer, annotation.image)
        for layer in map(annotation.ours.find, ("points", "boxes", "scribbles")):
            if layer is not None:
                set_axis(layer, axis)
        self.tool_changed.emit()

    def _on_press(self, layer: Any, event: Any) -> None:
        """Napari fails to draw a shape while the viewer is between two slices, as beside a scan of finer ones."""
        if self.annotation is not None and layer in self.annotation.ours.all:
            self._drawn_on = layer, self._viewer.dims.point
            lie_in_slices(self._viewer, layer, self.annotation.image, exactly=True)

    def _on_step(self) -> None:
        if self._drawn_on is not None and self._drawn_on[1] != self._viewer.dims.point:
            layer, self._drawn_on = self._drawn_on[0], None
            if self.annotation is not None and layer in self.annotation.ours.all:
                lie_in_slices(self._viewer, layer, self.annotation.image)
        if self.annotation is not None and self.annotation.image.ndim == 4:
            time = self.time()
            if time != self.annotation.time:
                self.time_changed.emit(time)

    def _on_layer_active(self) -> None:
        self.tool_changed.emit()

    def _on_layer_mode(self) -> None:
        self.tool_changed.emit()


def _united(known: tuple[Any, ...], read: tuple[Any, ...]) -> tuple[Any, ...]:
    """Both, each of them once, in order."""
    return tuple(dict.fromkeys((*known, *read)))
