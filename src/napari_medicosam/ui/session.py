"""The annotation of one viewer: what widgets, scripts and tests call. Two viewers, two sessions.

A click becomes a mask in one hop: prompt layer -> `VolumePrompts` -> frozen `SegmentRequest` -> worker ->
`SegmentResult` -> labels layer. Nothing on the worker reads a layer; no torch, disk or hash is on the GUI thread.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QTimer

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.intensity import resolve_intensity
from napari_medicosam.core.label_classes import LabelClasses
from napari_medicosam.core.post_processing import CleanUp
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.core.review import next_doubtful
from napari_medicosam.core.volume_prompts import (
    VolumeBox,
    VolumeLasso,
    VolumePoint,
    VolumePrompts,
    VolumeScribble,
    volume_mask,
)
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.predict.zoom import DEFAULT_ZOOM, ZoomRule
from napari_medicosam.ui import layers
from napari_medicosam.ui.annotation import Annotation
from napari_medicosam.ui.engine import Engine, ServiceSettings, ServiceSource, is_local
from napari_medicosam.ui.pipeline import Pipeline
from napari_medicosam.ui.prompt_layers import PromptLayers
from napari_medicosam.ui.runner import Runner
from napari_medicosam.ui.tasks import Worker, read_classes, save_labels, save_measurements, save_table
from napari_medicosam.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image
    from numpy.typing import ArrayLike, NDArray

    from napari_medicosam.core.commit_policy import CommitPolicy
    from napari_medicosam.core.history import Step
    from napari_medicosam.core.object_table import ObjectRecord
    from napari_medicosam.core.review import SliceReview
    from napari_medicosam.core.volume_prompts import Path as Vertices
    from napari_medicosam.core.volume_prompts import Prompt
    from napari_medicosam.io.label_class_files import LabelClassFile
    from napari_medicosam.ui.layers import Tool

Direction = Literal["both", "up", "down"]
_HIDDEN = (0.0, 0.0, 0.0, 0.0)
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
        self.classes = LabelClasses()
        self._is_closed = False
        self._debris: list[Any] = []
        self._tidying = QTimer()
        self._tidying.setSingleShot(True)
        self._tidying.timeout.connect(self._tidy)
        self._layers.prompts_changed.connect(self._on_prompts_changed)
        self._layers.time_changed.connect(self._on_time_changed)
        self._layers.layers_made.connect(self._show_colours)
        self._layers.painted.connect(self._pipeline.painted)
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
        for image in {id(annotation.image): annotation.image for annotation in self._annotations}.values():
            image.events.data.disconnect(self._on_image_data)
        self._annotations.clear()

    @property
    def image(self) -> Image | None:
        """The image layer that is annotated."""
        return None if self._annotation is None else self._annotation.image

    @property
    def is_3d(self) -> bool:
        """True for a volume of more than one slice."""
        return self._annotation is not None and self._annotation.image.ndim >= 3

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
            InputError: for an image that is neither 2D nor 3D, nor volumes over time.
        """
        if layer is self.image:
            return
        annotation = None
        if layer is not None:
            known = self._times_of(layer)
            annotation = known[-1] if known else self._new_annotation(layer, 0)
        self.cancel()
        if self._annotation is not None:
            self._annotation.effort.rest()
        self._layers.show(annotation)
        if annotation is not None and self._layers.time() != annotation.time:
            self._on_time_changed(self._layers.time())
        self.events.changed.emit()

    @property
    def time(self) -> int:
        """The time point that is annotated; 0 for an image without."""
        return 0 if self._annotation is None else self._annotation.time

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
    def objects(self) -> tuple[ObjectRecord, ...]:
        """All objects of the image, by id."""
        if self._annotation is None:
            return ()
        return tuple(record for _, record in sorted(self._annotation.table.records.items()))

    @property
    def object_id(self) -> int:
        """The object that prompts are for: its label."""
        return self._wanted().object_id

    @property
    def prompts(self) -> VolumePrompts:
        """Prompts of the current object."""
        return VolumePrompts() if self._annotation is None else self._annotation.current

    def colour_of(self, object_id: int) -> tuple[float, ...] | None:
        """What an object is shown in (red, green, blue, alpha; 0..1); None before its layers are there."""
        layer = None if self._annotation is None else self._annotation.object_layer
        colour = None if layer is None else layer.get_color(object_id)
        return None if colour is None else tuple(float(v) for v in colour)

    @property
    def num_open_voxels(self) -> int:
        """Voxels of the mask that is being edited."""
        return 0 if self._annotation is None else self._annotation.num_open_voxels

    @property
    def voxel_volume_mm3(self) -> float | None:
        """Of the image, where its layer has a spacing in a length unit; None where it has not."""
        return None if self.image is None else layers.voxel_volume_mm3(self.image)

    @property
    def review(self) -> tuple[SliceReview, ...]:
        """What is known about each slice of the current object, along the axis that the viewer slices along."""
        try:
            axis = self._layers.axis()
        except InputError:
            return ()
        return self._wanted().review(axis)

    @property
    def slice_index(self) -> int | None:
        """Number of the slice that the viewer shows; None when it shows none."""
        try:
            return self._layers.plane().index
        except InputError:
            return None

    def go_to(self, slice_index: int) -> None:
        """Show a slice.

        Raises:
            InputError: for a slice that is not there.
        """
        SlicePlane(self._layers.axis(), slice_index).check(self._wanted().shape_zyx)
        self._layers.go_to(slice_index)

    def go_to_doubtful(self) -> int | None:
        """Show the next slice of the current object that is doubtful, and return its number; None without one."""
        index = next_doubtful(self.review, -1 if self.slice_index is None else self.slice_index)
        if index is not None:
            self.go_to(index)
        return index

    @property
    def commit_policy(self) -> CommitPolicy:
        """What wins where objects meet."""
        return self._wanted().policy

    @commit_policy.setter
    def commit_policy(self, policy: CommitPolicy) -> None:
        for known in self._times_of(self._wanted().image):
            known.policy = policy
        self.events.changed.emit()

    def set_classes(self, classes: LabelClasses) -> None:
        """Know these classes, of any image: their names for new objects, their colours for all of them."""
        self.classes = classes
        self._show_colours()
        self.events.changed.emit()

    def load_classes(self, path: str | Path) -> None:
        """Read classes from a file (docs/label_classes.md), on the worker; `events.changed` says when."""
        task = partial(read_classes, Path(path))
        self._runner.submit(lambda report: task(), self._on_classes_read, key="classes")

    def class_name(self, class_id: int | None) -> str:
        """Name of a class; "" for None, and for one that is not known."""
        return self.classes.by_id(class_id).name if class_id is not None and class_id in self.classes else ""

    def lock_class(self, class_id: int, is_locked: bool = True) -> None:
        """Lock all objects of a class, or unlock them. Later objects of the class are not.

        Raises:
            InputError: when one of them is being edited and cannot be committed.
        """
        for record in self.objects:
            if record.class_id == class_id and record.is_locked != is_locked:
                self.change_object(record.object_id, is_locked=is_locked)

    def new_object(self, name: str | None = None, class_id: int | None = None) -> int:
        """Begin another object and return its id; the current one is committed first.

        A current object that is still empty is taken for it. Without a name it has that of its class.

        Raises:
            InputError: when the current object cannot be committed (`commit`).
        """
        annotation = self._wanted()
        name = name or self.class_name(class_id) or None
        self._pipeline.switch("new object", lambda known, _: known.add_record(name, class_id))
        self._show_object()
        return annotation.object_id

    def select(self, object_id: int) -> None:
        """Go back to an object and its prompts; its mask can be changed again. The current one is committed first.

        Raises:
            InputError: for an object that is not there, or when the current one cannot be committed (`commit`).
        """
        annotation = self._wanted()
        annotation.table.find(object_id)
        if object_id == annotation.object_id:
            return

        def change(known: Annotation, step: Step) -> None:
            known.table = known.table.with_current(object_id)
            if not known.table.record.is_locked:
                known.reopen(step)

        self._pipeline.switch("select", change)
        self._show_object()

    def commit(self) -> int:
        """Move the current object's mask to the committed ones, as `commit_policy` allows.

        The object's next prompt opens it again.

        Returns:
            Number of voxels that it has there.

        Raises:
            InputError: when there is no mask, or the policy or locked objects leave none of it.
        """
        count = self._pipeline.commit()
        self.events.changed.emit()
        return count

    def delete_object(self) -> None:
        """Remove the current object with its prompts and masks.

        Raises:
            InputError: for a locked object.
        """
        annotation = self._wanted()
        annotation.check_unlocked()
        self._pipeline.cancel()
        annotation.delete(annotation.begin("delete"))
        self._show_object()

    def change_object(self, object_id: int, **fields: Any) -> None:
        """Change `name`, `class_id`, `is_locked` or `is_visible`. To lock the object that is being edited commits it.

        Raises:
            InputError: for an object that is not there, another field, an empty name, or when it cannot be committed.
        """
        annotation = self._wanted()
        annotation.table.find(object_id)
        if set(fields) - {"name", "class_id", "is_locked", "is_visible"} or fields.get("name") == "":
            raise InputError(
                f"an object has name (not empty), class_id, is_locked, is_visible to set, got {fields}"
            )
        step = annotation.begin("change object")
        try:
            if fields.get("is_locked") and annotation.is_edited(object_id) and annotation.num_open_voxels:
                annotation.commit(step)
        except InputError:
            annotation.history.discard(step)
            raise
        annotation.table = annotation.table.with_record(replace(annotation.table.find(object_id), **fields))
        for other in self._times_of(annotation.image):
            if other is not annotation and object_id in other.table.records:
                other.keep_table(step)
                other.table = other.table.with_record(replace(other.table.find(object_id), **fields))
        if annotation.object_layer is not None:
            self._show_colours()
            self._layers.refresh()
        self.events.changed.emit()

    def toggle_sign(self) -> None:
        """From + to − of the tool that is chosen, and back; a box has no sign."""
        tool: Any = self.tool
        if tool and tool[-1] in "+-":
            self.tool = tool[:-1] + ("-" if tool[-1] == "+" else "+")

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
            InputError: for a position outside the image, or a locked object.
        """
        z, y, x = (0.0,) * (3 - len(position_zyx)) + tuple(float(v) for v in position_zyx)
        self._add(self.prompts.with_prompt(VolumePoint((z, y, x), positive, self._layers.axis())))

    def add_box(self, slice_index: int, box: tuple[float, float, float, float]) -> None:
        """Draw a half-open box (y0, x0, y1, x1) on a slice, instead of one that is there.

        Raises:
            InputError: for a box outside the image or thinner than a pixel, or a locked object.
        """
        y0, x0, y1, x1 = (float(v) for v in box)
        self._add(
            self.prompts.with_prompt(VolumeBox(self._layers.axis(), int(slice_index), (y0, x0, y1, x1)))
        )

    def add_scribble(self, slice_index: int, path_yx: ArrayLike, positive: bool = True) -> None:
        """Draw a stroke on a slice, along vertices (N, 2) in pixels: the object is there, or is not.

        Raises:
            InputError: for a path outside the image or of another shape, or a locked object.
        """
        path = _vertices(path_yx, 1)
        self._add(
            self.prompts.with_prompt(VolumeScribble(self._layers.axis(), int(slice_index), path, positive))
        )

    def add_lasso(self, slice_index: int, polygon_yx: ArrayLike, positive: bool = True) -> None:
        """Draw around the object on a slice, or around what is not the object, with corners (N, 2) in pixels.

        Raises:
            InputError: for a polygon outside the image or of less than three corners, or a locked object.
        """
        polygon = _vertices(polygon_yx, 3)
        self._add(
            self.prompts.with_prompt(VolumeLasso(self._layers.axis(), int(slice_index), polygon, positive))
        )

    def add_mask(self, slice_index: int, mask: ArrayLike) -> None:
        """Hint that the object is about where `mask` (rows, columns of the slice) is not 0: of another tool, say.

        Raises:
            InputError: for an empty mask or one of another shape, or a locked object.
        """
        plane = SlicePlane(self._layers.axis(), int(slice_index))
        shape = self._wanted().shape_zyx
        plane.check(shape)
        pixels = np.asarray(mask) != 0
        wanted = plane.size_yx(shape)
        if pixels.shape != wanted or not pixels.any():
            raise InputError(
                f"a mask for this slice needs shape {wanted} and a pixel that is not 0, got {pixels.shape} with "
                f"{int(np.count_nonzero(pixels))} such pixels"
            )
        hint = volume_mask(plane, pixels)
        if hint is not None:
            self._add(self.prompts.with_prompt(hint))

    def next_candidate(self) -> bool:
        """Where one click is all there is on the shown slice: take another of the three masks that it may mean.

        The largest first, then its part, then the part of that, and again.

        Returns:
            False when the model gave one mask alone, or the mask was changed since.
        """
        return self._pipeline.next_candidate(self._layers.plane())

    def remove_prompt(self, prompt: Prompt) -> None:
        """Take one prompt of `prompts` away; the slice is segmented anew with those that are left.

        Raises:
            InputError: when the current object has no such prompt, or is locked.
        """
        left = self.prompts.without_prompt(prompt)
        if left == self.prompts:
            raise InputError(f"the current object has no prompt {prompt}")
        self._add(left)

    def clear_prompts(self, *, everywhere: bool = False) -> None:
        """Remove prompts and mask of the current object from the visible slice, or from all slices.

        Raises:
            InputError: for a locked object.
        """
        annotation, axis = self._wanted(), self._layers.axis()
        bounds = annotation.table.record.bounds.union(annotation.extent)
        planes = annotation.user_planes | {SlicePlane(axis, i) for i in bounds.planes(axis)}
        if not everywhere:
            planes &= {self._layers.plane()}
        if planes:
            self._pipeline.clear(planes)
            self._show_object()

    def undo(self) -> None:
        """Take back the last step: prompts, strokes, propagation, commit, objects, with the masks that it made."""
        if self.can_undo:
            self._pipeline.undo()
            self._show_object()

    def redo(self) -> None:
        """Do again what was taken back last."""
        if self.can_redo:
            self._pipeline.redo()
            self._show_object()

    @property
    def can_undo(self) -> bool:
        """True when there is a step to take back."""
        return self._annotation is not None and bool(self._annotation.history.done)

    @property
    def can_redo(self) -> bool:
        """True when there is a step to do again."""
        return self._annotation is not None and bool(self._annotation.history.undone)

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
        indices = [plane.index for plane in annotation.user_planes if plane.axis == axis]
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

    def interpolate(self) -> None:
        """Fill the slices between those that were prompted or painted from their shapes alone, without the model.

        Raises:
            InputError: without a mask on one of the user's slices, or for a locked object.
        """
        self._pipeline.propagate(
            self._layers.axis(), None, (0, self._wanted().shape_zyx[self._layers.axis()])
        )

    def clean_up(self, **settings: Any) -> None:
        """Clean the mask of the current object: settings of `core.post_processing.CleanUp`. A step to undo.

        Raises:
            InputError: without a mask, for settings that make no sense, or a locked object.
        """
        self._pipeline.clean_up(CleanUp(**settings))

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
        """Write the label map with the geometry of the image; a file that exists is replaced. `events.saved` says when.

        The object that is being edited is in it, as if it were committed; it stays open.

        Raises:
            InputError: when nothing was segmented yet.
        """
        annotation = self._wanted()
        labels = annotation.labels
        if labels is None:
            raise InputError("nothing to save: segment an object first")
        label_map = self._merged()
        _, meta, _ = labels.as_layer_data_tuple()
        task = partial(save_labels, Path(path), label_map, meta)
        self._runner.submit(lambda report: task(), self.events.saved.emit, key="save")

    def save_measurements(self, path: str | Path) -> None:
        """Write volume, diameters and intensities of all objects (of the shown time point) as CSV; replaces a file.

        `events.saved` says when.

        Raises:
            InputError: when nothing was segmented yet.
        """
        annotation = self._wanted()
        label_map = layers.voxels(self._merged(), annotation.time)
        image = annotation.volume if annotation.volume.ndim == 3 else None
        records = annotation.table.records.values()
        names = {record.object_id: record.name for record in records}
        classes = {record.object_id: self.class_name(record.class_id) for record in records}
        spacing = layers.spacing_zyx(annotation.image)
        task = partial(save_measurements, Path(path), label_map, image, spacing, (names, classes))
        self._runner.submit(lambda report: task(), self.events.saved.emit, key="measure")

    def save_effort(self, path: str | Path) -> None:
        """Write what each object cost (active seconds, prompts by kind, corrections) as CSV; replaces a file.

        Counts and durations only, no positions and no clock times. `events.saved` says when.

        Raises:
            InputError: when nothing was done yet.
        """
        annotation = self._wanted()
        names = {record.object_id: record.name for record in annotation.table.records.values()}
        rows = annotation.effort.table(names)
        if not rows:
            raise InputError("nothing to save: segment an object first")
        task = partial(save_table, Path(path), rows)
        self._runner.submit(lambda report: task(), self.events.saved.emit, key="effort")

    def _merged(self) -> NDArray[Any]:
        """A copy of the label map of the layer, with the objects that are being edited."""
        annotation = self._wanted()
        if annotation.labels is None:
            raise InputError("nothing to save: segment an object first")
        label_map = np.array(annotation.labels.data)
        for known in self._times_of(annotation.image):
            known.put_into(layers.voxels(label_map, known.time))
        return label_map

    @property
    def _annotation(self) -> Annotation | None:
        return self._layers.annotation

    def _times_of(self, layer: Any) -> list[Annotation]:
        """What is known about an image, by time point; the last one shown is the last."""
        return [known for known in self._annotations if known.image is layer]

    def _new_annotation(self, layer: Image, time: int) -> Annotation:
        others = self._times_of(layer)
        made = Annotation(layer, layers.volume_of(layer, time), time=time)
        if others:
            last = others[-1]
            made.ours, made.effort, made.policy = last.ours, last.effort, last.policy
        else:
            layer.events.data.connect(self._on_image_data)
        self._annotations.append(made)
        return made

    def _on_time_changed(self, time: int) -> None:
        """The viewer shows another time point: its objects, prompts and masks take the place of those before."""
        before = self._wanted()
        known = next((one for one in self._times_of(before.image) if one.time == time), None)
        annotation = self._new_annotation(before.image, time) if known is None else known
        annotation.take_objects_of(before)
        self._annotations.remove(annotation)
        self._annotations.append(annotation)
        self._layers.show(annotation)
        self._show_object()

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
        try:
            self._pipeline.change_prompts(cleaned)
        finally:
            self._layers.write(self._wanted().current)

    def _on_prompts_changed(self, read: VolumePrompts) -> None:
        """Prompts from the layers: what is wrong with them is said and removed."""
        annotation = self._wanted()
        prompts, complaints = read.cleaned(annotation.shape_zyx)
        before = annotation.current
        if len(prompts.all) > len(before.all):
            try:
                self._layers.axis()
            except InputError as error:
                prompts, complaints = before, [str(error)]
        try:
            self._pipeline.change_prompts(prompts)
        except InputError as error:
            prompts, complaints = before, [str(error)]
        if complaints:
            show_warning(complaints[0])
        if prompts != read:
            # Not now: napari is still in the middle of adding what we want to remove.
            self._tidying.start()

    def _tidy(self) -> None:
        """What has to wait until napari is done with what it told us about."""
        debris, self._debris = self._debris, []
        for layer in debris:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        if self._annotation is not None:
            self._layers.write(self._annotation.current)

    def _on_classes_read(self, read: LabelClassFile) -> None:
        for skipped in read.skipped:
            show_info(skipped)
        self.set_classes(read.classes)

    def _show_colours(self) -> None:
        """Objects of a class are shown in its colour, hidden ones not at all."""
        annotation = self._annotation
        if annotation is None or annotation.object_layer is None:
            return
        colours: dict[int, tuple[float, ...]] = {
            record.object_id: self.classes.by_id(record.class_id).colour_rgba
            for record in self.objects
            if record.class_id is not None and record.class_id in self.classes
        }
        colours |= {record.object_id: _HIDDEN for record in self.objects if not record.is_visible}
        for layer in (annotation.object_layer, annotation.labels):
            if layer is not None:
                layers.set_colours(layer, colours)

    def _show_object(self) -> None:
        """After the current object or its prompts were replaced."""
        annotation = self._wanted()
        self._layers.write(annotation.current)
        if annotation.object_layer is not None:
            annotation.object_layer.selected_label = annotation.object_id
            self._show_colours()
            self._layers.refresh()
        self.events.changed.emit()

    def _forget_answers(self) -> None:
        """Logits of another model or window are no hint for this one; masks are."""
        for annotation in self._annotations:
            annotation.answers.clear()
        self.events.changed.emit()

    def _on_image_data(self, event: Any) -> None:
        """The pixels of an image were replaced: prompts stay where the new ones have the same shape."""
        known = self._times_of(event.source)
        if not known:
            return
        image = known[0].image
        is_same_grid = image.ndim in (2, 3, 4) and all(
            one.time < layers.num_times(image) and layers.volume_of(image, one.time).shape == one.volume.shape
            for one in known
        )
        if is_same_grid:
            for one in known:
                one.volume = layers.volume_of(image, one.time)
                one.answers.clear()
            return
        self._drop(image)
        show_warning(f"{image.name!r} has a new shape: its prompts were removed, its labels stay")

    def _drop(self, image: Image) -> None:
        """Forget an image; labels stay in the viewer, they are the user's work."""
        image.events.data.disconnect(self._on_image_data)
        ours = self._times_of(image)[0].ours
        was_shown = self.image is image
        self._annotations = [known for known in self._annotations if known.image is not image]
        if was_shown:
            self.set_image(None)
            for labels in (ours.labels, ours.object_layer):
                if labels is not None:
                    labels.visible = True
        self._debris += [layer for layer in (ours.points, ours.boxes, ours.scribbles) if layer is not None]
        self._tidying.start()

    def _on_layer_removed(self, event: Any) -> None:
        if self._times_of(event.value):
            self._drop(event.value)
        for annotation in self._annotations:
            annotation.forget(event.value)
        for annotation in self._annotations:
            annotation.ours.forget(event.value)
        self.events.changed.emit()

    def _on_layers_changed(self) -> None:
        self.events.changed.emit()


def _vertices(path_yx: ArrayLike, least: int) -> Vertices:
    """Vertices as plain numbers.

    Raises:
        InputError: for another shape, less than `least` of them, or numbers that are not finite.
    """
    path = np.asarray(path_yx, dtype=float)
    if path.ndim != 2 or path.shape[1] != 2 or len(path) < least or not np.isfinite(path).all():
        raise InputError(
            f"wanted {least} or more finite vertices (row, column), got an array of shape {path.shape}"
        )
    return tuple((float(y), float(x)) for y, x in path)
