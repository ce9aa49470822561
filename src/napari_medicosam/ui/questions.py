"""The single hop: changed prompts become frozen requests, results become pixels of the mask that is being edited.

Also holds what must not go wrong between the two: an answer that is older than the last change is dropped.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_info

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.ui import answers, committing
from napari_medicosam.ui.annotation import Annotation
from napari_medicosam.ui.kept_out import kept_out
from napari_medicosam.ui.log_entries import answered
from napari_medicosam.ui.open_questions import Asked, OpenQuestion, Unasked
from napari_medicosam.ui.requests import request_for
from napari_medicosam.ui.users_word import with_strokes_since, with_users_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from napari_medicosam.core.history import Step
    from napari_medicosam.core.mask_log import Answered
    from napari_medicosam.core.results import SegmentResult
    from napari_medicosam.core.volume_prompts import VolumePrompts
    from napari_medicosam.ui.workbench import Workbench


Key = tuple[Annotation, int, SlicePlane]
"""What a question is about: of two about the same, the newer counts."""


class Questions:
    """Asks the worker about slices with prompts and writes its answers.

    Args:
        bench: of the session.
        on_answered: called after every question, however it ended.
    """

    def __init__(self, bench: Workbench, on_answered: Callable[[], None]) -> None:
        self._bench = bench
        self._on_answered = on_answered
        self._generation = 0
        self._open: dict[Key, OpenQuestion] = {}
        self._unasked: dict[Key, Unasked] = {}
        self._said = ""
        """About the last answer; not again about the next ones."""
        self.is_live = True
        """Ask about every change of prompts at once; otherwise when `ask_unasked` is called."""

    @property
    def has_unasked(self) -> bool:
        """True while prompts of the current object were changed that nobody has asked about."""
        return bool(self._unasked_planes())

    @property
    def is_waiting(self) -> bool:
        """True while an answer is missing."""
        return bool(self._open)

    @property
    def missing(self) -> dict[Key, Step]:
        """What has no answer yet, with the step that asked."""
        return {key: known.step for key, known in self._open.items()}

    def ask_again(self, missing: Mapping[Key, Step]) -> None:
        """Ask about the image as it is now; what is no longer the current object's is not asked."""
        for key, step in missing.items():
            annotation, object_id, plane = key
            known = self._open.pop(key, None)
            is_current = annotation is self._bench.annotation and annotation.is_edited(object_id)
            if is_current and plane in annotation.current.planes:
                steps = (step,) if known is None else known.unasked.steps
                self._ask(plane, Unasked(None, steps), step)

    def forget(self, step: Step | None = None) -> None:
        """Answers that are missing will be dropped, nobody has asked then: of a step that was taken back, or of all.

        When the step is done again it asks again. Of all, only who wants to know asks again (`ask_unasked`).
        """
        for key in [key for key, known in self._open.items() if step in (None, known.step)]:
            self._unasked[key] = replace(self._open.pop(key).unasked, is_left=step is None)

    def drop(self, image: Any) -> None:
        """An image is gone: so is what was to be asked about it."""
        for questions in (self._open, self._unasked):
            for key in [key for key in questions if key[0].image is image]:
                del questions[key]

    def change_prompts(self, prompts: VolumePrompts) -> None:
        """Ask about the slices whose prompts changed, and only about these.

        Raises:
            InputError: when the object is locked.
        """
        annotation = self._bench.wanted()
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
        self._bench.reopen(step)
        for prompt in [prompt for prompt in prompts.all if prompt not in before.all]:
            plane = SlicePlane(prompt.axis, prompt.index)
            annotation.note_prompt(prompt, is_correction=bool(annotation.mask(plane).any()))
        annotation.table = annotation.table.with_prompts(annotation.object_id, prompts)
        for plane in changed:
            key = annotation, annotation.object_id, plane
            has_answer = key not in self._open and not self._is_unasked(key)
            if prompts.on(plane, plane.size_yx(annotation.shape_zyx)).is_empty:
                nothing = np.zeros(plane.size_yx(annotation.shape_zyx), dtype=bool)
                left = self._with_users_word(annotation, annotation.object_id, plane, nothing)
                self._take_back(plane, left, step)
            elif has_answer and answers.lasso_away(annotation, plane, before, step):
                self._bench.show(plane, annotation.object_id)
            elif self.is_live:
                self._ask(plane, self._changed(key, before, step), step)
            else:
                self._unasked[key] = self._changed(key, before, step)
        self._bench.events.changed.emit()

    def ask_unasked(self) -> bool:
        """Ask about all prompts of the current object that were changed since they were asked about last, as one step.

        Returns:
            False when there are none.

        Raises:
            InputError: when the object is locked.
        """
        annotation, planes = self._bench.wanted(), self._unasked_planes()
        if not planes:
            return False
        annotation.check_unlocked()
        step = annotation.begin("segment")
        self._bench.reopen(step)
        self._ask_of(planes, step)
        self._bench.events.changed.emit()
        return True

    def ask_beside_others(self) -> None:
        """Another policy: where the answers about the open object met others, as one step; not where it was changed."""
        annotation = self._bench.wanted()
        object_id, taken = annotation.object_id, annotation.committed.label_map
        if taken is None or not self.is_live or not annotation.is_edited(object_id):
            return
        planes = [
            plane
            for plane in annotation.current.planes
            if answers.is_as_answered(annotation, plane) and plane.cut(taken).any()
        ]
        if planes and not annotation.table.record.is_locked:
            step = annotation.begin("segment")
            for plane in planes:
                self._ask(plane, Unasked(None, (step,)), step)

    def ask_missing(self, before: VolumePrompts, step: Step) -> None:
        """Ask where a step back or forth brought prompts back that one had left without an answer; `before` it."""
        annotation = self._bench.wanted()
        if not (self.is_live and annotation.is_edited(annotation.object_id)):
            return
        changed = before.changed_planes(annotation.current)
        for plane in changed:  # what is being asked about them has other prompts
            key = annotation, annotation.object_id, plane
            if key in self._open:
                self._unasked[key] = self._open.pop(key).unasked
        self._ask_of([plane for plane in self._unasked_planes(is_left=False) if plane in changed], step)

    def _ask_of(self, planes: Iterable[SlicePlane], step: Step) -> None:
        """Ask about slices of the current object that nobody has asked about."""
        annotation = self._bench.wanted()
        for plane in planes:
            key = annotation, annotation.object_id, plane
            self._ask(plane, self._unasked.pop(key), step)

    def _changed(self, key: Key, before: VolumePrompts, step: Step) -> Unasked:
        """What has no answer once a step has changed the prompts of a slice, which were `before`."""
        known, waiting = self._unasked.pop(key, None), self._open.get(key)
        if known is not None and known.is_there:
            return known.and_then(step)
        if waiting is not None:
            return replace(waiting.unasked.and_then(step), before=before)
        return Unasked(before, (step,))

    def _is_unasked(self, key: Key) -> bool:
        return key in self._unasked and self._unasked[key].is_there

    def _unasked_planes(self, *, is_left: bool = True) -> list[SlicePlane]:
        """Of the current object; prompts that were taken back since are not asked about.

        Args:
            is_left: also those whose question was left without an answer.
        """
        annotation = self._bench.annotation
        if annotation is None:
            return []
        return [
            plane
            for (known, object_id, plane), unasked in self._unasked.items()
            if known is annotation
            and object_id == annotation.object_id
            and plane in annotation.current.planes
            and unasked.is_there
            and (is_left or not unasked.is_left)
        ]

    def has_candidates(self, plane: SlicePlane) -> bool:
        """True when `next_candidate` has another mask to take."""
        annotation = self._bench.wanted()
        return annotation.is_edited(annotation.object_id) and answers.has_candidates(annotation, plane)

    def next_candidate(self, plane: SlicePlane) -> bool:
        """Take another of the masks that the one click on a slice may mean. False when there is none."""
        annotation = self._bench.wanted()
        if not self.has_candidates(plane):
            return False
        answers.next_candidate(annotation, plane, annotation.begin("candidate"))
        self._bench.show(plane, annotation.object_id)
        self._bench.events.changed.emit()
        return True

    def clear(self, planes: Iterable[SlicePlane], *, is_absent: bool = False) -> None:
        """Remove prompts and mask of the current object, which is not locked, from these slices, as one step.

        Args:
            planes: the slices.
            is_absent: these slices are the user's from now on: the object is not there.
        """
        annotation = self._bench.wanted()
        step = annotation.begin("absent" if is_absent else "clear")
        self._bench.reopen(step)
        prompts = annotation.current
        for plane in planes:
            prompts = prompts.without(plane)
            self._take_back(plane, np.zeros(plane.size_yx(annotation.shape_zyx), dtype=bool), step)
        object_id = annotation.object_id
        table = annotation.table.with_prompts(object_id, prompts)
        anchors = table.anchors_of(object_id)
        table = table.with_anchors(object_id, anchors | set(planes) if is_absent else anchors - set(planes))
        annotation.table = table.with_filled(object_id, {})  # what was erased may be wanted again

    # ------------------------------------------------------------------ out and back

    def _ask(self, plane: SlicePlane, unasked: Unasked, step: Step) -> None:
        """Ask about a slice of the current object; the answer belongs to a step."""
        annotation, settings = self._bench.wanted(), self._bench.settings()
        self._generation += 1
        request = request_for(annotation, plane, unasked.before, self._generation)
        key = (annotation, request.object_id, plane)
        self._open[key] = OpenQuestion(request.generation, step, replace(unasked, is_left=False))
        answer = annotation.answers.get((request.object_id, plane))
        asked = Asked(settings, request, None if answer is None else answer.number)
        self._bench.runner.submit(
            partial(self._bench.worker.segment, settings, request),
            partial(self._on_result, annotation, asked),
            key=key,
            on_end=partial(self._on_question_end, key, request.generation),
        )

    # ------------------------------------------------------------------ back

    def _on_result(self, annotation: Annotation, asked: Asked, result: SegmentResult) -> None:
        key = (annotation, result.object_id, result.plane)
        known = self._open.get(key)
        if self._bench.annotation is None or known is None or known.generation != result.generation:
            return  # prompts have changed since, or went away
        del self._open[key]
        taken_back = tuple(step for step in known.unasked.steps if not step.is_done)
        if taken_back:  # done again, they make other prompts of these
            self._unasked[key] = Unasked(annotation.table.prompts_of(result.object_id), taken_back)
        record = annotation.table.records.get(result.object_id)
        if record is not None and record.is_locked:  # since it was asked
            self._unasked[key] = replace(known.unasked, is_left=True)
            return
        self._bench.layers.make_missing()
        if annotation.is_edited(result.object_id):
            self._write(annotation, asked, result, known.step)
        elif record is not None:  # the user has gone on to another object meanwhile
            self._write_late(annotation, asked, result)
        self._bench.show(result.plane, result.object_id)

    def _write(self, annotation: Annotation, asked: Asked, answer: SegmentResult, since: Step) -> None:
        plane, object_id = answer.plane, answer.object_id
        mask = with_strokes_since(annotation, since, plane, answer.mask)
        is_painted = mask is not answer.mask
        result = answers.with_mask(answer, self._with_users_word(annotation, object_id, plane, mask))
        entry = self._entry(annotation, asked) if result is answer else None
        step = annotation.step_for(since, plane, object_id)
        with annotation.log.instead(entry):
            box = result.asked_box or asked.request.prompts.box
            answers.write_answer(annotation, result, box, step, None if entry is None else entry.number)
        said, self._said = self._said, kept_out(annotation, plane, result.mask)
        if self._said and self._said != said:
            show_info(self._said)
        now = self._bench.settings()
        is_same = (asked.settings.model, asked.settings.window) == (now.model, now.window)
        if is_painted or not is_same:
            # Its logits know nothing of the stroke, or mean nothing to another model.
            annotation.answers.pop((object_id, plane), None)

    def _write_late(self, annotation: Annotation, asked: Asked, answer: SegmentResult) -> None:
        """Write an answer about an object that is committed meanwhile."""
        plane, object_id = answer.plane, answer.object_id
        mask = self._with_users_word(annotation, object_id, plane, answer.mask)
        is_told = mask is answer.mask and not annotation.gives_back(object_id)
        entry = self._entry(annotation, asked) if is_told else None
        late = annotation.begin_late(object_id)
        with annotation.log.instead(entry):
            is_written = committing.write_committed(annotation, plane, mask, object_id, late)
        if not is_written:
            annotation.history.discard(late)

    def _entry(self, annotation: Annotation, asked: Asked) -> Answered | None:
        use = self._bench.worker.use_of(asked.settings)
        return answered(annotation, use, asked.request, asked.previous)

    def _with_users_word(
        self, annotation: Annotation, object_id: int, plane: SlicePlane, mask: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """The mask, but as the object is on the user's slices of other axes that have their own mask."""
        unanswered = {
            other
            for known, one, other in (*self._open, *filter(self._is_unasked, self._unasked))
            if known is annotation and one == object_id
        }
        return with_users_word(annotation, object_id, plane, mask, unanswered)

    def _on_question_end(self, key: Key, generation: int) -> None:
        known = self._open.get(key)
        if known is not None and known.generation == generation:  # it failed: nobody has an answer
            self._unasked[key] = replace(self._open.pop(key).unasked, is_left=True)
        self._on_answered()
        self._bench.events.changed.emit()

    def _take_back(self, plane: SlicePlane, left: NDArray[np.bool_], step: Step) -> None:
        """The slice has no prompts any more: what is left of the mask, and no answer is wanted."""
        annotation = self._bench.wanted()
        key = annotation, annotation.object_id, plane
        if key in self._open:  # undo may bring it back
            self._unasked[key] = self._open.pop(key).unasked
        annotation.answers.pop((annotation.object_id, plane), None)
        annotation.write(plane, left, step)
        self._bench.show(plane, annotation.object_id)
