"""One object from its prompts to all of its slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medicosam.core.results import SegmentRequest
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import propagate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medicosam.core.geometry import SliceStack
    from napari_medicosam.core.prompts import ObjectPrompts
    from napari_medicosam.core.results import SegmentResult
    from napari_medicosam.predict.propagation import PropagationSettings
    from napari_medicosam.predict.service import SegmentationService


def segment_object(
    service: SegmentationService,
    stack: SliceStack,
    wanted: ObjectPrompts,
    settings: PropagationSettings | None = None,
    z_range: tuple[int, int] | None = None,
) -> Iterator[SegmentResult]:
    """Segment every prompted slice of an object and, with `settings`, the slices around and between them.

    Yields:
        One result a slice; prompted slices come first, and stop slices are left out.

    Raises:
        InputError: for prompts outside the volume, or when a prompted slice that should be propagated is empty.
    """
    anchors = []
    for prompts in wanted.prompt_sets:
        if prompts.is_stop:
            prompts.check(prompts.plane.size_yx(stack.shape_zyx))
            continue
        pixels = stack.pixels(prompts.plane.index)
        result = service.segment(SegmentRequest(pixels, prompts, object_id=wanted.object_id))
        anchors.append(result)
        yield result
    if settings is None:
        return
    found = [anchor for anchor in anchors if not anchor.region.is_empty]
    if not found:
        slices = ", ".join(str(anchor.plane.index) for anchor in anchors)
        raise InputError(
            f"{wanted}: the model finds nothing on slice {slices}; give a better point, box or window"
        )
    # An annotated slice where the model finds nothing is no place to pass through either.
    empty = {anchor.plane.index for anchor in anchors if anchor.region.is_empty}
    yield from propagate(service, stack, found, settings, stops=wanted.stops | empty, z_range=z_range)
