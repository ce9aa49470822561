"""Methods of a session for volumes: propagation, review, and what is done with a whole mask."""

from __future__ import annotations

import operator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.post_processing import CleanUp
from napari_medicosam.core.prompt_derivation import PromptMode
from napari_medicosam.core.review import next_doubtful
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import PropagationSettings
from napari_medicosam.ui.propagations import Ask
from napari_medicosam.ui.session_base import SessionBase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medicosam.core.review import SliceReview
    from napari_medicosam.predict.tuning import TuningResult
    from napari_medicosam.ui.propagations import Direction


class VolumeMethods(SessionBase):
    """The current object, or several, through the volume."""

    @property
    def review(self) -> tuple[SliceReview, ...]:
        """What is known about each slice of the current object, along the axis that the viewer slices along."""
        try:
            axis = self._layers.axis()
        except InputError:
            return ()
        return self._wanted().review(axis) or ()

    def review_within(self, seconds: float) -> tuple[SliceReview, ...] | None:
        """As `review`, or None when it takes longer than that: ask again, it goes on where it was."""
        try:
            axis = self._layers.axis()
        except InputError:
            return ()
        return self._wanted().review(axis, seconds)

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

    def has_user_slices(self, object_id: int) -> bool:
        """True when the user prompted, painted or approved an object on a slice: it can be propagated from there."""
        return self._annotation is not None and bool(self._annotation.user_planes_of(object_id))

    def propagate(
        self,
        direction: Direction = "both",
        z_range: tuple[int, int] | None = None,
        *,
        objects: Literal["current", "all"] | Sequence[int] = "current",
        **settings: Any,
    ) -> None:
        """Carry objects from their prompted slices through the volume, all of them together, slice by slice.

        Args:
            direction: "up" only to higher slice numbers, "down" only to lower ones.
            z_range: half-open (start, stop) of slices that may change; what lies outside the image is cut off.
            objects: "all" that are not locked and have a prompted slice; or ids. Committed ones stay committed, but for
                a current one that is propagated alone.
            settings: of `PropagationSettings`; `mode` also as a word such as "box" or "mask+points". Those that are
                not given are the session's (`propagation_settings`).

        Raises:
            InputError: without a prompted slice on the axis that is shown, for a locked object, or for a range or
                settings that make no sense.
        """
        axis = self._layers.axis()
        if direction not in ("both", "up", "down"):
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
        """Clean the mask of the current object: settings of `core.post_processing.CleanUp`. A step to undo.

        Raises:
            InputError: without a mask, for settings that make no sense, or a locked object.
        """
        wanted = CleanUp(**settings)
        self._wanted().check_unlocked()
        self._pipeline.propagations.stop()
        self._pipeline.refinements.clean_up(wanted)

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
        self._pipeline.propagations.stop()
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
        known = {one.name for one in fields(PropagationSettings)}
        if set(changes) - known:
            raise InputError(
                f"propagation has the settings {', '.join(sorted(known))}, got {', '.join(sorted(changes))}"
            )
        if isinstance(changes.get("mode"), str):
            changes = {**changes, "mode": PromptMode.parse(changes["mode"])}
        return replace(self._propagation_settings, **changes)

    def _propagated(self, objects: Literal["current", "all"] | Sequence[int], axis: int) -> tuple[int, ...]:
        """Ids of the objects that are meant, each with a slice of the user's on the axis."""
        annotation = self._wanted()
        said: Any = objects
        if said == "all":
            wanted = [one for one, record in sorted(annotation.table.records.items()) if not record.is_locked]
        elif said == "current":
            wanted = [annotation.object_id]
        elif isinstance(said, str):
            raise InputError(f"objects must be current, all or some ids, got {said!r}")
        else:
            wanted = [annotation.table.find(object_id).object_id for object_id in said]
        ids = tuple(
            one for one in wanted if any(plane.axis == axis for plane in annotation.user_planes_of(one))
        )
        if not ids:
            raise InputError("nothing to propagate: segment the object on one slice first")
        return ids

    def _on_tuned(self, result: TuningResult) -> None:
        self._tuning = result
        self._propagation_settings = result.best.settings
        self.events.changed.emit()


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
