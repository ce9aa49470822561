"""From a mask to the prompts that would give it back: how a slice asks for the next one.

Follows micro-sam's `prompt_based_segmentation` (which the paper's 3D results use) in what it computes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max

from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.results import Region
from napari_medicosam.core.views import pixel_of
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SlicePlane

_NAMED_MODES = {
    "box": {"box"},
    "mask": {"mask", "box"},
    "points": {"points"},
    "points_and_mask": {"points", "mask"},
    "single_point": {"single_point"},
}
_PARTS = ("box", "mask", "points", "single_point")
_INNER_DISTANCE, _OUTER_DISTANCE = 3, 5

_BEFORE_CLICK = 0.5
"""How far before a negative click a box ends, as a share of the click's distance from the border of the mask
(docs/tuning.md, Corrections)."""

_MOST_CUT, _LEAST_KEPT = 12.0, 0.4
"""What a negative click may take: so many squares of its distance from the border, as one near the border of a large
mask means little of it, and so that this share of the mask is kept (docs/tuning.md, Corrections)."""

NEARBY_SLICES = 3
"""Farther away the object may be elsewhere."""

BoxExtension = float | tuple[float, float]
"""Growth of a box. A number: >= 1 pixels a side, < 1 a fraction of the side's length. Two: pixels a side, of rows and
of columns, however few they are (what a length in mm comes to)."""


@dataclass(frozen=True, slots=True)
class PromptMode:
    """Which prompts are derived from a mask."""

    box: bool = False
    mask: bool = False
    points: bool = False
    single_point: bool = False

    @classmethod
    def parse(cls, text: str) -> PromptMode:
        """`box`, `mask` (which means mask and box), `points`, `points_and_mask`, `single_point`, or parts joined
        by `+`, such as `box+points` or `mask+box+single_point`.
        """  # noqa: D205
        parts = _NAMED_MODES.get(text, set(text.split("+")))
        if not parts or not parts <= set(_PARTS) or parts >= {"points", "single_point"}:
            raise InputError(
                f"unknown propagation mode {text!r}: wanted {', '.join(_NAMED_MODES)}, or some of "
                f"{', '.join(_PARTS)} joined by '+' (points and single_point exclude each other)"
            )
        return cls(**dict.fromkeys(parts, True))

    def __str__(self) -> str:
        return "+".join(part for part in _PARTS if getattr(self, part))


def derive_prompts(
    mask: NDArray[np.bool_], plane: SlicePlane, mode: PromptMode, box_extension: BoxExtension = 0.0
) -> PromptSet:
    """Prompts on `plane` from a non-empty mask (rows, columns), usually that of the slice beside it.

    Args:
        mask: bool, the object.
        plane: the slice that the prompts are for.
        mode: which prompts.
        box_extension: growth of the box, which also bounds where points off the object are sought; clipped to the
            slice.

    Raises:
        InputError: for an empty mask or a negative extension.
    """
    if not mask.any():
        raise InputError("cannot derive prompts from an empty mask")
    points: tuple[PointPrompt, ...] = ()
    if mode.points:
        points = _extreme_points(mask, box_extension)
    elif mode.single_point:
        points = (_innermost_point(mask),)
    box = derive_box(mask, box_extension) if mode.box else None
    return PromptSet(plane, points=points, box=box, mask=mask if mode.mask else None)


def derive_box(mask: NDArray[np.bool_], extension: BoxExtension = 0.0) -> BoxPrompt:
    """Half-open bounds of a non-empty mask, extended (`BoxExtension`) and clipped to the slice."""
    if min(extension if isinstance(extension, tuple) else (extension,)) < 0:
        raise InputError(f"box extension must be 0 or more, got {extension}")
    region = Region.of_mask(mask)
    if region.is_empty:
        raise InputError("cannot derive a box from an empty mask")
    if isinstance(extension, tuple):
        grow_y, grow_x = extension
    elif extension >= 1:
        grow_y = grow_x = extension
    else:
        grow_y, grow_x = (extension * length for length in region.size_yx)
    rows, columns = mask.shape
    return BoxPrompt(
        max(region.y0 - grow_y, 0.0),
        max(region.x0 - grow_x, 0.0),
        min(region.y1 + grow_y, float(rows)),
        min(region.x1 + grow_x, float(columns)),
    )


def box_around(
    mask: NDArray[np.bool_], points: Iterable[PointPrompt], extension: BoxExtension = 0.05
) -> BoxPrompt:
    """The box to correct a non-empty mask in: extended bounds (`derive_box`) that hold all positive clicks, too."""
    y0, x0, y1, x1 = derive_box(mask, extension).bounds
    for y, x in (point.position_yx for point in points if point.positive):
        y0, x0, y1, x1 = min(y0, y), min(x0, x), max(y1, y + 1), max(x1, x + 1)
    return BoxPrompt(max(y0, 0.0), max(x0, 0.0), min(y1, float(mask.shape[0])), min(x1, float(mask.shape[1])))


def prompts_to_correct(prompts: PromptSet, mask: NDArray[np.bool_]) -> PromptSet:
    """Prompts on a slice with the mask that it has, as the mask prompt, and the box around it (`box_around`).

    A negative click within the mask says that what lies beyond it is too much: box and mask end half-way between the
    click and the rest of the object, on the side where most of the mask is kept. A box that was drawn stays as it is,
    and so does the mask then.

    Args:
        prompts: of the slice; a mask among them is replaced.
        mask: bool (rows, columns), not empty.
    """
    if prompts.box is not None:
        return replace(prompts, mask=mask)
    box = box_around(mask, prompts.points)
    wanted = [pixel_of(point, mask.shape) for point in prompts.points if point.positive]
    for point in prompts.points:
        if not point.positive:
            box, mask = _without_side(box, mask, pixel_of(point, mask.shape), wanted)
    return replace(prompts, mask=mask, box=box)


def box_beside(
    mask_at: Callable[[int], NDArray[np.bool_]], index: int, num_slices: int, points: Iterable[PointPrompt]
) -> BoxPrompt | None:
    """About where an object is, from the nearest slice that it has a mask on (`box_around`); of two, the lower one.

    Args:
        mask_at: gives the mask (rows, columns) of a slice by its number.
        index: of the slice that the box is for.
        num_slices: that there are.
        points: clicks on the slice.

    Returns:
        None when no slice of `NEARBY_SLICES` either way has a mask.
    """
    for distance in range(1, NEARBY_SLICES + 1):
        for other in (index - distance, index + distance):
            if 0 <= other < num_slices:
                mask = mask_at(other)
                if mask.any():
                    return box_around(mask, points)
    return None


def pixels_to_border(mask: NDArray[np.bool_], pixel_yx: tuple[int, int]) -> float:
    """Pixels from one pixel of a mask to the nearest that is not of it; the border of the slice counts."""
    region, (y, x) = Region.of_mask(mask), pixel_yx
    rows, columns = np.nonzero(~np.pad(mask[region.slices_yx], 1))
    return float(np.hypot(rows - 1 + region.y0 - y, columns - 1 + region.x0 - x).min())


def _without_side(
    box: BoxPrompt, mask: NDArray[np.bool_], click_yx: tuple[int, int], wanted: list[tuple[int, int]]
) -> tuple[BoxPrompt, NDArray[np.bool_]]:
    """Box and mask without the side of a mask that a click within it says is too much.

    They stay as they are where the click is off the mask, or no side can go without a pixel that is `wanted` or far
    more than the click can mean.
    """
    if not mask[click_yx]:
        return box, mask
    y, x = click_yx
    # The click is about as far from the border as from the object that it is not on.
    depth = pixels_to_border(mask, click_yx)
    reach, size = _BEFORE_CLICK * depth, float(np.count_nonzero(mask))
    y0, x0, y1, x1 = box.bounds
    best, most = (box, mask), max(size - _MOST_CUT * depth**2, _LEAST_KEPT * size)
    for bounds in (
        (y0, x0, y - reach, x1),
        (y + reach + 1, x0, y1, x1),
        (y0, x0, y1, x - reach),
        (y0, x + reach + 1, y1, x1),
    ):
        inside = np.zeros_like(mask)
        top, left, bottom, right = (max(round(v), 0) for v in bounds)
        inside[top:bottom, left:right] = mask[top:bottom, left:right]
        kept = float(np.count_nonzero(inside))
        if kept >= most and all(top <= row < bottom and left <= column < right for row, column in wanted):
            best, most = (BoxPrompt(*bounds), inside), kept
    return best


def _inside_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    # The border of the slice is no border of the object, so pad by repeating before measuring.
    distance = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))
    return np.asarray(distance, dtype=np.float64)[1:-1, 1:-1]


def _innermost_point(mask: NDArray[np.bool_]) -> PointPrompt:
    y, x = np.unravel_index(int(_inside_distance(mask).argmax()), mask.shape)
    return PointPrompt((float(y), float(x)), positive=True)


def _extreme_points(mask: NDArray[np.bool_], box_extension: BoxExtension) -> tuple[PointPrompt, ...]:
    inside = ndimage.gaussian_filter(_inside_distance(mask), sigma=1)
    peaks = peak_local_max(
        inside, min_distance=_INNER_DISTANCE, exclude_border=False, labels=mask.astype(np.uint8)
    )
    positive = [PointPrompt((float(y), float(x)), positive=True) for y, x in peaks]

    y0, x0, y1, x1 = (round(v) for v in derive_box(mask, box_extension).bounds)
    outside = ndimage.gaussian_filter(_inside_distance(~mask), sigma=1)
    in_box = np.zeros(mask.shape, dtype=np.uint8)
    in_box[y0:y1, x0:x1] = ~mask[y0:y1, x0:x1]
    negative: list[PointPrompt] = []
    if in_box.any():
        peaks = peak_local_max(outside, min_distance=_OUTER_DISTANCE, exclude_border=False, labels=in_box)
        negative = [PointPrompt((float(y), float(x)), positive=False) for y, x in peaks]
    return tuple(positive or [_innermost_point(mask)]) + tuple(negative)
