"""A clean-up looked at before it is done: what goes and what comes, in a layer of its own above the object's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import QTimer

from napari_medicosam.core.boxes import VoxelBox
from napari_medicosam.core.clean_up_effect import CleanUpEffect, effect_of
from napari_medicosam.core.mask_writing import writable
from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.spacing import spacing_zyx

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import PackedMask
    from napari_medicosam.core.post_processing import CleanUp
    from napari_medicosam.ui.annotation import Annotation
    from napari_medicosam.ui.refinements import Refinements
    from napari_medicosam.ui.runner import Report
    from napari_medicosam.ui.workbench import Workbench

_QUIET_MS = 150
"""After the last change of the mask: a stroke or a propagation is not followed on its way."""


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """What a clean-up is looked at on, as it was when it was asked about.

    Attributes:
        annotation: whose current object it is.
        object_id: that object.
        packed: its mask.
        taken: labels of the finished objects in the tight box of the mask, for what these keep it out of.
        state: another one when any of this has changed (`_state`).
    """

    annotation: Annotation
    object_id: int
    packed: PackedMask
    taken: NDArray[Any] | None
    state: Hashable


class CleanUpPreview:
    """The preview of one session. Masks, steps to undo, journals and saved files know nothing of it.

    It ends with `apply` and `drop`, when its task is cancelled or fails, and when the object or its layer is no longer
    there to be cleaned. When the mask changes, what is shown goes at once and is found again in a moment. Its layer is
    made once an image, and hidden while there is no preview.

    Args:
        bench: of the session.
        refinements: which do what is applied.
    """

    def __init__(self, bench: Workbench, refinements: Refinements) -> None:
        self._bench = bench
        self._refinements = refinements
        self.settings: CleanUp | None = None
        """Those that are looked at; None when none are."""
        self.effect: CleanUpEffect | None = None
        """What they do; None until it is known."""
        self._subject: _Subject | None = None
        self._number = 0
        self._drawn = VoxelBox()
        self._made: WeakSet[Labels] = WeakSet()
        self._again = QTimer()
        self._again.setSingleShot(True)
        self._again.setInterval(_QUIET_MS)
        self._again.timeout.connect(self._ask_again)
        for signal in (bench.events.changed, bench.events.mask_changed):
            signal.connect(self._on_changed)

    def close(self) -> None:
        """Drop the preview and its layers, and look at nothing any more."""
        for signal in (self._bench.events.changed, self._bench.events.mask_changed):
            signal.disconnect(self._on_changed)
        self.drop()
        self._again.timeout.disconnect(self._ask_again)
        for layer in self._made:
            self._bench.layers.remove(layer)

    def show(self, settings: CleanUp) -> None:
        """Show what a clean-up would do to the current object; other settings take the place of those before.

        Raises:
            InputError: without a mask, or for a locked object.
        """
        subject = self._subject
        if subject is None or not self._is_as_it_was(subject):
            subject = self._looked_at()
        self.settings = settings
        self._ask(subject)

    def apply(self) -> None:
        """Do what is looked at, as one step; where it changes nothing, there is none.

        Raises:
            InputError: when nothing is looked at.
        """
        settings, subject, effect = self.settings, self._subject, self.effect
        if settings is None or subject is None:
            raise InputError("there is nothing to apply: preview a clean-up first")
        is_known = effect is not None and self._is_as_it_was(subject)
        self.drop()
        if effect is None or not is_known:
            self._refinements.clean_up(settings)
        elif not effect.box.is_empty:
            self._refinements.put_cleaned(
                subject.annotation, (subject.object_id, subject.packed), effect.after
            )

    def drop(self) -> None:
        """Show nothing any more. The layer stays, hidden and empty, for the next preview.

        When a layer is removed, napari collects Python's garbage: half a second in which nothing moves.
        """
        subject = self._subject
        if subject is None:
            return
        self._subject = self.settings = self.effect = None
        self._number += 1
        self._again.stop()
        layer = subject.annotation.ours.preview
        if layer is not None:
            layer.visible = False
            self._erase(layer, subject.annotation.time)
        self._drawn = VoxelBox()
        self._bench.events.preview_changed.emit()

    # ------------------------------------------------------------------ what is looked at

    def _looked_at(self) -> _Subject:
        """The current object as it is. Raises as `show`."""
        annotation = self._bench.wanted()
        annotation.check_unlocked()
        annotation, packed = self._refinements.mask_to("clean up")
        label_map = annotation.committed.label_map
        taken = None if label_map is None else label_map[packed.tight_box.index].copy()
        return _Subject(annotation, annotation.object_id, packed, taken, _state(annotation))

    def _is_there(self, subject: _Subject) -> bool:
        """True while it is about the current object, which has a mask and may be changed."""
        annotation = subject.annotation
        if annotation is not self._bench.annotation or annotation.object_id != subject.object_id:
            return False
        record = annotation.table.record
        return not record.is_locked and (record.is_committed or annotation.num_open_voxels > 0)

    def _is_as_it_was(self, subject: _Subject) -> bool:
        return self._is_there(subject) and _state(subject.annotation) == subject.state

    # ------------------------------------------------------------------ to the worker and back

    def _ask(self, subject: _Subject) -> None:
        """The last question counts, whatever comes back of those before it."""
        settings, annotation = self.settings, subject.annotation
        if settings is None:
            return
        self._subject, self.effect = subject, None
        self._number += 1
        self._again.stop()
        spacing = spacing_zyx(annotation.image)
        allowed = annotation.policy.allowed(annotation.table, subject.object_id)
        packed, taken, shape = subject.packed, subject.taken, annotation.shape_zyx
        own = annotation.own_in(packed.tight_box)

        def find(report: Report) -> CleanUpEffect:
            is_closed = None if taken is None else ~writable(taken, allowed, own)
            return effect_of(packed, shape, spacing, settings, is_closed)

        self._bench.events.preview_changed.emit()
        self._bench.runner.submit(
            find,
            partial(self._on_effect, self._number),
            key="clean-up preview",
            on_end=partial(self._on_end, self._number),
        )

    def _ask_again(self) -> None:
        """The mask has changed; while something else runs it may go on changing."""
        if self._subject is None:
            return
        if self._bench.runner.is_busy:
            self._again.start()
            return
        try:
            subject = self._looked_at()
        except InputError:  # nothing is left of it
            self.drop()
            return
        self._ask(subject)

    def _on_effect(self, number: int, effect: CleanUpEffect) -> None:
        subject = self._subject
        if number != self._number or subject is None:
            return
        self.effect = effect
        self._draw(subject.annotation, effect)
        self._bench.events.preview_changed.emit()

    def _on_end(self, number: int) -> None:
        """The task is over; without an effect it was cancelled, or failed."""
        if number == self._number and self.effect is None:
            self.drop()

    def _on_changed(self) -> None:
        """Something has changed in the session, the mask perhaps."""
        subject = self._subject
        if subject is None:
            return
        has_lost_layer = not self._drawn.is_empty and subject.annotation.ours.preview is None
        if has_lost_layer or not self._is_there(subject):
            self.drop()
        elif not self._is_as_it_was(subject):
            self._number += 1  # what is on its way is about another mask
            self.effect = None
            self._draw(subject.annotation, None)
            self._again.start()
            self._bench.events.preview_changed.emit()

    # ------------------------------------------------------------------ the layer

    def _draw(self, annotation: Annotation, effect: CleanUpEffect | None) -> None:
        """Show what changes in the place of what was shown."""
        ours, is_empty = annotation.ours, effect is None or effect.box.is_empty
        if not is_empty:
            self._bring_layer(annotation)
        if ours.preview is None:
            return
        self._erase(ours.preview, annotation.time)
        if effect is not None:
            layers.voxels(ours.preview, annotation.time)[effect.box.index] = effect.changes
            self._drawn = effect.box
        layers.refresh(ours.preview)

    def _erase(self, layer: Labels, time: int) -> None:
        layers.voxels(layer, time)[self._drawn.index] = 0
        self._drawn = VoxelBox()

    def _bring_layer(self, annotation: Annotation) -> None:
        """The layer is in sight above the object's, in colours that can be told from it."""
        ours = annotation.ours
        self._bench.layers.make_missing()
        below: Any = annotation.labels if annotation.object_layer is None else annotation.object_layer
        colour = below.get_color(annotation.object_id)
        if ours.preview is None:
            ours.preview = layers.make_preview_layer(annotation.image, colour)
            self._made.add(ours.preview)
        layers.set_preview_colours(ours.preview, colour)
        self._bench.layers.add_above(ours.preview, below)
        ours.preview.visible = True


def _state(annotation: Annotation) -> Hashable:
    """Another one whenever a clean-up may do something else to the current object."""
    allowed = annotation.policy.allowed(annotation.table, annotation.object_id)
    spacing = spacing_zyx(annotation.image)
    return annotation.edited.version, annotation.committed.version, allowed.tobytes(), spacing
