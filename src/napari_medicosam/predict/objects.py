"""Objects from their prompts to all of their slices, together: a slice that several of them need is read once."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_medicosam.core.results import Region, SegmentRequest, frozen_array
from napari_medicosam.core.users_clicks import as_said
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import ObjectRun, propagate_objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_medicosam.core.geometry import SliceStack
    from napari_medicosam.core.prompts import ObjectPrompts, PromptSet
    from napari_medicosam.core.results import SegmentResult
    from napari_medicosam.predict.propagation import PropagationSettings
    from napari_medicosam.predict.service import SegmentationService


def segment_objects(
    service: SegmentationService,
    stack: SliceStack,
    wanted: Sequence[ObjectPrompts],
    settings: PropagationSettings | None = None,
    z_range: tuple[int, int] | None = None,
) -> Iterator[SegmentResult]:
    """Segment every prompted slice of some objects and, with `settings`, the slices around and between them.

    Each object gets what it would get alone. Where masks of two of them overlap both are given.

    Args:
        service: asked once a slice about all objects that are prompted there, then by `propagate_objects`.
        stack: the slices, along the axis of the prompts.
        wanted: the objects, each with an id of its own.
        settings: of the propagation; None for the prompted slices alone.
        z_range: half-open (start, stop) of slices to propagate on; all prompted ones must lie in it.

    Yields:
        One result a slice and object; prompted slices come first, and stop slices are left out.

    Raises:
        InputError: for two objects with one id, prompts outside the volume, or, before anything is propagated, an
            object that is found on none of its prompted slices.
    """
    ids = Counter(one.object_id for one in wanted)
    twice = [object_id for object_id, count in ids.items() if count > 1]
    if twice:
        raise InputError(f"id {twice[0]} is used by {ids[twice[0]]} objects: wanted an id an object")
    anchors: dict[int, list[SegmentResult]] = {object_id: [] for object_id in ids}
    for result in _prompted(service, stack, wanted):
        anchors[result.object_id].append(result)
        yield result
    if settings is not None:
        runs = [_run(one, anchors[one.object_id], settings, z_range) for one in wanted]
        yield from propagate_objects(service, stack, runs)


def as_clicked(result: SegmentResult, prompts: PromptSet) -> SegmentResult:
    """The result, and its candidates, as the user's clicks and lassos say (`core.users_clicks`)."""
    mask = as_said(result.mask, prompts)
    if mask is not result.mask:
        result = replace(result, mask=frozen_array(mask), region=Region.of_mask(mask))
    if not result.candidates:
        return result
    masks = [frozen_array(as_said(one.mask, prompts)) for one in result.candidates]
    candidates = [replace(one, mask=mask) for one, mask in zip(result.candidates, masks, strict=True)]
    return replace(result, candidates=tuple(candidates))


def _prompted(
    service: SegmentationService, stack: SliceStack, wanted: Sequence[ObjectPrompts]
) -> Iterator[SegmentResult]:
    asked: dict[int, list[tuple[int, PromptSet]]] = defaultdict(list)
    for one in wanted:
        for prompts in one.prompt_sets:
            if prompts.is_stop:
                prompts.check(prompts.plane.size_yx(stack.shape_zyx))
            else:
                asked[prompts.plane.index].append((one.object_id, prompts))
    for index in sorted(asked):
        pixels = stack.pixels(index)
        requests = [SegmentRequest(pixels, prompts, object_id=number) for number, prompts in asked[index]]
        for request, result in zip(requests, service.segment_many(requests), strict=True):
            yield as_clicked(result, request.prompts)


def _run(
    wanted: ObjectPrompts,
    anchors: Sequence[SegmentResult],
    settings: PropagationSettings,
    z_range: tuple[int, int] | None,
) -> ObjectRun:
    found = [anchor for anchor in anchors if not anchor.region.is_empty]
    if not found:
        slices = ", ".join(str(anchor.plane.index) for anchor in anchors)
        raise InputError(
            f"{wanted}: the model finds nothing on slice {slices}; give a better point, box or window"
        )
    # An annotated slice where the model finds nothing is no place to pass through either.
    empty = {anchor.plane.index for anchor in anchors if anchor.region.is_empty}
    return ObjectRun(found, settings, wanted.stops | empty, z_range)
