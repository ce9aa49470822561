"""Objects on their way through a stack: each a coroutine that asks slice by slice, all asked together where they meet.

A walk passes through the stack in five sweeps, each in one direction, so its questions are in the order of
(sweep, slice). Walks that are served in that order, the least first, meet on every slice of a sweep that several of
them need: one request to the service then asks for all of them. What a walk finds does not depend on who goes with it.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from napari_medicosam.core.appearance import Appearance
from napari_medicosam.core.interpolation import interpolate_between
from napari_medicosam.core.metrics import iou
from napari_medicosam.core.prompt_derivation import BoxExtension, PromptMode, derive_prompts
from napari_medicosam.core.results import SegmentRequest, SegmentResult
from napari_medicosam.predict.lookahead import SliceLookahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SliceStack
    from napari_medicosam.predict.likeness import ObjectFeatures
    from napari_medicosam.predict.propagation_settings import Between, StopRule
    from napari_medicosam.predict.service import SegmentationService

Gap = tuple[int | None, int | None]
"""Two annotated or stop slices without another one in between, the lower first; None beyond the first and the last."""


class Sweep(IntEnum):
    """Passes through the stack, in their order."""

    FILL_UP = 0
    FILL_DOWN = 1
    FILL_MIDDLE = 2
    FOLLOW_DOWN = 3
    FOLLOW_UP = 4

    @property
    def is_downward(self) -> bool:
        """True where slice numbers fall."""
        return self in (Sweep.FILL_DOWN, Sweep.FOLLOW_DOWN)

    @property
    def is_outward(self) -> bool:
        """True where nothing but the stop rule ends the way."""
        return self in (Sweep.FOLLOW_DOWN, Sweep.FOLLOW_UP)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A question of a walk: slice `index`, with prompts from the mask `source` (rows, columns) of another slice.

    `ends` are the annotated slices next to it on its way, which say what the object looks like.
    """

    sweep: Sweep
    index: int
    source: NDArray[np.bool_]
    ends: tuple[int, ...]

    @property
    def place(self) -> tuple[int, int]:
        """Where on the way through all sweeps it lies; those of one walk only grow."""
        return self.sweep, -self.index if self.sweep.is_downward else self.index


Steps = Generator[Step | SegmentResult, SegmentResult, None]
"""Yields a step, and is sent its answer; yields what counts of the answers, and is sent nothing that matters."""


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """What one object's way depends on.

    Attributes:
        anchors: results of its annotated slices, by slice number; none is empty.
        gaps: those to be filled or followed, in ascending order; each has an anchor at one end at least.
        bounds: half-open range of slice numbers.
        mode: prompts that a slice's mask gives to the next one.
        extension: growth of the box (`derive_prompts`).
        rule: where the object ends, outside the annotated range.
        between: what slices between two annotated ones are asked with: the shape that lies between those two, or the
            masks of the neighbours, from both ends to the middle.
        appearance: weight of what the object looks like on the annotated slices (`Appearance`); 0 does not look.
        features: what the encoder sees of the object on the annotated slices, for the rule; None does not look.
    """

    anchors: dict[int, SegmentResult]
    gaps: tuple[Gap, ...]
    bounds: tuple[int, int]
    mode: PromptMode
    extension: BoxExtension
    rule: StopRule
    between: Between = "shapes"
    appearance: float = 0.0
    features: ObjectFeatures | None = None
    _seen: dict[tuple[int, ...], Appearance] = field(default_factory=dict)

    def steps(self) -> Steps:
        """The coroutine: between the annotated slices first, then outwards from them."""
        yield from self._fill_shapes() if self.between == "shapes" else self._fill()
        first, last = self.bounds
        for below, above in reversed(self.gaps):
            if above in self.anchors and below not in self.anchors:
                end = first if below is None else max(first, below + 1)
                yield from self._follow(Sweep.FOLLOW_DOWN, above, range(above - 1, end - 1, -1))
        for below, above in self.gaps:
            if below in self.anchors and above not in self.anchors:
                end = last if above is None else min(last, above)
                yield from self._follow(Sweep.FOLLOW_UP, below, range(below + 1, end))

    def request(self, step: Step, stack: SliceStack, pixels: NDArray[np.generic]) -> SegmentRequest:
        """What the service is asked at a step; `pixels` are those of its slice."""
        prompts = derive_prompts(step.source, stack.plane(step.index), self.mode, self.extension)
        one = next(iter(self.anchors.values()))
        return SegmentRequest(
            pixels,
            prompts,
            object_id=one.object_id,
            generation=one.generation,
            appearance=self._appearance(step.ends, stack),
        )

    def _appearance(self, ends: tuple[int, ...], stack: SliceStack) -> Appearance | None:
        if self.appearance == 0:
            return None
        if ends not in self._seen:
            shown = [(stack.pixels(index), self.anchors[index].mask) for index in ends]
            self._seen[ends] = Appearance(shown, self.appearance)
        return self._seen[ends]

    def _fill_shapes(self) -> Steps:
        """Between two annotated slices, without a stop rule: errors of one slice are not handed on to the next."""
        for below, above in self.gaps:
            if below in self.anchors and above in self.anchors:
                ends = self.anchors[below].mask, self.anchors[above].mask
                for index, shape in enumerate(interpolate_between(*ends, above - below - 1), start=below + 1):
                    result = yield Step(Sweep.FILL_UP, index, shape, (below, above))
                    yield result

    def _fill(self) -> Steps:
        """Between two annotated slices, without a stop rule. The middle of an odd number of slices comes from
        the union of its neighbours; of an even number each side takes its half.
        """  # noqa: D205
        inner = [
            (below, above, (above - below - 1) // 2)
            for below, above in self.gaps
            if below in self.anchors and above in self.anchors
        ]
        unions: dict[int, NDArray[np.bool_]] = {}  # of middles: what was found beside them
        for below, above, half in inner:
            indices = range(below + 1, below + 1 + half)
            found = yield from self._march(Sweep.FILL_UP, below, indices)
            if (above - below) % 2 == 0:
                unions[below + half + 1] = found
        for below, above, half in reversed(inner):
            indices = range(above - 1, above - 1 - half, -1)
            found = yield from self._march(Sweep.FILL_DOWN, above, indices)
            if (above - below) % 2 == 0:
                unions[below + half + 1] = unions[below + half + 1] | found
        for below, above, half in inner:
            if (above - below) % 2 == 0:
                middle = below + half + 1
                result = yield Step(Sweep.FILL_MIDDLE, middle, unions[middle], (below, above))
                yield result

    def _march(
        self, sweep: Sweep, start: int, indices: range
    ) -> Generator[Step | SegmentResult, SegmentResult, NDArray[np.bool_]]:
        """Every slice of `indices`, whatever is found there; returns the last mask that was not empty."""
        source = self.anchors[start].mask
        for index in indices:
            result = yield Step(sweep, index, source, (start,))
            yield result
            # where the model finds nothing the last mask that it found keeps asking
            if not result.region.is_empty:
                source = result.mask
        return source

    def _follow(self, sweep: Sweep, start: int, indices: range) -> Steps:
        """Outwards from an annotated slice; the slice where the object has ended is discarded."""
        previous = self.anchors[start].mask
        # The surest of all: a poor mask on the slice itself must not let the way run on through the whole volume.
        sure = [one.iou_prediction for one in self.anchors.values() if not math.isnan(one.iou_prediction)]
        reference = max(sure, default=math.nan)
        for index in indices:
            result = yield Step(sweep, index, previous, (start,))
            if result.region.is_empty:
                return
            if math.isnan(reference):
                reference = result.iou_prediction
            agreement = iou(previous, result.mask)
            if self.rule.ends_at(agreement, result.iou_prediction, reference, result.likeness):
                return
            yield result
            previous = result.mask


def walk_together(
    service: SegmentationService, stack: SliceStack, walks: Sequence[Walk]
) -> Iterator[SegmentResult]:
    """What all walks find, sweep by sweep and slice by slice; on a slice in the order of `walks`.

    Of every walk only the mask that it goes on from is kept, and one for each gap between annotated slices.
    """
    ways = [walk.steps() for walk in walks]
    waiting: dict[int, Step] = {}
    for number, way in enumerate(ways):
        _wait(waiting, number, next(way, None))
    with SliceLookahead(service, stack) as lookahead:
        while waiting:
            place = min(step.place for step in waiting.values())
            here = [number for number in sorted(waiting) if waiting[number].place == place]
            asked = [(walks[number], waiting.pop(number)) for number in here]
            for number, answer in zip(here, _ask(service, stack, lookahead, asked), strict=True):
                said = _sent(ways[number], answer)
                while isinstance(said, SegmentResult):
                    yield said
                    said = next(ways[number], None)
                _wait(waiting, number, said)


def _wait(waiting: dict[int, Step], number: int, said: Step | SegmentResult | None) -> None:
    if isinstance(said, Step):
        waiting[number] = said


def _sent(way: Steps, answer: SegmentResult) -> Step | SegmentResult | None:
    """What a walk says to an answer; None when it has come to its end."""
    try:
        return way.send(answer)
    except StopIteration:
        return None


def _ask(
    service: SegmentationService,
    stack: SliceStack,
    lookahead: SliceLookahead,
    steps: Sequence[tuple[Walk, Step]],
) -> list[SegmentResult]:
    """The answers to steps of several walks on one slice."""
    step = steps[0][1]
    pixels = lookahead.pixels(step.index, step.index + (-1 if step.sweep.is_downward else 1))
    requests = [walk.request(step, stack, pixels) for walk, step in steps]
    found = [service.segment(requests[0])] if len(requests) == 1 else service.segment_many(requests)
    return [
        replace(result, likeness=walk.features.likeness(result))
        if walk.features is not None and step.sweep.is_outward
        else result
        for (walk, step), result in zip(steps, found, strict=True)
    ]
