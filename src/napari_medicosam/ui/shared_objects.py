"""Objects of an image over time are the same at all its time points, each of which has steps to undo of its own."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from napari_medicosam.core.object_table import ObjectTable
from napari_medicosam.core.shared_objects import (
    IS_THERE,
    ids_in,
    locked_in,
    shared_changes,
    shared_of,
    shared_of_object,
    with_shared,
)
from napari_medicosam.errors import InputError
from napari_medicosam.ui.swaps import SharedSwap, TableSwap, labels_changed

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_medicosam.core.history import Step
    from napari_medicosam.core.shared_objects import SharedKey
    from napari_medicosam.ui.annotation import Annotation


class SharedObjects:
    """What the time points of one image share of its objects.

    Each step that changes some of it remembers what it made of it, and has a place among those of all time points: when
    it was first done. What holds is what the newest of these steps that stand made of it: to take a step back takes
    nothing back of a later one, and to do it again changes nothing that a later one made.
    """

    def __init__(self) -> None:
        self.times: list[Annotation] = []
        self.highest_id = 0
        """No object ever had a higher one. Steps of other time points may bring back what nobody has any more."""
        self._first: dict[SharedKey, Any] = {}
        self._standing: list[SharedSwap] = []
        self._next_place = 0
        self._values: dict[SharedKey, Any] = {}

    def join(self, annotation: Annotation) -> None:
        """One more time point; what those before do not know of its objects is shared from here on."""
        annotation.shared = self
        self.times.append(annotation)
        unknown = {
            key: value for key, value in shared_of(annotation.table).items() if key not in self._values
        }
        self._first.update(unknown)
        self.settle()

    def new_table(self, current: int) -> ObjectTable:
        """For a time point at which nothing was done yet."""
        return with_shared(ObjectTable(), self._values).with_current(current)

    def note(self, annotation: Annotation) -> None:
        """What was changed at a time point since the last time belongs to its newest step, and is so at all others."""
        changed = shared_changes(self._values, annotation.table)
        if not changed:
            return
        swap, step = SharedSwap(self._standing, self._next_place, changed), annotation.history.last
        self._next_place += 1
        self._standing.append(swap)
        if step is not None:
            step.swaps["shared", len(step.swaps)] = swap
        self.settle()

    def settle(self) -> None:
        """All time points have the objects that stand now: called when a step went back or forth."""
        self._values = self._resolved()
        self.highest_id = max(self.highest_id, *ids_in(self._values))
        for known in self.times:
            known.table = with_shared(known.table, self._values)

    def check_swap(self, annotation: Annotation, step: Step | None, *, what: str) -> None:
        """Raise `InputError` when a step that goes back or forth would change an object that was locked since.

        In one history, the lock is a newer step. That of another time point may still stand, and to unlock the object
        here would be the newest step, which goes back first.

        Args:
            annotation: whose step it is.
            step: not yet taken; None for none.
            what: undo or redo.
        """
        if step is None:
            return
        swaps = step.swaps.values()
        then = [swap.locked_ids for swap in swaps if isinstance(swap, TableSwap)]
        locked = locked_in(self._resolved(but_for=swaps)).difference(*then)
        changed = locked.intersection(chain.from_iterable(map(labels_changed, swaps))) if locked else ()
        if changed:
            names = ", ".join(repr(annotation.table.find(one).name) for one in sorted(changed))
            raise InputError(
                f"{what} would change what was locked since, {names}: unlock it at another time point to {what} here"
            )

    def _resolved(self, but_for: Collection[Any] = ()) -> dict[SharedKey, Any]:
        """What all steps that stand, but for some, made of it. What has prompts or a mask anywhere is there."""
        values = dict(self._first)
        for change in self._standing:
            if change not in but_for:
                values.update(change.values)
        for known in self.times:
            for object_id in known.table.records.keys() - ids_in(values):
                if known.has(object_id):
                    values = (
                        shared_of_object(known.table.find(object_id)) | values | {(object_id, IS_THERE): True}
                    )
        if not ids_in(values):
            values = shared_of(ObjectTable()) | values | {(1, IS_THERE): True}
        return values


def share(annotations: list[Annotation]) -> None:
    """These time points of one image have the same objects from here on; where they differ, the last is right."""
    shared = (
        next((known.shared for known in annotations if known.shared is not None), None) or SharedObjects()
    )
    for known in reversed(annotations):
        if known.shared is None:
            shared.join(known)
