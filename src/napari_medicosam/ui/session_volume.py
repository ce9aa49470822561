"""Methods of a session for volumes: propagation, review, and what is done with a whole mask."""

from __future__ import annotations

import operator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medicosam.core.arguments import real_number, whole_number
from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.post_processing import CleanUp
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.core.review import next_doubtful
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.ui import slice_scores
from napari_medicosam.ui.propagations import Ask
from napari_medicosam.ui.session_base import SessionBase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medicosam.core.clean_up_effect import CleanUpEffect
    from napari_medicosam.core.object_table import ObjectTable
    from napari_medicosam.core.review import SliceReview
    from napari_medicosam.predict.tuning import TuningResult
    from napari_medicosam.ui.propagations import Direction

_LOOK_SECONDS = 0.02
"""For finding out on which slices an object is, before the window gets its turn again."""

_CORRECTIONS = frozenset({"prompt", "move", "segment", "candidate", "paint", "absent", "clear"})
"""Steps, by the first word of their kind, after which there is more to propagate."""


class VolumeMethods(SessionBase):
    """The current object, or several, through the volume."""

    _reviewed: tuple[ObjectTable, tuple[int, int, int], tuple[SliceReview, ...]] | None = None
    """What was found last, of the masks as they were then."""

    @property
    def review(self) -> tuple[SliceReview, ...]:
        """What is known about each slice of the current object, along the axis that the viewer slices along."""
        try:
            axis = self._layers.axis()
        except InputError:
            return ()
        return slice_scores.review(self._wanted(), axis) or ()

    def review_within(self, seconds: float) -> tuple[SliceReview, ...] | None:
        """As `review`, or None when it takes longer than that: ask again, it goes on where it was."""
        try:
            axis = self._layers.axis()
        except InputError:
            return ()
        annotation, seconds = self._wanted(), real_number(seconds, "seconds")
        state = (axis, annotation.edited.version, annotation.committed.version)
        if self._reviewed is None or self._reviewed[0] is not annotation.table or self._reviewed[1] != state:
            reviews = slice_scores.review(annotation, axis, seconds)
            if reviews is None:
                return None
            self._reviewed = annotation.table, state, reviews
        return self._reviewed[2]

    def go_to(self, slice_index: int) -> None:
        """Show a slice.

        Raises:
            InputError: for a slice that is not there.
        """
        plane = SlicePlane(self._layers.axis(), whole_number(slice_index, "the number of a slice"))
        plane.check(self._wanted().shape_zyx)
        self._layers.go_to(plane.index)

    def go_to_object(self) -> int | None:
        """Show the current object where the viewer is at a slice without it, and return the number of its slice.

        That is the nearest of the slices that the user prompted or painted in this plane, else the object's middle.

        Returns:
            None where the viewer stays: the object is on the slice already, has no mask, or no slice is shown (3D).
        """
        annotation = self._wanted()
        if self.slice_index is None:
            return None
        object_id, plane = annotation.object_id, self._layers.plane()
        if annotation.mask_of(object_id, plane).any():
            return None
        indices = [
            one.index
            for one in annotation.user_planes
            if one.axis == plane.axis and annotation.mask_of(object_id, one).any()
        ]
        if indices:
            index = min(indices, key=lambda one: abs(one - plane.index))
        else:
            on = self._slices_of_current(plane.axis)
            if not on:
                return None
            index = on[len(on) // 2]
        self.go_to(index)
        return index

    def go_to_doubtful(self) -> int | None:
        """Show the next slice of the current object that is doubtful, and return its number; None without one."""
        index = next_doubtful(self.review, -1 if self.slice_index is None else self.slice_index)
        if index is not None:
            self.go_to(index)
        return index

    def has_user_slices(self, object_id: int) -> bool:
        """True when the user prompted, painted or approved an object on a slice: it can be propagated from there."""
        object_id = whole_number(object_id, "the id of an object")
        return self._annotation is not None and bool(self._annotation.user_planes_of(object_id))

    @property
    def was_cut_off(self) -> bool:
        """True when the last propagation of the current object was stopped before it was through."""
        annotation = self._annotation
        return annotation is not None and annotation.object_id in annotation.cut_off

    @property
    def is_corrected(self) -> bool:
        """True when the current object was prompted, painted or changed otherwise since it was propagated last."""
        annotation = self._annotation
        for step in reversed([] if annotation is None else annotation.history.done):
            if annotation is None or step.object_id != annotation.object_id:
                continue
            if step.kind in ("propagate", "interpolate"):
                return False
            if step.kind.split()[0] in _CORRECTIONS:
                return True
        return False

    def propagate(
        self,
        direction: Direction = "both",
        z_range: tuple[int, int] | None = None,
        *,
        objects: Literal["current", "all"] | int | Sequence[int] = "current",
        **settings: Any,
    ) -> None:
        """Carry objects from their prompted slices through the volume, all of them together, slice by slice.

        Args:
            direction: "up" only to higher slice numbers, "down" only to lower ones.
            z_range: half-open (start, stop) of slices that may change; what lies outside the image is cut off, and
                the user's slices outside the range count for nothing.
            objects: "all" that are not locked and have a prompted slice; or an id, or several. Committed ones stay
                committed, but for a current one that is propagated alone.
            settings: of `PropagationSettings`; `mode` also as a word such as "box" or "mask+points". Those that are
                not given are the session's (`propagation_settings`).

        Raises:
            InputError: without a prompted slice on the axis that is shown, for a locked object, or for a range or
                settings that make no sense.
        """
        axis = self._layers.axis()
        if not isinstance(direction, str) or direction not in ("both", "up", "down"):
            raise InputError(f"direction must be both, up or down, got {direction!r}")
        wanted = self._settings_of(settings)
        ids = self._propagated(objects, axis)
        bounds = _bounds(z_range, self._wanted().shape_zyx[axis])
        self._pipeline.propagations.propagate(Ask(self._wanted(), axis, ids, wanted, direction, bounds))

    @property
    def propagation_settings(self) -> PropagationSettings:
        """What propagation runs with where it is not told otherwise."""
        return self._propagation_settings

    def set_propagation(self, **settings: Any) -> None:
        """Change some of `propagation_settings`; `mode` also as a word such as "box" or "mask+points".

        Raises:
            InputError: for a setting that there is not, or that makes no sense.
        """
        self._propagation_settings = self._settings_of(settings)
        self.events.changed.emit()

    def interpolate(self) -> None:
        """Fill the slices between those that were prompted or painted from their shapes alone, without the model.

        Raises:
            InputError: without a mask on one of the user's slices, or for a locked object.
        """
        annotation, axis = self._wanted(), self._layers.axis()
        whole = (0, annotation.shape_zyx[axis])
        ask = Ask(annotation, axis, (annotation.object_id,), None, "both", whole)
        self._pipeline.propagations.propagate(ask)

    def clean_up(self, **settings: Any) -> None:
        """Clean the mask of the current object. A step to undo.

        Args:
            settings: of `core.post_processing.CleanUp`; `fill_axis` is the axis that is shown where it is not given,
                `fill_holes` also True (within slices) or False.

        Raises:
            InputError: without a mask, for settings that make no sense, or a locked object.
        """
        wanted = self._clean_up_of(settings)
        self._wanted().check_unlocked()
        self._pipeline.propagations.interrupt()
        self._pipeline.refinements.clean_up(wanted)

    def preview_clean_up(self, **settings: Any) -> None:
        """Show in the viewer what a clean-up would do, without doing it; `wait` waits for it, `preview` has numbers.

        Settings of another call take the place of those before. The preview ends with `apply_preview` and
        `drop_preview`, and when the object is no longer the current one; when its mask changes, it is made again.

        Args:
            settings: as for `clean_up`.

        Raises:
            InputError: without a mask, for settings that make no sense, or a locked object.
        """
        self._pipeline.clean_up_preview.show(self._clean_up_of(settings))

    @property
    def previewed(self) -> CleanUp | None:
        """Settings of the clean-up that is previewed; None without a preview."""
        return self._pipeline.clean_up_preview.settings

    @property
    def preview(self) -> CleanUpEffect | None:
        """What the clean-up that is previewed would do; None until that is known (`events.preview_changed`)."""
        return self._pipeline.clean_up_preview.effect

    @property
    def preview_slices(self) -> tuple[int, ...]:
        """Slices that it would change, along the axis that the viewer slices along."""
        if self.preview is None:
            return ()
        try:
            return self.preview.slices[self._layers.axis()]
        except InputError:
            return ()

    def go_to_change(self) -> int | None:
        """Show the next slice that the previewed clean-up would change, and return its number; None without one."""
        here, slices = self.slice_index, self.preview_slices
        if here is None or not slices:
            return None
        index = next((one for one in slices if one > here), slices[0])
        self.go_to(index)
        return index

    def apply_preview(self) -> None:
        """Clean the mask as it is previewed, as a step to undo; the preview ends. Without changes there is no step.

        Raises:
            InputError: without a preview.
        """
        self._pipeline.propagations.interrupt()
        self._pipeline.clean_up_preview.apply()

    def drop_preview(self) -> None:
        """End the preview, if there is one: everything is as it was before. Its layer stays, hidden and empty."""
        self._pipeline.clean_up_preview.drop()

    def agree_on_three_planes(self, **settings: Any) -> None:
        """Follow the current object along the two other axes, too, and keep what two of the three say. A step to undo.

        Slices of the other axes are encoded where they were not yet, which takes its time. The user's slices stay as
        they are.

        Args:
            settings: of `PropagationSettings`, as in `propagate`.

        Raises:
            InputError: without a mask, for a 2D image, settings that make no sense, or a locked object.
        """
        if not self.is_3d:
            raise InputError("a 2D image has one plane: wanted a volume")
        axis, wanted = self._layers.axis(), self._settings_of(settings)
        self._wanted().check_unlocked()
        self._pipeline.propagations.interrupt()
        self._pipeline.refinements.agree(axis, wanted)

    def tune(self) -> None:
        """Take the propagation settings that find the current, finished object best from one of its slices.

        Mode, box growth, IoU threshold and confidence are searched on the embeddings that are there
        (`predict.tuning`), on the worker; then `propagation_settings` are the best ones and `tuning` says what was
        gained.

        Raises:
            InputError: without a mask.
        """
        self._pipeline.refinements.tune(self._layers.axis(), self._propagation_settings, self._on_tuned)

    @property
    def tuning(self) -> TuningResult | None:
        """What the last `tune` found; None before the first."""
        return self._tuning

    def _settings_of(self, changes: dict[str, Any]) -> PropagationSettings:
        _check_names(PropagationSettings, changes)
        if isinstance(changes.get("mode"), str):
            changes = {**changes, "mode": PromptMode.parse(changes["mode"])}
        return replace(self._propagation_settings, **changes)

    def _clean_up_of(self, settings: dict[str, Any]) -> CleanUp:
        _check_names(CleanUp, settings)
        holes = settings.get("fill_holes")
        if isinstance(holes, bool):
            settings = {**settings, "fill_holes": "slices" if holes else "no"}
        try:
            axis = self._layers.axis()
        except InputError:  # in 3D rendering
            axis = 0
        return CleanUp(**{"fill_axis": axis, **settings})

    def _slices_of_current(self, axis: int) -> range:
        """From the first to the last that the current object is on; of a large one maybe some more."""
        reviews = self.review_within(_LOOK_SECONDS)
        if reviews is None:
            annotation = self._wanted()
            return annotation.extent_of(annotation.object_id).planes(axis)
        return range(reviews[0].index, reviews[-1].index + 1) if reviews else range(0)

    def _propagated(
        self, objects: Literal["current", "all"] | int | Sequence[int], axis: int
    ) -> tuple[int, ...]:
        """Ids of the objects that are meant, each with a slice of the user's on the axis."""
        annotation = self._wanted()
        said: Any = objects
        if isinstance(said, str) and said == "all":
            wanted = [one for one, record in sorted(annotation.table.records.items()) if not record.is_locked]
        elif isinstance(said, str) and said == "current":
            wanted = [annotation.object_id]
        elif isinstance(said, str):
            raise InputError(f"objects must be current, all or some ids, got {said!r}")
        elif not np.iterable(said):
            wanted = [annotation.table.find(said).object_id]
        else:
            wanted = list(dict.fromkeys(annotation.table.find(one).object_id for one in said))
        ids = tuple(
            one for one in wanted if any(plane.axis == axis for plane in annotation.user_planes_of(one))
        )
        if not ids and any(annotation.user_planes_of(one) for one in wanted):
            raise InputError(
                "nothing to propagate in this plane: the slices that were prompted or painted are of another one. Roll "
                "the axes to that one, or segment the object on a slice of this one first"
            )
        if not ids:
            raise InputError("nothing to propagate: segment the object on one slice first")
        return ids

    def _on_tuned(self, result: TuningResult) -> None:
        self._tuning = result
        self._propagation_settings = result.best.settings
        self.events.changed.emit()


def _check_names(settings: type[CleanUp | PropagationSettings], given: dict[str, Any]) -> None:
    known = {one.name for one in fields(settings)}
    if set(given) - known:
        what = "propagation" if settings is PropagationSettings else "clean-up"
        raise InputError(
            f"{what} has the settings {', '.join(sorted(known))}, got {', '.join(sorted(given))}"
        )


def _bounds(z_range: tuple[int, int] | None, num_slices: int) -> tuple[int, int]:
    if z_range is None:
        return 0, num_slices
    try:
        start, stop = (operator.index(value) for value in z_range)
    except (TypeError, ValueError):
        start = stop = 0
    start, stop = max(start, 0), min(stop, num_slices)
    if start >= stop:
        raise InputError(
            f"z_range must be two whole numbers, the first slice and the one after the last of {num_slices} slices, "
            f"got {z_range!r}"
        )
    return start, stop
