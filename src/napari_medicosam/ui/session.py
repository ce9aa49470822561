"""The annotation of one viewer: what widgets, scripts and tests call. Two viewers, two sessions.

A click becomes a mask in one hop: prompt layer -> `VolumePrompts` -> frozen `SegmentRequest` -> worker ->
`SegmentResult` -> labels layer. Nothing on the worker reads a layer; no torch, disk or hash is on the GUI thread.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QTimer

from napari_medicosam.core.arguments import real_number
from napari_medicosam.errors import InputError
from napari_medicosam.ui.engine import ServiceSource, is_local
from napari_medicosam.ui.journals import Journals, begin_log
from napari_medicosam.ui.layers import together
from napari_medicosam.ui.saving import Saving
from napari_medicosam.ui.session_classes import ClassMethods
from napari_medicosam.ui.session_objects import ObjectMethods
from napari_medicosam.ui.session_prompts import PromptMethods
from napari_medicosam.ui.session_saving import SavingMethods
from napari_medicosam.ui.session_settings import SettingsMethods
from napari_medicosam.ui.windowing import Windowing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

    from napari import Viewer

    from napari_medicosam.core.volume_prompts import VolumePrompts
    from napari_medicosam.ui.layers import LayerSet
    from napari_medicosam.ui.laying import Where
    from napari_medicosam.ui.runner import Report, Runner

_LONGEST_WAIT = 2e6
"""Seconds, three weeks: Qt counts milliseconds in 32 bits."""


class AnnotationSession(ObjectMethods, ClassMethods, PromptMethods, SettingsMethods, SavingMethods):
    """Objects, prompts and masks of the images of one viewer.

    All methods are for the GUI thread and return at once; what takes long runs on a worker (`wait` waits).
    Wrong arguments raise `InputError`; what fails later comes as `events.error` and as a notification.

    Args:
        viewer: a napari viewer with a window.
        runner: None makes one; `Runner(synchronous=True)` does everything at once.
        engine: makes the service on the worker; None takes `Engine()`.
        journals: folder where work is written to while it is done, for the case of a crash; None does not.
    """

    def __init__(
        self,
        viewer: Viewer,
        *,
        runner: Runner | None = None,
        engine: ServiceSource | None = None,
        journals: Path | None = None,
    ) -> None:
        super().__init__(viewer, runner=runner, engine=engine)
        if journals is not None:
            self._journals = Journals(self._bench, self._images, self._state_of, journals)
        self._saving = Saving(self._bench, self._images)
        self.windowing = Windowing(self)
        """Windows to offer for the image, and the tie to its layer's contrast limits."""
        self._is_closed = False
        self._num_preparing = 0
        self._debris: list[Any] = []
        self._removed: list[str] = []
        self._tidying = QTimer()
        self._tidying.setSingleShot(True)
        self._tidying.timeout.connect(self._tidy)
        self._layers.prompts_changed.connect(self._on_prompts_changed)
        self._layers.time_changed.connect(self._on_time_changed)
        self._layers.layers_made.connect(self._show_colours)
        self._layers.painted.connect(self._pipeline.painted)
        self._layers.given.connect(self._on_labels_given)
        self._layers.undo_wanted.connect(self._on_undo_wanted)
        self._layers.redo_wanted.connect(self._on_redo_wanted)
        self._layers.tool_changed.connect(self.events.tool_changed.emit)
        self._images.dropped.connect(self._on_image_dropped)
        self._images.replaced.connect(self._on_image_replaced)
        self._images.moved.connect(self._layers.follow)
        viewer.layers.events.removed.connect(self._on_layer_removed)
        viewer.layers.events.inserted.connect(self._on_layers_changed)

    def close(self) -> None:
        """Cancel everything, end the worker and let go of the viewer. Layers stay."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._journals is not None:
            self._journals.close()
        self._tidying.stop()
        self._tidying.timeout.disconnect(self._tidy)
        self._sizes.close()
        self._ahead.close()
        self._layers_ahead.close()
        self._letters.close()
        self._pipeline.clean_up_preview.close()
        self.windowing.close()
        self._runner.close()
        self._layers.close()
        self._laying.close()
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.viewer.layers.events.inserted.disconnect(self._on_layers_changed)
        self._images.close()

    @property
    def is_closed(self) -> bool:
        """True once it was closed, with its window or by a script: `napari_medicosam.session` then makes another."""
        return self._is_closed

    @property
    def has_labels(self) -> bool:
        """True when there are labels that can be saved."""
        return self._annotation is not None and self._annotation.ours.label_map("labels") is not None

    @property
    def own_layers(self) -> tuple[Layer, ...]:
        """Our layers of the image that is annotated, lowest first."""
        return () if self._annotation is None else tuple(self._annotation.ours.all)

    def set_image(self, layer: Image | None) -> None:
        """Annotate this image. What was done on another one is kept, its layers are hidden meanwhile.

        Raises:
            InputError: for what is no image of this viewer, or neither 2D nor 3D, nor volumes over time.
        """
        if layer is self.image:
            return
        if layer is not None and not (isinstance(layer, Image) and layer in self.viewer.layers):
            raise InputError(f"wanted an image layer of this viewer, got {layer!r}")
        annotation = None if layer is None else self._images.last_of(layer)
        self._pipeline.propagations.interrupt()
        self.cancel()
        if self._annotation is not None:
            self._annotation.effort.rest()
        self._layers.show(annotation)
        self._layers.come_into_sight()
        if annotation is not None and self._layers.time() != annotation.time:
            self._on_time_changed(self._layers.time())
        self._ask_unasked()  # what was cancelled when another image came
        self.events.changed.emit()

    def lay(self, where: Where, layer: Layer | None = None) -> None:
        """Lay a layer of the viewer (None: the image, with our layers) in the patient's world or along its own axes.

        As it was `opened`, a scan lies in the patient's world, with the axes in the order of the array's: scans whose
        arrays run in the same order overlay, oblique ones, too. Along its `own` axes, 2D shows the slices of an oblique
        scan as they were recorded, neither squeezed nor sheared. In the `world`, all scans of a patient overlay each
        other, in 3D. Prompts, masks and files are the same in each.

        Raises:
            InputError: for another word, a 2D layer, or one that napari could show there in 3D only, in 2D.
        """
        if layer is not None and not (isinstance(layer, Layer) and layer in self.viewer.layers):
            raise InputError(f"wanted a layer of this viewer, got {layer!r}")
        index = self.slice_index
        layer = self._wanted().image if layer is None or layer in self.own_layers else layer
        self._laying.lay(layer, where)
        if layer is self.image and index is not None:
            self._layers.go_to(index)
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
        self._num_preparing += 1
        self._runner.submit(
            task, lambda _: self.events.changed.emit(), key="prepare", on_end=self._on_prepared
        )

    @property
    def is_only_preparing(self) -> bool:
        """True while nothing runs that anybody waits for: see `prepare`."""
        is_asked = self._pipeline.questions.is_waiting or self._pipeline.propagations.is_running
        return self._num_preparing > 0 and not is_asked

    def _on_prepared(self) -> None:
        self._num_preparing -= 1

    def cancel(self) -> None:
        """Stop whatever runs. Slices that are done stay."""
        self._pipeline.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Process events until nothing runs; False when something still does after `timeout` seconds.

        Raises:
            InputError: for a timeout that is no number.
        """
        if timeout is not None:
            timeout = real_number(timeout, "timeout")
            if timeout != timeout:
                raise InputError("timeout must be a number of seconds, got nan")
            timeout = min(max(timeout, 0.0), _LONGEST_WAIT)
        return self._runner.wait(timeout)

    @property
    def is_busy(self) -> bool:
        """True while something runs or waits."""
        return self._runner.is_busy

    def run(self, task: Callable[[Report], Any], on_result: Callable[[Any], None], *, key: Hashable) -> None:
        """Do something of one's own on the worker: it comes after what was asked before, and can be cancelled.

        Args:
            task: called there; touches neither Qt nor napari.
            on_result: called on the GUI thread with what it returned, unless it failed (a notification) or was
                cancelled.
            key: a task with the same key that has not begun is dropped.
        """
        self._runner.submit(task, on_result, key=key)

    def _on_undo_wanted(self) -> None:
        self._do(self.undo)

    def _on_redo_wanted(self) -> None:
        self._do(self.redo)

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except InputError as error:
            self._bench.tell_failure(error)

    def _on_time_changed(self, time: int) -> None:
        """The viewer shows another time point: its objects, prompts and masks take the place of those before."""
        self._layers.show(self._images.at_time(self._wanted(), time))
        self._show_object()

    def _on_prompts_changed(self, read: VolumePrompts) -> None:
        """Prompts from the layers: what is wrong with them is said and removed."""
        annotation = self._wanted()
        prompts, complaints = read.cleaned(annotation.shape_zyx)
        before = annotation.current
        if len(prompts.all) > len(before.all):
            try:
                self._layers.check_in_sight()
            except InputError as error:
                prompts, complaints = before, [str(error)]
        try:
            self._pipeline.questions.change_prompts(prompts)
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
        with together(self.viewer.layers) if debris else nullcontext():
            for layer in debris:
                if layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)
        removed, self._removed = self._removed, []
        if self._annotation is None:
            return
        self._layers.write(self._annotation.current)
        if removed:
            show_info(
                f"Out of the viewer: {', '.join(dict.fromkeys(removed))}. The masks are kept, and shown again with the "
                "next prompt. To be rid of an object, delete it in the list of objects"
            )

    def _on_image_dropped(self, image: Image, ours: LayerSet) -> None:
        """Its labels stay in the viewer, they are the user's work."""
        if self.image is image:
            self.set_image(None)
            for labels in (ours.labels, ours.object_layer):
                if labels is not None:
                    labels.visible = True
        self._pipeline.questions.drop(image)
        self._sizes.forget(self._images.all)
        without_masks = (ours.points, ours.boxes, ours.scribbles, ours.preview)
        self._debris += [layer for layer in without_masks if layer is not None]
        self._debris += ours.ahead.values()
        self._tidying.start()

    def _on_image_replaced(self, image: Image) -> None:
        self._runner.stop_filling()
        begin_log(self._images.times_of(image), "other pixels")  # on these, the model was never asked
        if self.image is image:
            self._pipeline.pixels_replaced()

    def _on_labels_given(self, layer: Any) -> None:
        owner = self._images.owner_of(layer)
        if owner is not None:  # otherwise its image is gone, and the layer the user's own
            self._pipeline.given(layer, owner)

    def _on_layer_removed(self, event: Any) -> None:
        known, layer = self._annotation, event.value
        has_masks = (
            known is not None and layer in (known.labels, known.object_layer) and not known.is_untouched
        )
        self._images.forget_layer(layer)
        if has_masks:
            self._removed.append(repr(layer.name))
            self._tidying.start()  # not now: image and viewer may be about to go, too
        self.events.changed.emit()

    def _on_layers_changed(self) -> None:
        self.events.changed.emit()
