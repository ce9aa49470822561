"""The single hop of one viewer: changed prompts become frozen requests, results become pixels of the labels.

Also holds what must not go wrong between the two: an answer that is older than the last change is dropped.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.notifications import show_error
from psygnal import Signal, SignalGroup

from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.errors import InputError, MedicoSamError
from napari_medicosam.ui import layers
from napari_medicosam.ui.annotation import MaskHint
from napari_medicosam.ui.tasks import Propagation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.predict.propagation import PropagationSettings
    from napari_medicosam.ui.annotation import Annotation, Edit
    from napari_medicosam.ui.engine import ServiceSettings
    from napari_medicosam.ui.prompt_layers import PromptLayers
    from napari_medicosam.ui.runner import Runner
    from napari_medicosam.ui.tasks import Worker
    from napari_medicosam.ui.volume_prompts import VolumePrompts

_logger = logging.getLogger(__name__)


class SessionEvents(SignalGroup):
    """What a session tells, always on the GUI thread.

    progress(done, total, text): total is 0 when nobody knows. mask_changed(object_id, plane).
    busy_changed(is_busy). error(message): also shown as a notification. changed(): image, model, window,
    objects, prompts or undo steps. tool_changed(). saved(path).
    """

    progress = Signal(int, int, str)
    mask_changed = Signal(int, object)
    busy_changed = Signal(bool)
    error = Signal(str)
    changed = Signal()
    tool_changed = Signal()
    saved = Signal(str)


class Pipeline:
    """Asks the worker and writes its answers, for the image that `prompt_layers` shows.

    Args:
        runner: where tasks run; the pipeline listens to it.
        worker: the tasks.
        prompt_layers: the layers, and the annotation that they belong to.
        settings: called for what a service is to be made from now.
    """

    def __init__(
        self,
        runner: Runner,
        worker: Worker,
        prompt_layers: PromptLayers,
        settings: Callable[[], ServiceSettings],
    ) -> None:
        self.events = SessionEvents()
        self._runner = runner
        self._worker = worker
        self._layers = prompt_layers
        self._settings = settings
        self._generation = 0
        self._open: dict[tuple[int, SlicePlane], tuple[int, Edit]] = {}
        self._queued_propagation: tuple[int, PropagationSettings, tuple[int, int]] | None = None
        self._propagation: Edit | None = None
        runner.progressed.connect(self.events.progress.emit)
        runner.busy_changed.connect(self.events.busy_changed.emit)
        runner.failed.connect(self._on_task_failed)

    @property
    def _annotation(self) -> Annotation | None:
        return self._layers.annotation

    def _wanted(self) -> Annotation:
        return self._layers.wanted()

    # ------------------------------------------------------------------ out

    def request(self, plane: SlicePlane, before: VolumePrompts | None = None) -> SegmentRequest:
        """All that the model needs to know about the current object on a slice, frozen.

        Args:
            plane: a slice with prompts.
            before: the prompts before the last change. Where it only added some the last mask is refined;
                where it moved or removed one, or for None, the slice starts afresh.
        """
        annotation = self._wanted()
        prompts, hint = annotation.current.on(plane), MaskHint()
        if before is not None and annotation.current.grew_from(before, plane):
            hint = annotation.mask_hint(plane)
            prompts = replace(prompts, mask=hint.mask)
        self._generation += 1
        return SegmentRequest(
            image_slice=np.asarray(plane.cut(annotation.volume)),
            prompts=prompts,
            previous_logits=hint.logits,
            object_id=annotation.object_id,
            generation=self._generation,
            previous_view=hint.view,
        )

    def change_prompts(self, prompts: VolumePrompts) -> None:
        """Ask about the slices whose prompts changed, and only about these."""
        annotation = self._wanted()
        before = annotation.current
        changed = before.changed_planes(prompts)
        if not changed:
            return
        moved = len(prompts.points) == len(before.points) and len(prompts.boxes) == len(before.boxes)
        kind = f"move {changed}" if moved else "prompt"
        # A drag comes as many small moves, but is one step to undo.
        last = annotation.edits[-1] if annotation.edits else None
        same = last is not None and moved and (last.kind, last.object_id) == (kind, annotation.object_id)
        edit = last if same and last is not None else annotation.begin_edit(kind)
        annotation.prompts[annotation.object_id] = prompts
        for plane in changed:
            if prompts.on(plane).is_empty:
                self._erase(plane, edit)
            else:
                self._ask(self.request(plane, before), edit)
        self.events.changed.emit()

    def clear(self, planes: Iterable[SlicePlane]) -> None:
        """Remove prompts and mask of the current object from these slices, as one step."""
        annotation = self._wanted()
        self.stop_propagation()
        edit = annotation.begin_edit("clear")
        prompts = annotation.current
        for plane in planes:
            prompts = prompts.without(plane)
            self._erase(plane, edit)
        annotation.prompts[annotation.object_id] = prompts

    def undo(self) -> None:
        """Take back the last step; answers to it that are still to come will be dropped."""
        annotation = self._wanted()
        self.stop_propagation()
        edit = annotation.edits.pop()
        for key in [key for key, (_, asked_by) in self._open.items() if asked_by is edit]:
            del self._open[key]
        annotation.take_back(edit)
        for plane in edit.masks_before:
            self.events.mask_changed.emit(edit.object_id, plane)

    def propagate(self, axis: int, settings: PropagationSettings, z_range: tuple[int, int]) -> None:
        """Propagate the current object along an axis as soon as no answer is missing."""
        self.stop_propagation()
        self._queued_propagation = (axis, settings, z_range)
        self._begin_propagation()

    def cancel(self) -> None:
        """Stop whatever runs or waits; nothing of it is written any more."""
        self._queued_propagation = self._propagation = None
        self._open.clear()
        self._runner.cancel()

    def stop_propagation(self) -> None:
        """Cancel only if the object is being propagated."""
        if self._propagation is not None or self._queued_propagation is not None:
            self.cancel()

    def _ask(self, request: SegmentRequest, edit: Edit) -> None:
        key = (request.object_id, request.plane)
        self._open[key] = (request.generation, edit)
        self._runner.submit(
            partial(self._worker.segment, self._settings(), request),
            self._on_result,
            key=key,
            on_end=partial(self._on_question_end, key, request.generation),
        )

    # ------------------------------------------------------------------ back

    def _on_result(self, result: SegmentResult) -> None:
        generation, edit = self._open.get((result.object_id, result.plane), (0, None))
        if self._annotation is None or generation != result.generation:
            return  # prompts have changed since, or went away
        self._layers.make_missing()
        self._annotation.write_answer(result, edit)
        self._show(result.plane, result.object_id)

    def _on_question_end(self, key: tuple[int, SlicePlane], generation: int) -> None:
        if self._open.get(key, (0,))[0] == generation:
            del self._open[key]
        try:
            self._begin_propagation()
        except MedicoSamError as error:
            self._queued_propagation = None
            self._on_task_failed(error)
        self.events.changed.emit()

    def _begin_propagation(self) -> None:
        """Start the propagation that was asked for, once the masks that it starts from are there."""
        if self._queued_propagation is None or self._open or self._annotation is None:
            return
        axis, settings, bounds = self._queued_propagation
        self._queued_propagation = None
        annotation = self._annotation
        side = np.zeros((1, 1), dtype=np.float32)  # propagation asks with masks, not with logits
        anchors: list[SegmentResult] = []
        stops: set[int] = set()
        for plane in sorted(annotation.current.planes, key=lambda plane: plane.index):
            if plane.axis != axis:
                continue
            mask = annotation.mask(plane, annotation.object_id)
            if mask.any():
                anchors.append(
                    SegmentResult(plane, mask, Region.of_mask(mask), 1.0, side, annotation.object_id)
                )
            elif annotation.current.on(plane).is_stop:
                stops.add(plane.index)
        if not anchors:
            raise InputError("nothing to propagate: the object has no mask on its prompted slices")
        run = Propagation(
            SliceStack(annotation.volume, axis), tuple(anchors), settings, frozenset(stops), bounds
        )
        self._propagation = edit = annotation.begin_edit("propagate")
        self._runner.stream(
            partial(self._worker.propagate, self._settings(), run),
            partial(self._on_propagated, edit),
            partial(self._on_propagation_end, edit),
        )
        self.events.changed.emit()

    def _on_propagated(self, edit: Edit, result: SegmentResult) -> None:
        annotation = self._annotation
        if annotation is None or self._propagation is not edit:
            return
        if result.plane in annotation.prompts[result.object_id].planes:
            return  # prompted meanwhile: the user's word stands
        self._layers.make_missing()
        annotation.write(result.plane, result.mask, result.object_id, edit)
        self._show(result.plane, result.object_id)

    def _on_propagation_end(self, edit: Edit) -> None:
        if self._propagation is edit:
            self._propagation = None
        annotation = self._annotation
        if annotation is not None and annotation.labels is not None:
            if not edit.masks_before and edit in annotation.edits:
                annotation.edits.remove(edit)
            layers.refresh(annotation.labels)
        self.events.changed.emit()

    def _on_task_failed(self, error: Exception) -> None:
        if isinstance(error, MedicoSamError):
            message = str(error)
        else:
            _logger.error("a task of MedicoSAM failed", exc_info=error)
            message = f"{type(error).__name__}: {error} (details in the log)"
        show_error(message)
        self.events.error.emit(message)

    def _erase(self, plane: SlicePlane, edit: Edit) -> None:
        annotation = self._wanted()
        self._open.pop((annotation.object_id, plane), None)
        annotation.answers.pop((annotation.object_id, plane), None)
        empty = np.zeros(plane.size_yx(annotation.shape_zyx), dtype=bool)
        annotation.write(plane, empty, annotation.object_id, edit)
        self._show(plane, annotation.object_id)

    def _show(self, plane: SlicePlane, object_id: int) -> None:
        """Refresh the labels if the slice is in sight; in 3D rendering that would cost too much a slice."""
        labels = self._wanted().labels
        if labels is not None and self._layers.is_in_sight(plane):
            layers.refresh(labels)
        self.events.mask_changed.emit(object_id, plane)
