"""What an object cost its annotator: active time, prompts by kind, corrections, strokes, propagations.

Only counts and durations are kept: no positions, no pixels, no clock times.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

PAUSE_SECONDS = 30.0
"""Who does nothing for longer was not working meanwhile: of a longer gap this much counts."""


@dataclass(slots=True)
class ObjectEffort:
    """One object.

    Attributes:
        seconds: active time, from one thing done to the next.
        counts: how often each kind of thing was done ("point", "box", "undo" ...).
        corrections: prompts added where the object had a mask already.
    """

    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    corrections: int = 0


@dataclass(slots=True)
class EffortLog:
    """The effort of all objects of an image."""

    objects: dict[int, ObjectEffort] = field(default_factory=dict)
    _last: float | None = None

    def note(self, object_id: int, kind: str, now: float, *, is_correction: bool = False) -> None:
        """Something was done to an object.

        Args:
            object_id: to which.
            kind: what.
            now: seconds of a clock that never goes back; the time since the last note counts for this object.
            is_correction: a prompt where there was a mask already.
        """
        effort = self.objects.setdefault(object_id, ObjectEffort())
        if self._last is not None:
            effort.seconds += min(max(now - self._last, 0.0), PAUSE_SECONDS)
        self._last = now
        effort.counts[kind] += 1
        effort.corrections += is_correction

    def pass_on(self, kind: str, object_id: int, to: int) -> None:
        """What was noted last of one object was for another; the time that it took stays where it was."""
        counts = self.objects[object_id].counts
        counts[kind] -= 1
        if not counts[kind]:
            del counts[kind]
        self.objects.setdefault(to, ObjectEffort()).counts[kind] += 1

    def rest(self) -> None:
        """The annotator turned to something else: the time until the next note counts for nobody."""
        self._last = None

    def table(self, names: dict[int, str]) -> list[dict[str, Any]]:
        """One flat row an object, all with the same columns."""
        kinds = sorted({kind for effort in self.objects.values() for kind in effort.counts})
        return [
            {
                "object_id": object_id,
                "name": names.get(object_id, ""),
                "active_seconds": round(effort.seconds, 1),
                "corrections": effort.corrections,
                **{f"{kind.replace(' ', '_')}_count": effort.counts[kind] for kind in kinds},
            }
            for object_id, effort in sorted(self.objects.items())
        ]
