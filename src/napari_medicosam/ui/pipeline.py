"""The single hop of one viewer: changed prompts become frozen requests, results become pixels of the labels.

Also holds what must not go wrong between the two: an answer that is older than the last change is dropped.
"""

from __future__ import annotations

import logging
import time
import zlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error, show_info, show_warning
from psygnal import Signal, SignalGroup

from napari_medicosam.core.geometry import SlicePlane, SliceStack
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.errors import InputError, MedicoSamError
from napari_medicosam.predict.propagation import PropagationSettings, gaps_of
from napari_medicosam.ui import layers
from napari_medicosam.ui.annotation import Annotation, MaskHint
from napari_medicosam.ui.tasks import Propagation, cleaned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import PackedMask
    from napari_medicosam.core.history import Step
    from napari_medicosam.core.post_processing import CleanUp
    from napari_medicosam.core.volume_prompts import VolumePrompts
    from napari_medicosam.ui.engine import ServiceSettings
    from napari_medicosam.ui.prompt_layers import PromptLayers
    from napari_medicosam.ui.runner import Runner
    from napari_medicosam.ui.strokes import Edit
    from napari_medicosam.ui.tasks import Worker

_logger = logging.getLogger(__name__)


Key = tuple[Annotation, int, SlicePlane]
"""What a question is about: of two about the same, the newer counts."""


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
        self._open: dict[Key, tuple[int, Step]] = {}
        self._queued_propagation: (
            tuple[Annotation, int, PropagationSettings | None, tuple[int, int]] | None
        ) = None
        self._propagation: Step | None = None
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
        size_yx = plane.size_yx(annotation.shape_zyx)
        prompts, hint = annotation.current.on(plane, size_yx), MaskHint()
        if before is not None and annotation.current.grew_from(before, plane):
            hint = annotation.mask_hint(plane)
            if prompts.mask is not None and _differs(prompts.mask, before.on(plane, size_yx).mask):
                # What was drawn now belongs to the object, beside what it was.
                hint = MaskHint(mask=prompts.mask | annotation.mask(plane))
            if hint.logits is not None or hint.mask is not None:
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
        """Ask about the slices whose prompts changed, and only about these.

        Raises:
            InputError: when the object is locked.
        """
        annotation = self._wanted()
        before = annotation.current
        changed = before.changed_planes(prompts)
        if not changed:
            return
        annotation.check_unlocked()
        moved = len(prompts.all) == len(before.all)
        kind = f"move {changed}" if moved else "prompt"
        # A drag comes as many small moves, but is one step to undo.
        last = annotation.history.last
        same = last is not None and moved and (last.kind, last.object_id) == (kind, annotation.object_id)
        step = last if same and last is not None else annotation.begin(kind)
        self._reopen(step)
        for prompt in [prompt for prompt in prompts.all if prompt not in before.all]:
            plane = SlicePlane(prompt.axis, prompt.index)
            annotation.note_prompt(prompt, is_correction=bool(annotation.mask(plane).any()))
        annotation.table = annotation.table.with_prompts(annotation.object_id, prompts)
        for plane in changed:
            if prompts.on(plane, plane.size_yx(annotation.shape_zyx)).is_empty:
                self._erase(plane, step)
            else:
                self._ask(self.request(plane, before), step)
        self.events.changed.emit()

    def next_candidate(self, plane: SlicePlane) -> bool:
        """Take another of the masks that the one click on a slice may mean. False when there is none."""
        annotation = self._wanted()
        step = annotation.begin("candidate")
        if not annotation.is_edited(annotation.object_id) or not annotation.next_candidate(plane, step):
            annotation.history.discard(step)
            return False
        self._show(plane, annotation.object_id)
        self.events.changed.emit()
        return True

    def clear(self, planes: Iterable[SlicePlane]) -> None:
        """Remove prompts and mask of the current object from these slices, as one step.

        Raises:
            InputError: when the object is locked.
        """
        annotation = self._wanted()
        annotation.check_unlocked()
        self.stop_propagation()
        step = annotation.begin("clear")
        self._reopen(step)
        prompts = annotation.current
        for plane in planes:
            prompts = prompts.without(plane)
            self._erase(plane, step)
        object_id = annotation.object_id
        table = annotation.table.with_prompts(object_id, prompts)
        table = table.with_anchors(object_id, table.anchors_of(object_id) - set(planes))
        annotation.table = table.with_filled(object_id, {})  # what was erased may be wanted again

    def undo(self) -> None:
        """Take back the last step; answers to it that are still to come will be dropped."""
        self._go(self._wanted().history.undo)

    def redo(self) -> None:
        """Do again what was taken back last. Nothing is asked again: masks come back as they were."""
        self._go(self._wanted().history.redo)

    def painted(self, layer: Any, edits: list[Edit]) -> None:
        """A stroke of the brush in one of our label maps."""
        annotation = self._wanted()
        if layer is annotation.object_layer:
            try:
                changed = annotation.keep_painted(edits, self._layers.axis())
            except InputError as error:
                show_warning(str(error))
                changed = []
            for plane in changed:
                self.events.mask_changed.emit(annotation.object_id, plane)
        elif annotation.keep_painted_labels(edits):
            show_warning("A locked object was painted over and put back: unlock it to change it")
        self._layers.refresh()
        self.events.changed.emit()

    def switch(self, kind: str, change: Callable[[Annotation, Step], None]) -> None:
        """Go on to another object, as one step: the current one is committed first, as far as it has a mask.

        Raises:
            InputError: what `change` raises; nothing has happened then.
        """
        annotation = self._wanted()
        self.stop_propagation()
        annotation.look_everywhere()
        step = annotation.begin(kind)
        try:
            if annotation.num_open_voxels:
                annotation.commit(step)
            change(annotation, step)
        except InputError:
            step.undo()
            annotation.history.discard(step)
            raise
        if annotation.object_layer is not None:
            self._layers.refresh()

    def commit(self) -> int:
        """Move the current object's mask to the committed ones. Returns its voxels there.

        Raises:
            InputError: when there is no mask, or the policy leaves none of it.
        """
        annotation = self._wanted()
        self.stop_propagation()
        step = annotation.begin("commit")
        try:
            count = annotation.commit(step)
        except InputError:
            annotation.history.discard(step)
            raise
        self._layers.refresh()
        return count

    def _go(self, where: Callable[[], Step | None]) -> None:
        """Undo or redo."""
        self.stop_propagation()
        step = where()
        if step is None:
            return
        self._wanted().effort.note(step.object_id, where.__name__, time.monotonic())
        for key in [key for key, (_, asked_by) in self._open.items() if asked_by is step]:
            del self._open[key]
        for plane in step.swaps:
            if isinstance(plane, SlicePlane):
                self.events.mask_changed.emit(step.object_id, plane)

    def _reopen(self, step: Step) -> None:
        """Edit a committed object again."""
        self._layers.make_missing()
        self._wanted().reopen(step)

    def propagate(self, axis: int, settings: PropagationSettings | None, z_range: tuple[int, int]) -> None:
        """Propagate the current object along an axis as soon as no answer is missing; without settings, from shapes."""
        annotation = self._wanted()
        annotation.check_unlocked()
        self.stop_propagation()
        if annotation.table.record.is_committed:
            self._reopen(annotation.begin("reopen"))
        self._queued_propagation = (annotation, axis, settings, z_range)
        self._begin_propagation()

    def clean_up(self, settings: CleanUp) -> None:
        """Clean the mask of the current object, on the worker.

        Raises:
            InputError: without a mask, for a locked object, or an image whose layer has no spacing.
        """
        annotation = self._wanted()
        annotation.check_unlocked()
        self.stop_propagation()
        if annotation.table.record.is_committed:
            self._reopen(annotation.begin("reopen"))
        annotation.look_everywhere()
        packed, object_id = annotation.packed(), annotation.object_id
        if packed.box.is_empty:
            raise InputError("nothing to clean up: segment the object first")
        spacing = layers.spacing_zyx(annotation.image)
        self._runner.submit(
            lambda report: cleaned(packed, annotation.shape_zyx, spacing, settings),
            partial(self._on_cleaned, annotation, object_id, packed),
            key="clean up",
        )

    def _on_cleaned(
        self, annotation: Annotation, object_id: int, before: PackedMask, after: PackedMask
    ) -> None:
        now = annotation.packed()
        if (
            not annotation.is_edited(object_id)
            or now.box != before.box
            or not np.array_equal(now.bits, before.bits)
        ):
            show_warning("The object was changed while it was being cleaned up: it is left as it is")
            return
        annotation.replace_edited(after, annotation.begin("clean up"))
        self._layers.refresh()
        self.events.changed.emit()

    def cancel(self) -> None:
        """Stop whatever runs or waits; nothing of it is written any more."""
        self._queued_propagation = self._propagation = None
        self._open.clear()
        self._runner.cancel()

    def stop_propagation(self) -> None:
        """Cancel only if the object is being propagated."""
        if self._propagation is not None or self._queued_propagation is not None:
            self.cancel()

    def _ask(self, request: SegmentRequest, step: Step) -> None:
        annotation = self._wanted()
        key = (annotation, request.object_id, request.plane)
        self._open[key] = (request.generation, step)
        self._runner.submit(
            partial(self._worker.segment, self._settings(), request),
            partial(self._on_result, annotation),
            key=key,
            on_end=partial(self._on_question_end, key, request.generation),
        )

    # ------------------------------------------------------------------ back

    def _on_result(self, annotation: Annotation, result: SegmentResult) -> None:
        key = (annotation, result.object_id, result.plane)
        generation, step = self._open.get(key, (0, None))
        if self._annotation is None or generation != result.generation:
            return  # prompts have changed since, or went away
        self._layers.make_missing()
        if annotation.is_edited(result.object_id):
            annotation.write_answer(result, step)
        else:  # the user has gone on to another object meanwhile
            annotation.write_committed(result.plane, result.mask, result.object_id)
        self._show(result.plane, result.object_id)

    def _on_question_end(self, key: Key, generation: int) -> None:
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
        annotation, axis, settings, bounds = self._queued_propagation
        self._queued_propagation = None
        if annotation is not self._annotation:
            return  # the user went on to another time point
        run = self._propagation_run(axis, settings, bounds)
        if not run.filled_from:
            show_info("Nothing to propagate again: no prompted or painted slice has changed since")
            return
        self._propagation = step = self._annotation.begin("interpolate" if run.from_shapes else "propagate")
        work = (
            self._worker.interpolate if run.from_shapes else partial(self._worker.propagate, self._settings())
        )
        self._runner.stream(
            partial(work, run),
            partial(self._on_propagated, self._annotation, step, run),
            partial(self._on_propagation_end, self._annotation, step),
        )
        self.events.changed.emit()

    def _propagation_run(
        self, axis: int, settings: PropagationSettings | None, bounds: tuple[int, int]
    ) -> Propagation:
        """What to propagate from, and which gaps are as they should be already.

        Raises:
            InputError: without a mask on a slice of the user's.
        """
        annotation = self._wanted()
        object_id = annotation.object_id
        side = np.zeros((1, 1), dtype=np.float32)  # propagation asks with masks, not with logits
        anchors: dict[int, SegmentResult] = {}
        stops: set[int] = set()
        for plane in sorted(annotation.user_planes, key=lambda plane: plane.index):
            if plane.axis != axis:
                continue
            mask = annotation.mask(plane)
            if mask.any():
                sure = annotation.score(plane, mask)
                anchors[plane.index] = SegmentResult(plane, mask, Region.of_mask(mask), sure, side, object_id)
            elif annotation.current.on(plane, plane.size_yx(annotation.shape_zyx)).is_stop:
                stops.add(plane.index)
        if not anchors:
            raise InputError("nothing to propagate: the object has no mask on its prompted slices")
        masks: dict[int | None, int] = {
            index: zlib.crc32(np.packbits(anchor.mask).tobytes()) for index, anchor in anchors.items()
        }
        how = (settings, bounds, *self._settings().without_pixels)
        wanted = {
            (below, above): (masks.get(below, -1), masks.get(above, -1), *how)
            for below, above in gaps_of(anchors.keys(), stops)
            if settings is not None or (below in anchors and above in anchors)
        }
        known = annotation.table.filled_of(object_id)
        skip = {gap for gap, filled_from in wanted.items() if known.get((axis, *gap)) == filled_from}
        return Propagation(
            SliceStack(annotation.volume, axis),
            tuple(anchors.values()),
            settings or PropagationSettings(),
            frozenset(stops),
            bounds,
            frozenset(skip),
            {gap: filled_from for gap, filled_from in wanted.items() if gap not in skip},
            from_shapes=settings is None,
        )

    def _on_propagated(
        self, annotation: Annotation, step: Step, run: Propagation, result: SegmentResult | None
    ) -> None:
        if self._propagation is not step or not annotation.is_edited(step.object_id):
            return
        if result is None:
            self._end_of_gaps(annotation, step, run)
        elif result.plane not in annotation.user_planes:  # else the user's word, given meanwhile, stands
            self._layers.make_missing()
            annotation.write_result(result, step)
            self._show(result.plane, result.object_id)

    def _end_of_gaps(self, annotation: Annotation, step: Step, run: Propagation) -> None:
        """All gaps were followed to their ends: what an earlier propagation left beyond is not the object's."""
        axis = run.stack.axis
        for index in sorted(run.indices & set(annotation.extent.planes(axis))):
            plane = SlicePlane(axis, index)
            if (
                plane not in step.swaps
                and plane not in annotation.user_planes
                and annotation.mask(plane).any()
            ):
                annotation.write(plane, np.zeros(plane.size_yx(annotation.shape_zyx), dtype=bool), step)
                self._show(plane, step.object_id)
        filled = dict(annotation.table.filled_of(step.object_id))
        filled |= {(axis, *gap): filled_from for gap, filled_from in run.filled_from.items()}
        annotation.table = annotation.table.with_filled(step.object_id, filled)

    def _on_propagation_end(self, annotation: Annotation, step: Step) -> None:
        if self._propagation is step:
            self._propagation = None
        if not any(isinstance(key, SlicePlane) for key in step.swaps):
            annotation.history.discard(step)
        if self._annotation is not None:
            self._layers.refresh()
        self.events.changed.emit()

    def _on_task_failed(self, error: Exception) -> None:
        if isinstance(error, MedicoSamError):
            message = str(error)
        else:
            _logger.error("a task of MedicoSAM failed", exc_info=error)
            message = f"{type(error).__name__}: {error} (details in the log)"
        show_error(message)
        self.events.error.emit(message)

    def _erase(self, plane: SlicePlane, step: Step) -> None:
        annotation = self._wanted()
        self._open.pop((annotation, annotation.object_id, plane), None)
        annotation.answers.pop((annotation.object_id, plane), None)
        annotation.write(plane, np.zeros(plane.size_yx(annotation.shape_zyx), dtype=bool), step)
        self._show(plane, annotation.object_id)

    def _show(self, plane: SlicePlane, object_id: int) -> None:
        """Refresh the layers if the slice is in sight; in 3D rendering that would cost too much a slice."""
        if self._layers.is_in_sight(plane):
            self._layers.refresh()
        self.events.mask_changed.emit(object_id, plane)


def _differs(mask: NDArray[np.bool_], other: NDArray[np.bool_] | None) -> bool:
    return other is None or not np.array_equal(mask, other)
