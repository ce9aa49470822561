"""Undo and redo: a step keeps what it changed as it was before, and to take it back is to swap the two."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_STEPS = 200
MAX_BYTES = 1 << 28
"""Memory of all steps together; the oldest go first, but never the newest."""


class Swap(Protocol):
    """Something that was changed, with the content that is not there now."""

    @property
    def num_bytes(self) -> int:
        """Memory that the content takes."""

    def swap(self) -> None:
        """Exchange the content with the one that is there."""


@dataclass(eq=False, slots=True)
class Step:
    """One thing the user did, with all that came of it, be it later.

    Attributes:
        kind: what was done, for people and for merging.
        object_id: the object it was done to.
        swaps: by what was changed; the first content that was remembered of it stays.
        replaced: steps that could be done again before this one, and can be again when it comes to nothing.
        is_done: False once it was taken back, until it is done again.
    """

    kind: str
    object_id: int
    swaps: dict[Hashable, Swap] = field(default_factory=dict)
    replaced: list[Step] = field(default_factory=list)
    is_done: bool = True

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return sum(swap.num_bytes for swap in self.swaps.values())

    def undo(self) -> None:
        """Take it back, the last change first."""
        for swap in reversed(self.swaps.values()):
            swap.swap()
        self.is_done = False

    def redo(self) -> None:
        """Do it again."""
        for swap in self.swaps.values():
            swap.swap()
        self.is_done = True


@dataclass(eq=False, slots=True)
class History:
    """Steps that can be taken back, and those that were and can be done again; each list newest last."""

    done: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)

    @property
    def last(self) -> Step | None:
        """The newest step that can be taken back."""
        return self.done[-1] if self.done else None

    @property
    def last_undone(self) -> Step | None:
        """The step that was taken back last, and can be done again."""
        return self.undone[-1] if self.undone else None

    def begin(self, kind: str, object_id: int) -> Step:
        """A new step; what was undone is gone."""
        if self.done:
            self.done[-1].replaced = []
        step = Step(kind, object_id, replaced=self.undone)
        self.undone = []
        self.done.append(step)
        self.trim()
        return step

    def trim(self) -> None:
        """Forget the oldest steps beyond the limits; called when a step has grown, too."""
        del self.done[:-MAX_STEPS]
        while len(self.done) > 1 and sum(step.num_bytes for step in self.done) > MAX_BYTES:
            del self.done[0]

    def since(self, step: Step) -> list[Step]:
        """Steps that began after one that can be taken back; none after another."""
        return self.done[self.done.index(step) + 1 :] if step in self.done else []

    def undo(self) -> Step | None:
        """Take back the newest step; None when there is none."""
        if not self.done:
            return None
        step = self.done.pop()
        step.undo()
        self.undone.append(step)
        return step

    def redo(self) -> Step | None:
        """Do again what was undone last; None when nothing was."""
        if not self.undone:
            return None
        step = self.undone.pop()
        step.redo()
        self.done.append(step)
        return step

    def discard(self, step: Step) -> None:
        """Forget a step that changed nothing."""
        if step is self.last and not self.undone:
            self.undone = step.replaced
        if step in self.done:
            self.done.remove(step)

    def clear(self) -> None:
        """Forget everything."""
        self.done.clear()
        self.undone.clear()
