"""A mask through depth: every slice is asked with prompts derived from the slice beside it.

A generator of results: the widget writes them as they come, the command collects them, a test iterates them, and
to cancel is to close it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_medicosam.core.metrics import iou
from napari_medicosam.core.prompt_derivation import PromptMode, derive_prompts
from napari_medicosam.core.results import SegmentRequest, SegmentResult
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    import numpy as np
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SliceStack
    from napari_medicosam.predict.service import SegmentationService


@dataclass(frozen=True, slots=True)
class PropagationSettings:
    """How slices ask each other, and when to stop.

    Attributes:
        mode: prompts that a slice's mask gives to the next one.
        iou_threshold: outside the annotated range, stop when IoU(previous, new) falls below it; 0 never stops
            before the mask is empty.
        box_extension: growth of the box on its way, >= 1 pixels a side, < 1 a fraction of the side.
        min_confidence: outside the annotated range, stop when the predicted IoU falls below this share of that of the
            annotated slice (of the first slice beside it where the user drew that one); 0 does not look at it.

    The defaults were chosen by measurement with the bundled weights (docs/tuning.md).
    """

    mode: PromptMode = field(default_factory=lambda: PromptMode(box=True))
    iou_threshold: float = 0.5
    box_extension: float = 0.05
    min_confidence: float = 0.85

    def __post_init__(self) -> None:
        if not 0 <= self.iou_threshold <= 1:
            raise InputError(f"IoU threshold must be between 0 and 1, got {self.iou_threshold}")
        if not 0 <= self.min_confidence <= 1:
            raise InputError(f"minimal confidence must be between 0 and 1, got {self.min_confidence}")
        if self.box_extension < 0:
            raise InputError(f"box extension must be 0 or more, got {self.box_extension}")


REFERENCE_SETTINGS = PropagationSettings(
    PromptMode(box=True, mask=True), iou_threshold=0.8, box_extension=0.025, min_confidence=0
)
"""What the reference evaluation of the paper runs with: mask and box, 0.8, 0.025, whatever the predicted IoU."""


Gap = tuple[int | None, int | None]
"""Two annotated or stop slices without another one in between, the lower first; None beyond the first and the last."""


def gaps_of(annotated: AbstractSet[int], stops: AbstractSet[int] = frozenset()) -> list[Gap]:
    """Where a propagation has slices to fill: between two annotated slices, and next to one.

    Args:
        annotated: numbers of annotated slices, at least one.
        stops: of slices that the object is not on.
    """
    borders = sorted({*annotated, *stops})
    gaps: list[Gap] = [(None, borders[0]), *pairwise(borders), (borders[-1], None)]
    return [gap for gap in gaps if not annotated.isdisjoint(gap)]


def propagate(
    service: SegmentationService,
    stack: SliceStack,
    anchors: Sequence[SegmentResult],
    settings: PropagationSettings,
    *,
    stops: AbstractSet[int] = frozenset(),
    z_range: tuple[int, int] | None = None,
    skip: AbstractSet[Gap] = frozenset(),
) -> Iterator[SegmentResult]:
    """Segment the slices around and between annotated ones.

    Between two annotated slices every slice is filled, from both ends to the middle; outside them slices follow
    one another until the mask changes too much, vanishes, or a stop slice, the z-range or the volume ends.

    Args:
        service: asked once a slice.
        stack: the slices.
        anchors: results of annotated slices of one object, on `stack.axis`; never changed, never yielded. A predicted
            IoU of NaN says that the mask is not the model's.
        settings: mode, stop rule, box growth.
        stops: slices the user says the object is not on; nothing passes through them.
        z_range: half-open (start, stop) of slice indices; all anchors must lie in it.
        skip: gaps (`gaps_of`) that are left alone, because they were filled from the same masks before.

    Yields:
        One result a slice, in the order they are found.

    Raises:
        InputError: for no anchor, an empty one, anchors on another axis, of two objects, twice on one slice, on
            a stop slice or outside the range.
    """
    first, last = z_range if z_range is not None else (0, len(stack))
    masks = _check_anchors(anchors, stack, stops, (first, last))
    confidence = {anchor.plane.index: anchor.iou_prediction for anchor in anchors}
    run = _Run(service, stack, settings, anchors[0].object_id, anchors[0].generation, masks, confidence)
    annotated = frozenset(masks)
    gaps = [gap for gap in gaps_of(annotated, stops) if gap not in skip]
    for below, above in gaps:
        if below in annotated and above in annotated:
            yield from run.fill(below, above)
    for below, above in reversed(gaps):
        if above in annotated and below not in annotated:
            yield from run.follow(
                above, range(above - 1, max(first, -1 if below is None else below + 1) - 1, -1)
            )
    for below, above in gaps:
        if below in annotated and above not in annotated:
            yield from run.follow(below, range(below + 1, min(last, len(stack) if above is None else above)))


@dataclass(slots=True)
class _Run:
    """One propagation: the masks known so far, and the anchors' predicted IoUs, by slice index."""

    service: SegmentationService
    stack: SliceStack
    settings: PropagationSettings
    object_id: int
    generation: int
    masks: dict[int, NDArray[np.bool_]]
    confidence: dict[int, float]

    def follow(self, start: int, indices: range) -> Iterator[SegmentResult]:
        """Outwards from an annotated slice; the slice that breaks the stop rule is discarded."""
        previous, reference = self.masks[start], self.confidence[start]
        for index in indices:
            result = self.ask(index, previous)
            if result.region.is_empty or iou(previous, result.mask) < self.settings.iou_threshold:
                return
            if math.isnan(reference):
                reference = result.iou_prediction
            if result.iou_prediction < self.settings.min_confidence * reference:
                return
            yield result
            previous = result.mask

    def fill(self, below: int, above: int) -> Iterator[SegmentResult]:
        """Between two annotated slices, without a stop rule. The middle of an odd number of slices comes from
        the union of its neighbours; of an even number each side takes its half.
        """  # noqa: D205
        between = above - below - 1
        half = between // 2
        yield from self.march(below, range(below + 1, below + 1 + half))
        yield from self.march(above, range(above - 1, above - 1 - half, -1))
        if between % 2:
            middle = below + half + 1
            yield from self.one(middle, self.masks[middle - 1] | self.masks[middle + 1])

    def march(self, start: int, indices: range) -> Iterator[SegmentResult]:
        previous = self.masks[start]
        for index in indices:
            for result in self.one(index, previous):
                yield result
                # where the model finds nothing the last mask it found keeps asking
                previous = previous if result.region.is_empty else result.mask

    def one(self, index: int, source: NDArray[np.bool_]) -> Iterator[SegmentResult]:
        result = self.ask(index, source)
        self.masks[index] = source if result.region.is_empty else result.mask
        yield result

    def ask(self, index: int, source: NDArray[np.bool_]) -> SegmentResult:
        plane = self.stack.plane(index)
        prompts = derive_prompts(source, plane, self.settings.mode, self.settings.box_extension)
        pixels = self.stack.pixels(index)
        request = SegmentRequest(pixels, prompts, object_id=self.object_id, generation=self.generation)
        return self.service.segment(request)


def _check_anchors(
    anchors: Sequence[SegmentResult], stack: SliceStack, stops: AbstractSet[int], bounds: tuple[int, int]
) -> dict[int, NDArray[np.bool_]]:
    first, last = bounds
    if not 0 <= first < last <= len(stack):
        raise InputError(f"z-range must lie in 0..{len(stack)} with START < STOP, got {first}, {last}")
    if not anchors:
        raise InputError("nothing to propagate: segment the object on at least one slice first")
    if len({anchor.object_id for anchor in anchors}) > 1:
        raise InputError("got annotated slices of several objects: propagate one object at a time")
    masks: dict[int, NDArray[np.bool_]] = {}
    for anchor in anchors:
        index = anchor.plane.index
        if anchor.plane.axis != stack.axis:
            raise InputError(
                f"annotated slice lies on axis {anchor.plane.axis}, the volume is cut along {stack.axis}"
            )
        if not first <= index < last:
            raise InputError(f"annotated slice {index} is outside the z-range {first}..{last - 1}")
        if index in masks or index in stops:
            twice = "annotated twice" if index in masks else "both annotated and a stop slice"
            raise InputError(f"slice {index} is {twice}")
        if anchor.region.is_empty:
            raise InputError(f"the mask on slice {index} is empty: nothing to propagate from there")
        masks[index] = anchor.mask
    return masks
