"""Objects are carried through the volume: what to start from, what to leave alone, and writing what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from napari.utils.notifications import show_info, show_warning

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.results import Region, SegmentResult
from napari_medicosam.errors import InputError, MedicoSamError
from napari_medicosam.predict.propagation import ObjectRun, PropagationSettings, gaps_of
from napari_medicosam.ui import committing
from napari_medicosam.ui.answers import with_mask, write_result
from napari_medicosam.ui.log_entries import propagated, propagated_slice
from napari_medicosam.ui.slice_scores import score_of
from napari_medicosam.ui.tasks import ObjectPart, Propagation
from napari_medicosam.ui.users_word import with_users_word

if TYPE_CHECKING:
    from napari_medicosam.core.history import Step
    from napari_medicosam.core.mask_log import Propagated, PropagatedSlice
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.engine import ServiceSettings
    from napari_medicosam.ui.questions import Questions
    from napari_medicosam.ui.workbench import Workbench

Direction = Literal["both", "up", "down"]

_SIDE = np.zeros((1, 1), dtype=np.float32)
"""In the place of logits: propagation asks with masks."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """A propagation that was asked for.

    Attributes:
        annotation: its objects.
        axis: along which.
        object_ids: which of them.
        settings: None for shapes instead of a model.
        direction: up to higher slice numbers, down to lower ones.
        z_range: half-open range of slices that may change.
    """

    annotation: Annotation
    axis: int
    object_ids: tuple[int, ...]
    settings: PropagationSettings | None
    direction: Direction
    z_range: tuple[int, int]


@dataclass(eq=False, slots=True)
class _Running:
    annotation: Annotation
    step: Step
    run: Propagation
    settings: ServiceSettings
    logged: Propagated | None = None
    num_results: int = 0
    is_through: bool = False
    written: set[tuple[int, SlicePlane]] = field(default_factory=set)
    told_locked: set[int] = field(default_factory=set)


class Propagations:
    """Propagates objects, one propagation at a time.

    Args:
        bench: of the session.
        questions: propagation waits for their answers.
    """

    def __init__(self, bench: Workbench, questions: Questions) -> None:
        self._bench = bench
        self._questions = questions
        self._queued: Ask | None = None
        self._running: _Running | None = None

    @property
    def is_running(self) -> bool:
        """True while objects are being propagated, or will be as soon as the answers are there."""
        return self._running is not None or self._queued is not None

    def forget(self) -> None:
        """What runs or waits is not wanted any more."""
        running = self._running
        if running is not None and not running.is_through:
            running.annotation.cut_off.update(part.object_id for part in running.run.parts)
        self._queued = self._running = None

    def stop(self) -> None:
        """Cancel only what is being propagated; answers that are missing still come."""
        if self.is_running:
            self.forget()
            self._bench.runner.cancel_stream()

    def interrupt(self) -> None:
        """As `stop`, for something else that the user does: what is cut off by it is said."""
        said = self._left_undone()
        self.stop()
        if said:
            show_warning(f"{said}: go back to it and propagate again for the rest")

    def _left_undone(self) -> str:
        """How far it has come; "" when nothing is missing."""
        running, ask = self._running, self._queued
        if ask is not None:
            return f"Propagation of {_named(ask.annotation, ask.object_ids)} was stopped before it began"
        if running is None or running.is_through:
            return ""
        ids = tuple(part.object_id for part in running.run.parts)
        return (
            f"Propagation of {_named(running.annotation, ids)} was stopped after {running.num_results} of at most "
            f"{running.run.num_slices} slices"
        )

    def propagate(self, ask: Ask) -> None:
        """Begin as soon as no answer is missing. A current object that is propagated alone is edited from here on.

        Raises:
            InputError: for a locked object, or where no object has a mask on a slice of the user's.
        """
        annotation = ask.annotation
        for object_id in ask.object_ids:
            annotation.check_unlocked(object_id)
        self.stop()
        self._questions.ask_unasked()
        self._queued = ask
        self._begin()

    def go_on(self) -> None:
        """An answer came: what waits for it may begin."""
        try:
            self._begin()
        except MedicoSamError as error:
            self._bench.tell_failure(error)

    def _begin(self) -> None:
        """Start the propagation that was asked for, once the masks that it starts from are there."""
        ask, annotation = self._queued, self._bench.annotation
        if ask is None or self._questions.is_waiting or annotation is None:
            return
        self._queued = None
        if annotation is not ask.annotation:
            return  # the user went on to another time point
        parts = [part for part in (self._part(ask, one) for one in ask.object_ids) if part is not None]
        what = "interpolate" if ask.settings is None else "propagate"
        if not parts:
            first, last = ask.z_range
            raise InputError(
                f"nothing to {what}: no slice from {first} to {last - 1} that was prompted or painted has a mask"
            )
        if ask.settings is None and all(len(part.run.anchors) < 2 for part in parts):
            raise InputError(
                "nothing to interpolate between: only one slice that was prompted or painted has a mask, segment or "
                "paint the object on another one"
            )
        changed = tuple(part for part in parts if part.filled_from)
        if not changed:
            show_info(f"Nothing to {what} again: no prompted or painted slice has changed since")
            return
        run = Propagation(annotation.stack(ask.axis), changed, from_shapes=ask.settings is None)
        step = annotation.begin(what)
        if ask.object_ids == (annotation.object_id,):
            self._bench.reopen(step)
        bench, settings = self._bench, self._bench.settings()
        self._running = running = _Running(annotation, step, run, settings)
        annotation.cut_off.difference_update(part.object_id for part in changed)
        if not run.from_shapes:
            running.logged = propagated(annotation, run)
            annotation.log.add(running.logged)
        work = bench.worker.interpolate if run.from_shapes else partial(bench.worker.propagate, settings)
        bench.runner.stream(
            partial(work, run), partial(self._on_result, running), partial(self._on_end, running)
        )
        bench.events.changed.emit()

    def _part(self, ask: Ask, object_id: int) -> ObjectPart | None:
        """What to propagate an object from, and which gaps are as they should be already; None without a mask."""
        annotation, axis, settings = ask.annotation, ask.axis, ask.settings
        anchors: dict[int, SegmentResult] = {}
        stops: set[int] = set()
        prompts, absent = annotation.table.prompts_of(object_id), annotation.table.anchors_of(object_id)
        first, last = ask.z_range
        for plane in annotation.user_planes_of(object_id):
            if plane.axis != axis or not first <= plane.index < last:
                continue
            mask = annotation.mask_of(object_id, plane)
            if mask.any():
                sure = score_of(annotation, object_id, plane, mask)
                anchors[plane.index] = SegmentResult(
                    plane, mask, Region.of_mask(mask), sure, _SIDE, object_id
                )
            elif plane in absent or prompts.on(plane, plane.size_yx(annotation.shape_zyx)).is_stop:
                stops.add(plane.index)
        if not anchors:
            return None
        if ask.direction == "up":
            first = max(first, min(anchors))
        if ask.direction == "down":
            last = min(last, max(anchors) + 1)
        masks: dict[int | None, bytes] = {
            index: np.packbits(anchor.mask).tobytes() for index, anchor in anchors.items()
        }
        how = (settings, first, last, *self._bench.settings().without_pixels)
        wanted = {
            (below, above): (masks.get(below), masks.get(above), *how)
            for below, above in gaps_of(anchors.keys(), stops)
            if settings is not None or (below in anchors and above in anchors)
        }
        known = annotation.table.filled_of(object_id)
        skip = {gap for gap, filled_from in wanted.items() if known.get((axis, *gap)) == filled_from}
        return ObjectPart(
            object_id,
            ObjectRun(
                tuple(anchors[index] for index in sorted(anchors)),
                settings or PropagationSettings(),
                frozenset(stops),
                (first, last),
                frozenset(skip),
            ),
            {gap: filled_from for gap, filled_from in wanted.items() if gap not in skip},
        )

    def _on_result(self, running: _Running, result: SegmentResult | None) -> None:
        annotation = running.annotation
        if self._running is not running:
            return
        number, running.num_results = running.num_results, running.num_results + 1
        if result is None:
            running.is_through = True
            for part in running.run.parts:
                self._end_of_gaps(running, part)
        elif result.plane not in annotation.user_planes_of(result.object_id):
            self._write(running, result, number)  # else the user's word, given meanwhile, stands

    def _write(self, running: _Running, result: SegmentResult, number: int | None = None) -> None:
        """Write a result; one of the model's has a number."""
        annotation = running.annotation
        record = annotation.table.records.get(result.object_id)
        if record is None or record.is_locked:  # since it began
            self._leave_locked(running)
            return
        word = with_users_word(annotation, result.object_id, result.plane, result.mask)
        kept = with_mask(result, word)
        if kept is not result:
            result, number = kept, None  # no longer what the model said
        self._bench.layers.make_missing()
        step = annotation.step_for(running.step, result.plane, result.object_id)
        if step is not running.step:
            annotation.forget_if_empty(running.step)  # all that it might have held comes later
            running.step = step
        with annotation.log.instead(self._entry(running, result, number)):
            if annotation.is_edited(result.object_id):
                write_result(annotation, result, running.step)
            else:
                committing.write_result(annotation, result, running.step)
        running.written.add((result.object_id, result.plane))
        self._bench.show(result.plane, result.object_id)

    def _leave_locked(self, running: _Running) -> None:
        """Objects were locked, or deleted, since it began: that is said once, and nobody goes on for them alone."""
        records = running.annotation.table.records
        parts = [records.get(part.object_id) for part in running.run.parts]
        for one in parts:
            if one is not None and one.is_locked and one.object_id not in running.told_locked:
                running.told_locked.add(one.object_id)
                show_warning(
                    f"{one.name!r} was locked before its propagation was through: unlock it and propagate again "
                    "for the rest"
                )
        if all(one is None or one.is_locked for one in parts):
            self.stop()

    def _entry(self, running: _Running, result: SegmentResult, number: int | None) -> PropagatedSlice | None:
        logged = running.logged
        annotation = running.annotation
        if number is None or logged is None or annotation.keeps_own:
            return None
        if annotation.gives_back(result.object_id):
            return None
        if logged.model is None:
            how = running.run.parts[0].run.settings
            logged.model = self._bench.worker.use_of(running.settings, how)
        if logged.model is None or not running.annotation.log.holds(logged):
            return None
        return propagated_slice(running.annotation, logged, result, number)

    def _end_of_gaps(self, running: _Running, part: ObjectPart) -> None:
        """All gaps were followed to their ends: what an earlier propagation left beyond is not the object's."""
        annotation, axis = running.annotation, running.run.stack.axis
        record = annotation.table.records.get(part.object_id)
        if record is None or record.is_locked:
            return
        indices = running.run.indices_of(part) & set(annotation.extent_of(part.object_id).planes(axis))
        for index in sorted(indices):
            plane = SlicePlane(axis, index)
            if (part.object_id, plane) in running.written or plane in annotation.user_planes_of(
                part.object_id
            ):
                continue
            if annotation.mask_of(part.object_id, plane).any():
                nothing = np.zeros(plane.size_yx(annotation.shape_zyx), dtype=bool)
                self._write(
                    running, SegmentResult(plane, nothing, Region(0, 0, 0, 0), np.nan, _SIDE, part.object_id)
                )
        filled = dict(annotation.table.filled_of(part.object_id))
        filled |= {(axis, *gap): filled_from for gap, filled_from in part.filled_from.items()}
        annotation.table = annotation.table.with_filled(part.object_id, filled)

    def _on_end(self, running: _Running) -> None:
        if self._running is running:
            self._running = None
        if running.is_through and not running.written:
            ids = tuple(part.object_id for part in running.run.parts)
            show_info(
                f"Propagation of {_named(running.annotation, ids)} added no slice: as far as the model sees it ends at "
                "yours. Prompt another slice, or follow it in another way (More settings)"
            )
        running.annotation.forget_if_empty(running.step)
        if self._bench.annotation is not None:
            self._bench.layers.refresh()
        self._bench.events.changed.emit()


def _named(annotation: Annotation, object_ids: tuple[int, ...]) -> str:
    """Objects in a sentence."""
    names = [
        repr(annotation.table.records[one].name) for one in object_ids if one in annotation.table.records
    ]
    return names[0] if len(names) == 1 else f"{len(names)} objects"
