"""What the user does to the objects of an image, each a step to undo: its parts ask, propagate and refine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.ui import committing, layers, painting
from napari_medicosam.ui.clean_up_preview import CleanUpPreview
from napari_medicosam.ui.propagations import Propagations
from napari_medicosam.ui.questions import Questions
from napari_medicosam.ui.refinements import Refinements
from napari_medicosam.ui.stroke_listener import LOCKED_PUT_BACK
from napari_medicosam.ui.strokes import before_stroke

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import VoxelBox
    from napari_medicosam.core.history import Step
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.strokes import Edit
    from napari_medicosam.ui.workbench import Workbench


class Pipeline:
    """For the image that the bench's layers show.

    Args:
        bench: of the session; the pipeline listens to its runner.
    """

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self.questions = Questions(bench, self._on_answered)
        self.propagations = Propagations(bench, self.questions)
        self.refinements = Refinements(bench)
        self.clean_up_preview = CleanUpPreview(bench, self.refinements)
        bench.runner.delivering.connect(self._on_delivering)
        bench.runner.progressed.connect(bench.events.progress.emit)
        bench.runner.busy_changed.connect(bench.events.busy_changed.emit)
        bench.runner.failed.connect(bench.tell_failure)

    def clear(self, planes: Iterable[SlicePlane], *, is_absent: bool = False) -> None:
        """Remove prompts and mask of the current object from these slices, as one step (see `Questions.clear`).

        Raises:
            InputError: when the object is locked.
        """
        self._bench.wanted().check_unlocked()
        self.propagations.interrupt()
        self.questions.clear(planes, is_absent=is_absent)

    def undo(self) -> None:
        """Take back the last step; answers to it that are still to come will be dropped.

        Raises:
            InputError: when that would change an object that is locked since, at another time point.
        """
        history = self._bench.wanted().history
        self._go(history.undo, lambda: history.last)

    def redo(self) -> None:
        """Do again what was taken back last. Nothing is asked again: masks come back as they were.

        Raises:
            InputError: as `undo`.
        """
        history = self._bench.wanted().history
        self._go(history.redo, lambda: history.last_undone)

    def painted(self, layer: Any, edits: list[Edit]) -> None:
        """A stroke of the brush in one of our label maps."""
        annotation = self._bench.wanted()
        label_map = layers.voxels(layer, annotation.time)
        if edits:
            self._keep(layer is annotation.object_layer, *before_stroke(label_map, edits))

    def given(self, layer: Any, owner: Annotation) -> None:
        """Something else gave one of our label maps other data: the layer keeps its own, and takes it as a stroke.

        Args:
            layer: with what it was given.
            owner: of the image that it is for; of any time point.
        """
        ours, is_object, given = owner.ours, layer is owner.object_layer, layer.data
        kept = ours.label_map("object_layer" if is_object else "labels")
        if kept is None or given is kept:
            return
        layer.data = kept
        if given.ndim != kept.ndim:  # napari has given up where it lies along the others
            layers.lie_on(layer, owner.image)
            self._bench.layers.follow(owner.image, ours)
        annotation = self._bench.annotation
        try:
            if annotation is None or annotation.ours is not ours:
                raise InputError(
                    f"{layer.name!r} was put back: choose its image, {owner.image.name!r}, first"
                )
            self._keep(is_object, *painting.write_given(annotation, kept, given, is_object=is_object))
        except InputError as error:
            self._bench.tell_failure(error)

    def _keep(self, is_object: bool, box: VoxelBox, before: NDArray[Any]) -> None:
        """What was written into a part of a label map, be it by hand, is a step to undo, as far as it may be there."""
        annotation, events, axis = self._bench.wanted(), self._bench.events, self._painted_axis()
        changed: list[SlicePlane] = []
        if is_object:
            try:
                changed = painting.keep_painted(annotation, box, before, axis)
            except InputError as error:
                show_warning(str(error))
        else:
            self._bench.layers.make_missing()
            changed, is_put_back = painting.keep_painted_labels(annotation, box, before, axis)
            if is_put_back:
                show_warning(LOCKED_PUT_BACK)
        for plane in changed:
            events.mask_changed.emit(annotation.object_id, plane)
        self._bench.layers.refresh()
        events.changed.emit()

    def switch(self, kind: str, change: Callable[[Annotation, Step], None]) -> None:
        """Go on to another object, as one step: the current one is committed first, as far as it has a mask.

        The layers are not refreshed: who calls it shows the other object.

        Raises:
            InputError: what `change` raises; nothing has happened then.
        """
        annotation = self._bench.wanted()
        self.propagations.interrupt()
        annotation.edited.look_everywhere()
        with annotation.step(kind) as step:
            committing.leave(annotation, step)
            before, left = annotation.table, annotation.object_id
            change(annotation, step)
        if kind == "new object":
            annotation.effort.pass_on("new", left, annotation.object_id)
        if annotation.table == before:  # an empty object was left for another one, which is the same
            annotation.forget_if_empty(step)

    def commit(self) -> int:
        """Move the current object's mask to the committed ones. Returns its voxels there.

        Raises:
            InputError: when there is no mask, or the policy leaves none of it.
        """
        annotation = self._bench.wanted()
        self.propagations.interrupt()
        annotation.edited.look_everywhere()
        with annotation.step("commit") as step:
            count = committing.commit(annotation, step)
        self._bench.layers.refresh()
        return count

    def pixels_replaced(self) -> None:
        """No answer about the pixels that the image had before is written any more; what is missing is asked again."""
        missing = self.questions.missing
        self.propagations.stop()
        self.questions.ask_again(missing)

    def cancel(self) -> None:
        """Stop whatever runs or waits; nothing of it is written any more."""
        self.propagations.forget()
        self.questions.forget()
        self._bench.runner.cancel()

    def _painted_axis(self) -> int:
        """The axis that is sliced along; in 3D rendering, where napari's brush paints as well, the first."""
        try:
            return self._bench.layers.axis()
        except InputError:
            return 0

    def _on_delivering(self) -> None:
        """What is being painted counts, whatever the answer is."""
        if self._bench.annotation is not None:
            self._bench.annotation.tell_strokes()

    def _on_answered(self) -> None:
        self.propagations.go_on()

    def _go(self, where: Callable[[], Step | None], wanted: Callable[[], Step | None]) -> None:
        """Undo or redo, and the step that it would take."""
        annotation = self._bench.wanted()
        self.propagations.stop()
        annotation.cut_off.discard(annotation.object_id)
        annotation.share()
        if annotation.shared is not None:
            annotation.shared.check_swap(annotation, wanted(), what=where.__name__)
        prompts = annotation.current
        annotation.log.action = where.__name__
        step = where()
        if step is None:
            return
        if annotation.shared is not None:
            annotation.shared.settle()
        annotation.effort.note(step.object_id, where.__name__, time.monotonic())
        self.questions.forget(step)
        self.questions.ask_missing(prompts, annotation.history.last or step)
        for plane in step.swaps:
            if isinstance(plane, SlicePlane):
                self._bench.events.mask_changed.emit(step.object_id, plane)
