"""The layers of the image being annotated, in the viewer: made when needed, found by identity, never by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.orientation import orient_view
from napari_medicosam.ui.prompts_in_layers import (
    next_is_positive,
    read_prompts,
    set_axis,
    set_label,
    write_prompts,
)
from napari_medicosam.ui.strokes import is_applied

if TYPE_CHECKING:
    from napari import Viewer

    from napari_medicosam.core.volume_prompts import VolumePrompts
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.layers import Tool

_NUM_LAYERS = 5

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


class PromptLayers:
    """Keeps the layers of one annotation in step with it.

    Events:
        prompts_changed(VolumePrompts): a user moved, added or removed prompts; as read, not cleaned.
        painted(layer, edits): a stroke of the brush in one of our label maps, with its edits as napari tells them.
        tool_changed(): the tool, or the axis that is sliced along.
    """

    prompts_changed = Signal(object)
    painted = Signal(object, object)
    tool_changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.annotation: Annotation | None = None
        self._is_writing = False
        self._stroke: tuple[Any, Any] | None = None
        viewer.dims.events.order.connect(self._on_dims_order)
        viewer.dims.events.ndisplay.connect(self._on_dims_order)
        viewer.layers.selection.events.active.connect(self._on_layer_active)

    def close(self) -> None:
        """Let go of the viewer."""
        self._viewer.dims.events.order.disconnect(self._on_dims_order)
        self._viewer.dims.events.ndisplay.disconnect(self._on_dims_order)
        self._viewer.layers.selection.events.active.disconnect(self._on_layer_active)
        self.annotation = None

    def show(self, annotation: Annotation | None) -> None:
        """Switch to another image: its layers are shown, those of the last one are kept, hidden."""
        for owner, visible in ((self.annotation, False), (annotation, True)):
            for layer in owner.layers if owner is not None else ():
                layer.visible = visible
        self.annotation = annotation
        if annotation is not None:
            orient_view(self._viewer, annotation.image)

    def make_missing(self) -> None:
        """Make the layers that are not there yet, or that the user removed, with the prompts in them."""
        annotation = self.wanted()
        if len(annotation.layers) == _NUM_LAYERS:
            return
        image = annotation.image
        if annotation.labels is None:
            annotation.labels = self._listen_to_brush(self._add(layers.make_labels_layer(image)))
        if annotation.object_layer is None:
            annotation.object_layer = self._listen_to_brush(self._add(layers.make_object_layer(image)))
        for name, make in (
            ("boxes", layers.make_boxes_layer),
            ("scribbles", layers.make_scribbles_layer),
            ("points", layers.make_points_layer),
        ):
            if getattr(annotation, name) is None:
                layer = self._add(make(image))
                setattr(annotation, name, layer)
                layer.bind_key("T", self._on_toggle_key, overwrite=True)
                self._listen(layer)
        self._on_dims_order()
        self.write(annotation.current)

    def write(self, prompts: VolumePrompts) -> None:
        """Replace what the prompt layers show, without an event."""
        annotation = self.wanted()
        points, boxes, scribbles = annotation.points, annotation.boxes, annotation.scribbles
        if points is None or boxes is None or scribbles is None:
            return
        self._is_writing = True
        try:
            write_prompts(points, boxes, scribbles, prompts)
        finally:
            self._is_writing = False

    def refresh(self) -> None:
        """Show what was written into the label maps; thumbnails and extents are left as they are."""
        annotation = self.wanted()
        for layer in (annotation.labels, annotation.object_layer):
            if layer is not None:
                layers.refresh(layer)

    def plane(self) -> SlicePlane:
        """The slice of the image that the viewer shows.

        Raises:
            InputError: without an image, in 3D rendering, or when no slice of the image is shown.
        """
        annotation = self.wanted()
        axis = self.axis()
        if annotation.image.ndim == 2:
            return SlicePlane(0, 0)
        dims = self._viewer.dims
        position = annotation.image.world_to_data(dims.point[-annotation.image.ndim :])[axis]
        index = min(max(round(float(position)), 0), annotation.shape_zyx[axis] - 1)
        return SlicePlane(axis, index)

    def go_to(self, index: int) -> None:
        """Show a slice along the axis that is sliced along. Raises as `plane`."""
        axis, image = self.axis(), self.wanted().image
        position = (np.array(image.extent.data[0]) + np.array(image.extent.data[1]))[-image.ndim :] / 2
        position[axis] = index
        offset = self._viewer.dims.ndim - image.ndim
        self._viewer.dims.set_point(offset + axis, image.data_to_world(position)[axis])

    def is_in_sight(self, plane: SlicePlane) -> bool:
        """True when the viewer shows this slice or cuts across it; in 3D rendering nothing counts, it is slow."""
        try:
            shown = self.plane()
        except InputError:
            return False
        return plane.axis != shown.axis or plane.index == shown.index

    def axis(self) -> int:
        """The array axis that the viewer slices along. Raises as `plane`."""
        annotation = self.wanted()
        dims = self._viewer.dims
        if dims.ndisplay != 2:
            raise InputError(
                "Prompts need a slice: switch to 2D with the button below the layer list (Ctrl+Y)"
            )
        offset = dims.ndim - annotation.image.ndim
        hidden = [axis - offset for axis in dims.not_displayed if axis >= offset]
        if annotation.image.ndim == 2 and not hidden:
            return 0
        if annotation.image.ndim != 3 or len(hidden) != 1:
            raise InputError(f"The viewer shows no slice of {annotation.image.name!r}: roll the axes back")
        return int(hidden[0])

    @property
    def tool(self) -> Tool:
        """What a click in the canvas does now; "" when it is none of ours."""
        active: Any = self._viewer.layers.selection.active
        for tool, (name, mode, positive) in _TOOLS.items():
            layer = getattr(self.annotation, name, None)
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
        if not tool:
            for ours in self.wanted().layers:
                ours.mode = "pan_zoom"
            return
        self.axis()
        self.make_missing()
        annotation = self.wanted()
        name, mode, positive = _TOOLS[tool]
        layer: Any = getattr(annotation, name)
        set_label(layer, positive=positive is not False)
        self._viewer.layers.selection.active = layer
        layer.mode = mode
        self.tool_changed.emit()

    def wanted(self) -> Annotation:
        """The annotation; `InputError` without one."""
        if self.annotation is None:
            raise InputError("no image yet: open a scan and choose it as the image to segment")
        return self.annotation

    def _add(self, layer: Any) -> Any:
        """Put a layer on top without taking the selection away from the user."""
        selected = set(self._viewer.layers.selection)
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        if active is not None:
            self._viewer.layers.selection = selected
            self._viewer.layers.selection.active = active
        return layer

    def _listen(self, layer: Any) -> None:
        layer.events.data.connect(self._on_layer_data)
        layer.events.mode.connect(self._on_layer_mode)

    def _on_layer_data(self, event: Any) -> None:
        annotation = self.annotation
        action = str(getattr(event.action, "value", event.action))
        if self._is_writing or annotation is None or action not in _FINISHED:
            return
        points, boxes, scribbles = annotation.points, annotation.boxes, annotation.scribbles
        if points is None or boxes is None or scribbles is None:
            return
        # Masks have no layer, so those that are there stay.
        read = read_prompts(points, boxes, scribbles)
        self.prompts_changed.emit(replace(read, masks=annotation.current.masks))

    def _on_paint(self, event: Any) -> None:
        self._stroke = (event.source, event.value)
        self._tell_stroke(event)

    def _tell_stroke(self, event: Any) -> None:
        """Say what was painted as soon as it is there: napari tells of some strokes just before."""
        if self._stroke is None or self._stroke[0] is not event.source:
            return
        layer, edits = self._stroke
        if edits and is_applied(layers.voxels(layer), edits):
            self._stroke = None
            annotation = self.annotation
            if annotation is not None and layer in (annotation.object_layer, annotation.labels):
                self.painted.emit(layer, edits)

    def _listen_to_brush(self, layer: Any) -> Any:
        layer.events.paint.connect(self._on_paint)
        layer.events.labels_update.connect(self._tell_stroke)
        return layer

    def _on_dims_order(self) -> None:
        annotation = self.annotation
        if annotation is None:
            return
        try:
            axis = self.axis()
        except InputError:
            return  # said when somebody tries to make a prompt
        orient_view(self._viewer, annotation.image)
        for layer in (annotation.points, annotation.boxes, annotation.scribbles):
            if layer is not None:
                set_axis(layer, axis)
        self.tool_changed.emit()

    def _on_layer_active(self) -> None:
        self.tool_changed.emit()

    def _on_layer_mode(self) -> None:
        self.tool_changed.emit()

    def _on_toggle_key(self, layer: Any) -> None:
        set_label(layer, positive=not next_is_positive(layer))
        self.tool_changed.emit()
