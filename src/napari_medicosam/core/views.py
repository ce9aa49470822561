"""A view: the part of a slice that is shown to the model instead of all of it. What moves between the two frames.

A view is a `Region` inside its slice; None stands for the whole slice. Nothing here decides what is viewed: that is
`predict/zoom.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.resize import MASK_PROMPT_LOGIT, SliceFrame
from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pixel_of(point: PointPrompt, size_yx: tuple[int, int]) -> tuple[int, int]:
    """The pixel (row, column) of a slice that a point lies in; one on the outer border belongs to the last pixel."""
    y, x = (
        min(max(int(np.floor(p + 0.5)), 0), n - 1) for p, n in zip(point.position_yx, size_yx, strict=True)
    )
    return y, x


def prompts_in_view(prompts: PromptSet, view: Region) -> PromptSet:
    """The same prompts for the view as an image of its own. A box is cut at the view's border.

    Raises:
        InputError: for a point, a whole box or a whole mask outside the view.
    """
    points = tuple(
        PointPrompt((p.position_yx[0] - view.y0, p.position_yx[1] - view.x0), p.positive)
        for p in prompts.points
    )
    rows, columns = view.size_yx
    box = prompts.box
    if box is not None:
        moved = (box.y0 - view.y0, box.x0 - view.x0, box.y1 - view.y0, box.x1 - view.x0)
        y0, x0, y1, x1 = (
            min(max(v, 0.0), limit) for v, limit in zip(moved, (rows, columns) * 2, strict=True)
        )
        if y0 >= y1 or x0 >= x1:
            raise InputError(f"box (y0, x0, y1, x1) = {box.bounds} is outside {view}")
        box = BoxPrompt(y0, x0, y1, x1)
    mask = None if prompts.mask is None else prompts.mask[view.slices_yx]
    inside = PromptSet(prompts.plane, points, box, mask)
    inside.check((rows, columns))
    return inside


def mask_in_slice(mask: NDArray[np.bool_], view: Region, size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask (rows, columns) of the view as one of its slice, with nothing outside the view."""
    whole = np.zeros(size_yx, dtype=bool)
    whole[view.slices_yx] = mask
    return whole


def logits_between_views(
    logits: NDArray[np.float32], source: Region | None, target: Region | None, size_yx: tuple[int, int]
) -> NDArray[np.float32]:
    """Low-res logits of one view as those of another view of the same slice.

    Linear between the logits; smoothed first where the target is coarser. What the source does not cover, and the
    padding, is background: probability 0.001, as in a mask prompt.

    Args:
        logits: float32 (h, h) in the model's frame of `source`.
        source: their view; None is the whole slice.
        target: the view that is wanted. If it is the same, `logits` are given back as they are.
        size_yx: of the slice.

    Returns:
        float32 (h, h) in the model's frame of `target`.
    """
    whole = Region(0, 0, *size_yx)
    source, target = source or whole, target or whole
    if source == target:
        return logits
    side = logits.shape[0]
    source_grid = SliceFrame(source.size_yx, side).resized_size
    target_grid = SliceFrame(target.size_yx, side).resized_size
    pairs = zip(_intervals(source), source_grid, _intervals(target), target_grid, strict=True)
    rows, columns = (_Axis(*pair) for pair in pairs)
    content = logits[: source_grid[0], : source_grid[1]]
    if rows.step > 1 or columns.step > 1:  # as skimage's resize smooths before it shrinks
        sigma = [max(axis.step - 1, 0.0) / 2 for axis in (rows, columns)]
        content = ndimage.gaussian_filter(content, sigma, mode="nearest")
    places = np.meshgrid(rows.places, columns.places, indexing="ij")
    moved = ndimage.map_coordinates(content, places, order=1, mode="nearest")
    result = np.full(logits.shape, -MASK_PROMPT_LOGIT, dtype=np.float32)
    inside = np.outer(rows.is_inside, columns.is_inside)
    result[: target_grid[0], : target_grid[1]][inside] = moved[inside]
    return result


def _intervals(view: Region) -> tuple[tuple[int, int], tuple[int, int]]:
    return (view.y0, view.y1), (view.x0, view.x1)


class _Axis:
    """One axis of two grids that divide two intervals of the slice into equal pixels.

    Attributes:
        step: pixels of the source's grid to a pixel of the target's.
        places: centres of the target's pixels, as indices of the source's grid.
        is_inside: whether they lie in the source's interval.
    """

    def __init__(self, source: tuple[int, int], n: int, target: tuple[int, int], m: int) -> None:
        scale = n / (source[1] - source[0])
        width = (target[1] - target[0]) / m
        centres = target[0] + (np.arange(m) + 0.5) * width
        self.step = width * scale
        self.places = (centres - source[0]) * scale - 0.5
        self.is_inside = (centres >= source[0]) & (centres < source[1])
