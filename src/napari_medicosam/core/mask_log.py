"""How the masks of an image came about, write by write: what the model was asked, and what was changed without it.

Kept small: masks are compressed (`core/packing.py`). `predict/replay.py` does it all again.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medicosam.core.packing import Content

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from napari_medicosam.core.boxes import PackedMask, VoxelBox
    from napari_medicosam.core.geometry import SlicePlane
    from napari_medicosam.core.prompts import BoxPrompt, PointPrompt
    from napari_medicosam.core.results import Region
    from napari_medicosam.core.session_state import ModelUse

MAX_BYTES = 1 << 28
"""Memory of one log, compressed. One that grows larger is given up, and begun anew when the session is saved."""

_CHECKED_EVERY = 16

Masks = Literal["labels", "edited"]
"""Which of the two mask arrays of a session: committed objects, or the object that is being edited."""


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """A part of a mask array was written without the model.

    Attributes:
        action: what was done, for people: the kind of the step.
        masks, time, box: where.
        content: what lies there now, uint16 of "labels", bool of "edited"; None for nothing at all.
    """

    action: str
    masks: Masks
    time: int
    box: VoxelBox
    content: Content | None


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """A label was written wherever a mask is, in the label map of committed objects.

    Attributes:
        action: what was done, for people: the kind of the step.
        time, box: where.
        content: the mask, bool of the box.
        label: what is written; 0 erases.
    """

    action: str
    time: int
    box: VoxelBox
    content: Content
    label: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where a mask on a slice was written.

    Attributes:
        masks, time: in which array.
        object_id: as which object.
        kept_out: labels on the slice that the object might not take voxels of; 0 among them where it might not take
            those of no object.
    """

    masks: Masks
    time: int
    object_id: int
    kept_out: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """An answer of the model to a request was written.

    Attributes:
        model: that answered, and how it saw the image.
        target: of the mask.
        plane, points, box, hint: the prompts; the hint is a mask, bool (rows, columns).
        previous: number of the answer whose logits were fed back; None for none.
        previous_view, nearby_box: as of `SegmentRequest`.
        number: of this answer.
    """

    model: ModelUse
    target: Target
    plane: SlicePlane
    points: tuple[PointPrompt, ...]
    box: BoxPrompt | None
    hint: Content | None
    previous: int | None
    previous_view: Region | None
    nearby_box: BoxPrompt | None
    number: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Another of the masks that one click may mean was written.

    Attributes:
        target: of the mask.
        plane: the slice.
        answer: number of the answer that it is a candidate of, or of a choice among the same.
        candidate: which.
        number: of this choice, which is an answer itself from here on.
    """

    target: Target
    plane: SlicePlane
    answer: int
    candidate: int
    number: int


@dataclass(frozen=True, slots=True)
class RunOfObject:
    """What an object was propagated from: its masks as they were on annotated slices, and what `ObjectRun` has."""

    object_id: int
    masks: Masks
    anchors: tuple[tuple[int, float | None], ...]
    """Numbers of annotated slices, with the predicted IoU where the mask is the model's."""
    stops: tuple[int, ...]
    z_range: tuple[int, int]
    skip: tuple[tuple[int | None, int | None], ...]


@dataclass(slots=True, eq=False)
class Propagated:
    """A propagation began; nothing was written yet.

    Attributes:
        time, axis: of its slices.
        runs: of its objects.
        model: None until it has answered; its `propagation` are the settings.
    """

    time: int
    axis: int
    runs: tuple[RunOfObject, ...]
    model: ModelUse | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PropagatedSlice:
    """A result of a propagation was written.

    Attributes:
        target: of the mask.
        of: the propagation.
        number: of the result, from 0; those that were not written are not in the log.
    """

    target: Target
    of: Propagated
    number: int


Entry = Edit | Stamp | Answered | Chosen | Propagated | PropagatedSlice


class MaskLog:
    """Entries in the order of what they tell. For one thread.

    Args:
        entries: of an earlier session that is gone on with.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.action = ""
        """What is being done, for entries to come."""
        self._entries = list(entries)
        self._numbers = {one.number for one in self._entries if isinstance(one, Answered | Chosen)}
        self._last_number = max(self._numbers, default=-1)
        self._runs = {one for one in self._entries if isinstance(one, Propagated)}
        self._is_quiet = False
        self.is_given_up = False
        """True for one that has grown too large; nothing is in it."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """As they are now, without propagations that have come to nothing so far: those may still change."""
        return tuple(one for one in self._entries if not isinstance(one, Propagated) or one.model is not None)

    def start_over(self) -> None:
        """Forget everything: what the masks are now has to be told as edits."""
        self._entries.clear()
        self._numbers.clear()
        self._runs.clear()
        self.is_given_up = False

    def knows(self, number: int | None) -> bool:
        """True for the number of an answer that is in it."""
        return number in self._numbers

    def new_number(self) -> int:
        """For an answer; no other one gets it."""
        self._last_number += 1
        return self._last_number

    def holds(self, run: Propagated) -> bool:
        """True while results of a propagation can be told of."""
        return run in self._runs

    def add(self, entry: Entry) -> None:
        """The newest entry."""
        if self.is_given_up:
            return
        self._entries.append(entry)
        if isinstance(entry, Answered | Chosen):
            self._numbers.add(entry.number)
        if isinstance(entry, Propagated):
            self._runs.add(entry)
        if len(self._entries) % _CHECKED_EVERY == 0 and self.num_bytes > MAX_BYTES:
            self.start_over()
            self.is_given_up = True

    def edited(self, masks: Masks, time: int, box: VoxelBox, label_map: NDArray[Any] | None) -> None:
        """Something was written in a part of a mask array (z, y, x); None where all of the part was erased."""
        if self._is_quiet or self.is_given_up or box.is_empty:
            return
        content = None
        if label_map is not None:
            part = label_map[box.index]
            content = Content.of(part != 0 if masks == "edited" else part.astype(np.uint16))
        self.add(Edit(self.action, masks, time, box, content))

    def stamped(self, time: int, packed: PackedMask, label: int) -> None:
        """A label was written wherever a mask is among the committed ones."""
        if not (self._is_quiet or self.is_given_up or packed.is_empty):
            self.add(Stamp(self.action, time, packed.box, _content_of(packed), label))

    def put(self, time: int, packed: PackedMask) -> None:
        """A mask was written where nothing of the object was that is being edited."""
        if not (self._is_quiet or self.is_given_up or packed.is_empty):
            self.add(Edit(self.action, "edited", time, packed.box, _content_of(packed)))

    @contextmanager
    def instead(self, entry: Entry | None) -> Iterator[None]:
        """An entry that tells of all that is written within; None: each write is an edit."""
        if entry is None:
            yield
            return
        with self.quiet():
            yield
        self.add(entry)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """What is written within is in the log already."""
        before, self._is_quiet = self._is_quiet, True
        try:
            yield
        finally:
            self._is_quiet = before

    @property
    def num_bytes(self) -> int:
        """Memory of the masks in it."""
        contents = (
            one.hint if isinstance(one, Answered) else one.content
            for one in self._entries
            if isinstance(one, Edit | Stamp | Answered)
        )
        return sum(one.num_bytes for one in contents if one is not None)


def _content_of(packed: PackedMask) -> Content:
    return Content.of_made(lambda: packed.mask, packed.num_bytes)
