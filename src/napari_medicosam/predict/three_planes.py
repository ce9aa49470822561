"""An object found along all three array axes, and what two of the three say: errors of one plane are outvoted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.bounds import mask_bounds
from napari_medicosam.core.consensus import Consensus, consensus
from napari_medicosam.core.geometry import SliceStack
from napari_medicosam.core.prompt_derivation import derive_prompts
from napari_medicosam.core.results import Region, SegmentRequest, SegmentResult
from napari_medicosam.errors import InputError
from napari_medicosam.predict.propagation import PropagationSettings, propagate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medicosam.predict.service import SegmentationService

_MARGIN = 0.15
"""How far beyond the object's ends it may reach along another axis, as a share of its length there: a mask that leaked
along one axis must not be followed to the end of the volume along the others."""


@dataclass(frozen=True, slots=True)
class ThreePlanesProgress:
    """How far it is, in slices; `result` is set at the end, and only then."""

    done: int
    total: int
    result: Consensus | None = None


def agree_on_three_planes(
    service: SegmentationService,
    stack: SliceStack,
    mask: NDArray[np.bool_],
    settings: PropagationSettings,
) -> Iterator[ThreePlanesProgress]:
    """Ask along the two other axes, too, from the largest slice of a mask there, and let the three vote.

    Args:
        service: slices of the other axes are encoded where they were not yet.
        stack: the image, cut along the axis that the mask was made along.
        mask: bool (z, y, x), of the object.
        settings: of the propagation along the other axes.

    Yields:
        How far it is, after every slice; the last one has the consensus. Closing the generator cancels.

    Raises:
        InputError: for a mask of another shape, or an empty one.
    """
    bounds = mask_bounds(mask)
    if mask.shape != stack.shape_zyx:
        raise InputError(f"the mask has shape {mask.shape}, the image {stack.shape_zyx}")
    if bounds is None:
        raise InputError("the mask is empty: segment the object along one axis first")
    ranges = {axis: _widened(bounds[axis], stack.shape_zyx[axis]) for axis in range(3) if axis != stack.axis}
    done, total = 0, sum(last - first for first, last in ranges.values())
    votes = [mask]
    yield ThreePlanesProgress(done, total)
    for axis, (first, last) in ranges.items():
        other = SliceStack(stack.array, axis, stack.spacing_zyx)
        found = np.zeros_like(mask)
        anchor = _anchor(service, other, mask, settings)
        anchor.plane.cut(found)[...] = anchor.mask
        number = done
        if not anchor.region.is_empty:
            for result in propagate(service, other, [anchor], settings, z_range=(first, last)):
                result.plane.cut(found)[...] = result.mask
                number += 1
                yield ThreePlanesProgress(number, total)
        votes.append(found)
        done += last - first
        yield ThreePlanesProgress(done, total)
    yield ThreePlanesProgress(total, total, consensus(votes))


def _widened(along: slice, length: int) -> tuple[int, int]:
    margin = math.ceil(_MARGIN * (along.stop - along.start))
    return max(along.start - margin, 0), min(along.stop + margin, length)


def _anchor(
    service: SegmentationService, stack: SliceStack, mask: NDArray[np.bool_], settings: PropagationSettings
) -> SegmentResult:
    """What the model makes of the largest slice of the mask; the mask itself where it finds nothing there."""
    others = tuple(axis for axis in range(3) if axis != stack.axis)
    index = int(np.count_nonzero(mask, axis=others).argmax())
    plane = stack.plane(index)
    known = np.ascontiguousarray(plane.cut(mask))
    prompts = derive_prompts(known, plane, settings.mode, settings.extension_on(stack))
    found = service.segment(SegmentRequest(stack.pixels(index), prompts))
    if not found.region.is_empty:
        return found
    side = np.zeros((1, 1), dtype=np.float32)  # propagation asks with masks, not with logits
    return SegmentResult(plane, known, Region.of_mask(known), math.nan, side)
