"""The annotation of one viewer: what widgets, scripts and tests call. Two viewers, two sessions.

A click becomes a mask in one hop: prompt layer -> `VolumePrompts` -> frozen `SegmentRequest` -> worker ->
`SegmentResult` -> labels layer. Nothing on the worker reads a layer; no torch, disk or hash is on the GUI thread.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.utils.notifications import show_warning
from qtpy.QtCore import QTimer

from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.predict.zoom import DEFAULT_ZOOM, ZoomRule
from napari_medicosam.ui import layers
from napari_medicosam.ui.annotation import Annotation, ObjectInfo
from napari_medicosam.ui.engine import Engine, ServiceSettings, ServiceSource, is_local
from napari_medicosam.ui.pipeline import Pipeline
from napari_medicosam.ui.prompt_layers import PromptLayers
from napari_medicosam.ui.runner import Runner
from napari_medicosam.ui.tasks import Worker, save_labels
from napari_medicosam.ui.volume_prompts import VolumeBox, VolumePoint, VolumePrompts
from napari_medicosam.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image

    from napari_medicosam.ui.layers import Tool

Direction = Literal["both", "up", "down"]
_PROBE = np.array([[[0.0, 1.0]]])


class AnnotationSession:
    """Objects, prompts and masks of the images of one viewer.

    All methods are for the GUI thread and return at once; what takes long runs on a worker (`wait` waits).
    Wrong arguments raise `InputError`; what fails later comes as `events.error` and as a notification.

    Args:
        viewer: a napari viewer with a window.
        runner: None makes one; `Runner(synchronous=True)` does everything at once.
        engine: makes the service on the worker; None takes `Engine()`.
    """

    def __init__(
        self, viewer: Viewer, *, runner: Runner | None = None, engine: ServiceSource | None = None
    ) -> None:
        self.viewer = viewer
        self.model = DEFAULT_MODEL
        self.window = "auto"
        self.embeddings_folder: Path | None = None
        self.zoom = DEFAULT_ZOOM
        self._runner = Runner() if runner is None else runner
        self._worker = Worker(Engine() if engine is None else engine)
        self._layers = PromptLayers(viewer)
        self._pipeline = Pipeline(self._runner, self._worker, self._layers, self._settings)
        self.events = self._pipeline.events
        self._annotations: list[Annotation] = []
        self._is_closed = False
        self._debris: list[Any] = []
        self._tidying = QTimer()
        self._tidying.setSingleShot(True)
        self._tidying.timeout.connect(self._tidy)
        self._layers.prompts_changed.connect(self._on_prompts_changed)
        self._layers.tool_changed.connect(self.events.tool_changed.emit)
        viewer.layers.events.removed.connect(self._on_layer_removed)
        viewer.layers.events.inserted.connect(self._on_layers_changed)

    def close(self) -> None:
        """Cancel everything, end the worker and let go of the viewer. Layers stay."""
        if self._is_closed:
            return
        self._is_closed = True
        self._tidying.stop()
        self._tidying.timeout.disconnect(self._tidy)
        self._runner.close()
        self._layers.close()
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.viewer.layers.events.inserted.disconnect(self._on_layers_changed)
        for annotation in self._annotations:
            annotation.image.events.data.disconnect(self._on_image_data)
        self._annotations.clear()

    @property
    def image(self) -> Image | None:
        """The image layer that is annotated."""
        return None if self._annotation is None else self._annotation.image

    @property
    def is_3d(self) -> bool:
        """True for a volume of more than one slice."""
        return self._annotation is not None and self._annotation.image.ndim == 3

    @property
    def num_slices(self) -> int:
        """Slices along the axis that the viewer shows; 0 when it shows none."""
        try:
            return self._wanted().shape_zyx[self._layers.axis()]
        except InputError:
            return 0

    @property
    def has_labels(self) -> bool:
        """True when there is a labels layer that can be saved."""
        return self._annotation is not None and self._annotation.labels is not None

    def set_image(self, layer: Image | None) -> None:
        """Annotate this image. What was done on another one is kept, its layers are hidden meanwhile.

        Raises:
            InputError: for an image that is neither 2D nor 3D.
        """
        if layer is self.image:
            return
        annotation = next((known for known in self._annotations if known.image is layer), None)
        if layer is not None and annotation is None:
            annotation = Annotation(layer, layers.volume_of(layer))
            layer.events.data.connect(self._on_image_data)
            self._annotations.append(annotation)
        self.cancel()
        self._layers.show(annotation)
        self.events.changed.emit()

    def set_model(self, name_or_path: str | Path) -> None:
        """Use a model of the registry or a checkpoint file from the next prompt on.

        Raises:
            WeightsError: for a name that the registry does not know. Files are looked at by the worker.
        """
        name = str(name_or_path)
        is_local(name)
        self.model = name
        self._forget_answers()

    def set_window(self, window: str) -> None:
        """Map intensities by a word of `core.intensity.resolve_intensity` or "LOW,HIGH" from the next prompt on."""
        resolve_intensity(window, _PROBE)
        self.window = window
        self._forget_answers()

    def set_zoom(self, zoom: str | ZoomRule) -> None:
        """Look at small objects in a view around them: "auto", "never", "always" or a rule, from the next prompt on.

        Raises:
            InputError: for another word.
        """
        self.zoom = zoom if isinstance(zoom, ZoomRule) else ZoomRule(zoom)
        self.events.changed.emit()

    def set_embeddings_folder(self, folder: str | Path | None) -> None:
        """Store embeddings there, for this and later sessions; None keeps them in memory only."""
        self.embeddings_folder = None if folder is None else Path(folder).expanduser()
        self.events.changed.emit()

    def prepare(self) -> None:
        """Load the model and encode the visible slice ahead of the first click; downloads nothing."""
        annotation = self._annotation
        if annotation is None or not is_local(self.model):
            return
        try:
            plane = self._layers.plane()
        except InputError:
            return  # no slice is shown: nothing to be ahead of
        pixels = np.array(plane.cut(annotation.volume))
        task = partial(self._worker.prepare, self._settings(), plane, pixels)
        self._runner.submit(task, lambda _: None, key="prepare")

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """All objects of the image, by id."""
        return () if self._annotation is None else self._annotation.objects

    @property
    def object_id(self) -> int:
        """The object that prompts are for: its label."""
        return self._wanted().object_id

    @property
    def prompts(self) -> VolumePrompts:
        """Prompts of the current object."""
        return VolumePrompts() if self._annotation is None else self._annotation.current

    def new_object(self, name: str | None = None) -> int:
        """Begin another object and return its id. A current object that is still empty is taken for it."""
        annotation = self._wanted()
        annotation.add_object(name)
        self._show_object()
        return annotation.object_id

    def select(self, object_id: int) -> None:
        """Go back to an object and its prompts."""
        annotation = self._wanted()
        if object_id not in annotation.names:
            known = ", ".join(str(known) for known in annotation.names)
            raise InputError(f"there is no object {object_id}: wanted one of {known}")
        annotation.object_id = object_id
        self._show_object()

    @property
    def tool(self) -> Tool:
        """What a click in the canvas does: "point+", "point-", "box" or "" for none of these."""
        return self._layers.tool

    @tool.setter
    def tool(self, tool: Tool) -> None:
        self._layers.tool = tool

    def add_point(self, position_zyx: tuple[float, ...], positive: bool = True) -> None:
        """Click at a voxel position (z, y, x), or (y, x) of a 2D image, on the axis that the viewer slices along.

        Raises:
            InputError: for a position outside the image.
        """
        z, y, x = (0.0,) * (3 - len(position_zyx)) + tuple(float(v) for v in position_zyx)
        point = VolumePoint((z, y, x), positive, self._layers.axis())
        self._add(VolumePrompts((*self.prompts.points, point), self.prompts.boxes))

    def add_box(self, slice_index: int, box: tuple[float, float, float, float]) -> None:
        """Draw a half-open box (y0, x0, y1, x1) on a slice, instead of one that is there.

        Raises:
            InputError: for a box outside the image or thinner than a pixel.
        """
        y0, x0, y1, x1 = (float(v) for v in box)
        drawn = VolumeBox(self._layers.axis(), int(slice_index), (y0, x0, y1, x1))
        self._add(VolumePrompts(self.prompts.points, (*self.prompts.boxes, drawn)))

    def clear_prompts(self, *, everywhere: bool = False) -> None:
        """Remove prompts and mask of the current object from the visible slice, or from all slices."""
        annotation = self._wanted()
        planes = set(annotation.touched.get(annotation.object_id, ())) | annotation.current.planes
        if not everywhere:
            planes &= {self._layers.plane()}
        if planes:
            self._pipeline.clear(planes)
            self._show_object()

    def undo(self) -> None:
        """Take back the last change of prompts, or the last propagation, with the masks that it made."""
        if self._wanted().edits:
            self._pipeline.undo()
            self._show_object()

    @property
    def can_undo(self) -> bool:
        """True when there is a step to take back."""
        return self._annotation is not None and bool(self._annotation.edits)

    def propagate(
        self, direction: Direction = "both", z_range: tuple[int, int] | None = None, **settings: Any
    ) -> None:
        """Carry the current object from its prompted slices through the volume.

        Args:
            direction: "up" only to higher slice numbers, "down" only to lower ones.
            z_range: half-open (start, stop) of slices that may change.
            settings: of `PropagationSettings`; `mode` also as a word such as "box" or "mask+points".

        Raises:
            InputError: without a prompted slice on the axis that is shown, or for settings that make no sense.
        """
        annotation, axis = self._wanted(), self._layers.axis()
        if isinstance(settings.get("mode"), str):
            settings["mode"] = PromptMode.parse(settings["mode"])
        wanted = PropagationSettings(**settings)
        indices = [plane.index for plane in annotation.current.planes if plane.axis == axis]
        if not indices:
            raise InputError("nothing to propagate: segment the object on one slice first")
        first, last = (0, annotation.shape_zyx[axis]) if z_range is None else z_range
        if direction not in ("both", "up", "down"):
            raise InputError(f"direction must be both, up or down, got {direction!r}")
        bounds = (
            max(first, min(indices)) if direction == "up" else first,
            min(last, max(indices) + 1) if direction == "down" else last,
        )
        self._pipeline.propagate(axis, wanted, bounds)

    def cancel(self) -> None:
        """Stop whatever runs. Slices that are done stay."""
        self._pipeline.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Process events until nothing runs; False when something still does after `timeout` seconds."""
        return self._runner.wait(timeout)

    @property
    def is_busy(self) -> bool:
        """True while something runs or waits."""
        return self._runner.is_busy

    def save_labels(self, path: str | Path) -> None:
        """Write the labels with the geometry of the image; a file that exists is replaced. `events.saved` says when.

        Raises:
            InputError: when nothing was segmented yet.
        """
        labels = self._wanted().labels
        if labels is None:
            raise InputError("nothing to save: segment an object first")
        data, meta, _ = labels.as_layer_data_tuple()
        task = partial(save_labels, Path(path), np.array(data), meta)
        self._runner.submit(lambda report: task(), self.events.saved.emit, key="save")

    @property
    def _annotation(self) -> Annotation | None:
        return self._layers.annotation

    def _wanted(self) -> Annotation:
        return self._layers.wanted()

    def _settings(self) -> ServiceSettings:
        return ServiceSettings(
            self.model, self.window, self._wanted().volume, self.embeddings_folder, self.zoom
        )

    def _add(self, prompts: VolumePrompts) -> None:
        """Prompts from a script: what is wrong with them is the caller's to know."""
        cleaned, complaints = prompts.cleaned(self._wanted().shape_zyx)
        if complaints:
            raise InputError(complaints[0])
        self._layers.make_missing()
        self._pipeline.change_prompts(cleaned)
        self._layers.write(cleaned)

    def _on_prompts_changed(self, read: VolumePrompts) -> None:
        """Prompts from the layers: what is wrong with them is said and removed."""
        annotation = self._wanted()
        prompts, complaints = read.cleaned(annotation.shape_zyx)
        before = annotation.current
        if len(prompts.points) > len(before.points) or len(prompts.boxes) > len(before.boxes):
            try:
                self._layers.axis()
            except InputError as error:
                prompts, complaints = before, [str(error)]
        if complaints:
            show_warning(complaints[0])
        if prompts != read:
            # Not now: napari is still in the middle of adding what we want to remove.
            self._tidying.start()
        self._pipeline.change_prompts(prompts)

    def _tidy(self) -> None:
        """What has to wait until napari is done with what it told us about."""
        debris, self._debris = self._debris, []
        for layer in debris:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        if self._annotation is not None:
            self._layers.write(self._annotation.current)

    def _show_object(self) -> None:
        """After the current object or its prompts were replaced."""
        annotation = self._wanted()
        self._layers.write(annotation.current)
        if annotation.labels is not None:
            annotation.labels.selected_label = annotation.object_id
            layers.refresh(annotation.labels)
        self.events.changed.emit()

    def _forget_answers(self) -> None:
        """Logits of another model or window are no hint for this one; masks are."""
        for annotation in self._annotations:
            annotation.answers.clear()
        self.events.changed.emit()

    def _on_image_data(self, event: Any) -> None:
        """The pixels of an image were replaced: prompts stay where the new ones have the same shape."""
        annotation = next((known for known in self._annotations if known.image is event.source), None)
        if annotation is None:
            return
        volume = layers.volume_of(annotation.image) if annotation.image.ndim in (2, 3) else None
        if volume is not None and volume.shape == annotation.volume.shape:
            annotation.volume = volume
            annotation.answers.clear()
            return
        self._drop(annotation)
        show_warning(f"{annotation.image.name!r} has a new shape: its prompts were removed, its labels stay")

    def _drop(self, annotation: Annotation) -> None:
        """Forget an image; labels stay in the viewer, they are the user's work."""
        annotation.image.events.data.disconnect(self._on_image_data)
        self._annotations.remove(annotation)
        if annotation is self._annotation:
            self.set_image(None)
            if annotation.labels is not None:
                annotation.labels.visible = True
        self._debris += [layer for layer in (annotation.points, annotation.boxes) if layer is not None]
        self._tidying.start()

    def _on_layer_removed(self, event: Any) -> None:
        for annotation in [known for known in self._annotations if known.image is event.value]:
            self._drop(annotation)
        for annotation in self._annotations:
            annotation.forget(event.value)
        self.events.changed.emit()

    def _on_layers_changed(self) -> None:
        self.events.changed.emit()
