"""Times of several ways to do one thing, taken in turns, so that what else the machine does hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Action = Callable[[], object]
Side = Callable[[int], Action]
"""Gets the number of the round, does what is not to be timed, and returns what is."""


def interleave(
    sides: Mapping[str, Side], repeats: int, *, warm_up: bool = True
) -> dict[str, tuple[float, ...]]:
    """Seconds that each side takes in each round: all sides once, then all once more.

    Args:
        sides: by name.
        repeats: rounds.
        warm_up: begin with a round 0 that is not counted: it loads libraries, fills caches and compiles.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(0 if warm_up else 1, repeats + 1):
        for name, side in sides.items():
            action = side(number)
            start = time.perf_counter()
            action()
            seconds = time.perf_counter() - start
            if number:
                taken[name].append(seconds)
    return {name: tuple(values) for name, values in taken.items()}


def always(action: Action) -> Side:
    """A side that does the same in every round and prepares nothing."""
    return lambda _: action
