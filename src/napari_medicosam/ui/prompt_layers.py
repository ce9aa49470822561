"""The layers of the image being annotated, in the viewer: made when needed, found by identity, never by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.orientation import orient_view

if TYPE_CHECKING:
    from napari import Viewer

    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.layers import Tool
    from napari_medicosam.ui.volume_prompts import VolumePrompts

_FINISHED = ("added", "changed", "removed")
"""Actions of napari's data events after the fact; each is announced by an `-ing` one."""


class PromptLayers:
    """Keeps the layers of one annotation in step with it.

    Events:
        prompts_changed(VolumePrompts): a user moved, added or removed prompts; as read, not cleaned.
        tool_changed(): the tool, or the axis that is sliced along.
    """

    prompts_changed = Signal(object)
    tool_changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.annotation: Annotation | None = None
        self._is_writing = False
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
        if len(annotation.layers) == 3:
            return
        if annotation.labels is None:
            annotation.labels = self._add(layers.make_labels_layer(annotation.image))
            annotation.labels.selected_label = annotation.object_id
        if annotation.boxes is None:
            annotation.boxes = self._add(layers.make_boxes_layer(annotation.image))
            self._listen(annotation.boxes)
        if annotation.points is None:
            annotation.points = self._add(layers.make_points_layer(annotation.image))
            annotation.points.bind_key("T", self._on_toggle_key, overwrite=True)
            self._listen(annotation.points)
        self._on_dims_order()
        self.write(annotation.current)

    def write(self, prompts: VolumePrompts) -> None:
        """Replace what the prompt layers show, without an event."""
        annotation = self.wanted()
        if annotation.points is None or annotation.boxes is None:
            return
        self._is_writing = True
        try:
            layers.write_prompts(annotation.points, annotation.boxes, prompts)
        finally:
            self._is_writing = False

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
        annotation: Any = self.annotation
        active: Any = self._viewer.layers.selection.active
        if annotation is None or active is None:
            return ""
        if active is annotation.points and active.mode == "add":
            return "point+" if layers.next_point_is_positive(annotation.points) else "point-"
        return "box" if active is annotation.boxes and active.mode == "add_rectangle" else ""

    @tool.setter
    def tool(self, tool: Tool) -> None:
        if not tool:
            for ours in self.wanted().layers:
                ours.mode = "pan_zoom"
            return
        self.axis()
        self.make_missing()
        annotation = self.wanted()
        layer: Any = annotation.boxes if tool == "box" else annotation.points
        if tool != "box":
            layers.set_point_label(layer, positive=tool == "point+")
        self._viewer.layers.selection.active = layer
        layer.mode = "add_rectangle" if tool == "box" else "add"
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
        if annotation.points is None or annotation.boxes is None:
            return
        self.prompts_changed.emit(layers.read_prompts(annotation.points, annotation.boxes))

    def _on_dims_order(self) -> None:
        annotation = self.annotation
        if annotation is None:
            return
        try:
            axis = self.axis()
        except InputError:
            return  # said when somebody tries to make a prompt
        orient_view(self._viewer, annotation.image)
        for layer in (annotation.points, annotation.boxes):
            if layer is not None:
                layers.set_axis(layer, axis)
        self.tool_changed.emit()

    def _on_layer_active(self) -> None:
        self.tool_changed.emit()

    def _on_layer_mode(self) -> None:
        self.tool_changed.emit()

    def _on_toggle_key(self, layer: Any) -> None:
        layers.set_point_label(layer, positive=not layers.next_point_is_positive(layer))
        self.tool_changed.emit()
