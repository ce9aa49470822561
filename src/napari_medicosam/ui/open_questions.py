"""Questions without an answer: those on their way, and prompts that nobody has asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medicosam.core.history import Step
    from napari_medicosam.core.results import SegmentRequest
    from napari_medicosam.core.volume_prompts import VolumePrompts
    from napari_medicosam.ui.engine import ServiceSettings


@dataclass(frozen=True, slots=True, eq=False)
class Unasked:
    """Prompts of a slice that have no answer.

    Attributes:
        before: the prompts when it was asked about last; None to start afresh.
        steps: that changed them since, each of which may be taken back.
        is_left: the question was cancelled, or failed: a step back or forth does not ask it again.
    """

    before: VolumePrompts | None
    steps: tuple[Step, ...]
    is_left: bool = False

    @property
    def is_there(self) -> bool:
        """False while the prompts are those that have the last answer, or older ones."""
        return any(step.is_done for step in self.steps)

    def and_then(self, step: Step) -> Unasked:
        """They were changed once more."""
        return Unasked(self.before, tuple(dict.fromkeys((*self.steps, step))))


@dataclass(frozen=True, slots=True, eq=False)
class OpenQuestion:
    """A question without an answer: its number, the step that asked, and what is unasked when it is dropped."""

    generation: int
    step: Step
    unasked: Unasked


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question on its way, with the log's number of the answer before."""

    settings: ServiceSettings
    request: SegmentRequest
    previous: int | None
