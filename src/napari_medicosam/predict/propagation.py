"""Masks through depth: every slice is asked with prompts derived from the slice beside it.

A generator of results: the widget writes them as they come, the command collects them, a test iterates them, and
to cancel is to close it. One object or several, the rules are the same (`predict/walks.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_medicosam.errors import InputError
from napari_medicosam.predict.likeness import ObjectFeatures
from napari_medicosam.predict.propagation_settings import REFERENCE_SETTINGS, PropagationSettings
from napari_medicosam.predict.walks import Gap, Walk, walk_together

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from napari_medicosam.core.geometry import SliceStack
    from napari_medicosam.core.results import SegmentResult
    from napari_medicosam.predict.service import SegmentationService

__all__ = [
    "REFERENCE_SETTINGS",
    "Gap",
    "ObjectRun",
    "PropagationSettings",
    "gaps_of",
    "propagate",
    "propagate_objects",
]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectRun:
    """One object that is to be propagated.

    Attributes:
        anchors: results of annotated slices of the object, on the stack's axis; never changed, never yielded. A
            predicted IoU of NaN says that the mask is not the model's.
        settings: mode, stop rule, box growth.
        stops: slices the user says the object is not on; nothing passes through them.
        z_range: half-open (start, stop) of slice indices; all anchors must lie in it.
        skip: gaps (`gaps_of`) that are left alone, because they were filled from the same masks before.
    """

    anchors: Sequence[SegmentResult]
    settings: PropagationSettings = field(default_factory=PropagationSettings)
    stops: AbstractSet[int] = frozenset()
    z_range: tuple[int, int] | None = None
    skip: AbstractSet[Gap] = frozenset()


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
    """Segment the slices of one object around and between annotated ones: `propagate_objects` of one `ObjectRun`."""
    yield from propagate_objects(service, stack, [ObjectRun(anchors, settings, stops, z_range, skip)])


def propagate_objects(
    service: SegmentationService, stack: SliceStack, runs: Sequence[ObjectRun]
) -> Iterator[SegmentResult]:
    """Segment the slices of several objects around and between their annotated ones.

    Between two annotated slices of an object every slice is filled, from both ends to the middle; outside them slices
    follow one another until the mask changes too much, vanishes, or a stop slice, the z-range or the volume ends.
    Each object gets the masks that it gets alone, by its own rule; objects that come to the same slice on the way are
    asked about together (`SegmentationService.segment_many`), so that it is embedded, read and decoded once. Where
    masks of two objects overlap both are given: who has a voxel is for the caller to say.

    Args:
        service: asked once a slice and sweep (`walks.Sweep`).
        stack: the slices, with their spacing where it is known.
        runs: the objects, each with an id of its own.

    Yields:
        One result a slice and object, in the order they are found: slices between annotated ones, then below,
        then above them.

    Raises:
        InputError: for two runs of one object; and in a run for no anchor, an empty one, anchors on another axis,
            of two objects, twice on one slice, on a stop slice or outside the range, or a box extension in mm where
            the stack has no spacing. Nothing has been asked then.
    """
    walks = [_walk(service, stack, run) for run in runs]
    counted = Counter(run.anchors[0].object_id for run in runs)
    twice = [object_id for object_id, count in counted.items() if count > 1]
    if twice:
        raise InputError(
            f"object {twice[0]} is to be propagated {counted[twice[0]]} times at once: wanted once"
        )
    yield from walk_together(service, stack, walks)


def _walk(service: SegmentationService, stack: SliceStack, run: ObjectRun) -> Walk:
    bounds = run.z_range if run.z_range is not None else (0, len(stack))
    anchors = _checked_anchors(run, stack, bounds)
    return Walk(
        anchors,
        tuple(gap for gap in gaps_of(anchors.keys(), run.stops) if gap not in run.skip),
        bounds,
        run.settings.mode,
        run.settings.extension_on(stack),
        run.settings.stop_rule(stack),
        run.settings.between,
        run.settings.appearance,
        ObjectFeatures(service, stack, anchors) if run.settings.likeness > 0 else None,
    )


def _checked_anchors(run: ObjectRun, stack: SliceStack, bounds: tuple[int, int]) -> dict[int, SegmentResult]:
    """Anchors by slice number."""
    first, last = bounds
    if not 0 <= first < last <= len(stack):
        raise InputError(f"z-range must lie in 0..{len(stack)} with START < STOP, got {first}, {last}")
    if not run.anchors:
        raise InputError("nothing to propagate: segment the object on at least one slice first")
    if len({anchor.object_id for anchor in run.anchors}) > 1:
        raise InputError("got annotated slices of several objects in one run: wanted a run an object")
    anchors: dict[int, SegmentResult] = {}
    for anchor in run.anchors:
        index = anchor.plane.index
        if anchor.plane.axis != stack.axis:
            raise InputError(
                f"annotated slice lies on axis {anchor.plane.axis}, the volume is cut along {stack.axis}"
            )
        if not first <= index < last:
            raise InputError(f"annotated slice {index} is outside the z-range {first}..{last - 1}")
        if index in anchors or index in run.stops:
            twice = "annotated twice" if index in anchors else "both annotated and a stop slice"
            raise InputError(f"slice {index} is {twice}")
        if anchor.region.is_empty:
            raise InputError(f"the mask on slice {index} is empty: nothing to propagate from there")
        anchors[index] = anchor
    return anchors
