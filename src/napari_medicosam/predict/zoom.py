"""Which part of a slice the model is shown: all of it, or a view around a small object.

At the model's size a small object loses its shape, so the view is a square about twice as wide as its box. Everything
here is a pure function of prompts, masks and sizes; `core/views.py` moves prompts, masks and logits between the frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medicosam.core.prompts import PointPrompt
from napari_medicosam.core.resize import SliceFrame
from napari_medicosam.core.results import Region
from napari_medicosam.core.views import pixel_of
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.prompts import PromptSet

ZOOM_POLICIES = ("never", "auto", "always")

MIN_CONTEXT = 1.25
"""Less would leave no margin around the object."""

_STEPS = 8
"""A view's side and corner are multiples of a step, an eighth to a sixteenth of the side: much the same object, the
same view."""

_MARGIN = 1 / 16
"""Part of the view's side that is left around the object, and around points when a view is made."""

_SPECK = 0.1
"""A component smaller than this part of the largest one, without a click on it, does not say where the object is."""


@dataclass(frozen=True, slots=True)
class ZoomRule:
    """When the model is shown a view of a slice, and how large a view.

    Attributes:
        policy: "never"; "auto", for objects below `max_share`; "always", whatever their share. Neither of the two
            shows a view that would gain nothing (`max_side`).
        context: sides of the view, in sides of the object's box (of the longer one, as views are square).
        max_share: of the slice that the object's box may cover.
        max_side: long side of a view, in long sides of the slice, from which on the whole slice is shown.
        min_pixels: least side of a view, in slice pixels: fewer of them say nothing about the surroundings.
        reuse_first_mask: where the object was first looked for on the whole slice, feed the mask found there to the
            second look, as its mask prompt.

    Raises:
        InputError: for another policy or a number out of its range.
    """

    policy: str = "auto"
    context: float = 2.0
    max_share: float = 0.02
    max_side: float = 2 / 3
    min_pixels: int = 32
    reuse_first_mask: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.policy, str) or self.policy not in ZOOM_POLICIES:
            raise InputError(f"unknown zoom {self.policy!r}: wanted {', '.join(ZOOM_POLICIES)}")
        if not (math.isfinite(self.context) and self.context >= MIN_CONTEXT):
            raise InputError(f"zoom context must be {MIN_CONTEXT} or more, got {self.context}")
        for name in ("max_share", "max_side"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"zoom {name} must be above 0 and at most 1, got {getattr(self, name)}")
        if self.min_pixels < _STEPS:
            raise InputError(f"zoom min_pixels must be {_STEPS} or more, got {self.min_pixels}")


DEFAULT_ZOOM = ZoomRule()
"""What a service does that was not told: the rule that was best on data sets kept for such choices (docs/tuning.md)."""


def choose_view(
    rule: ZoomRule,
    bounds: Region,
    points: Sequence[PointPrompt],
    size_yx: tuple[int, int],
    previous: Region | None = None,
) -> Region | None:
    """The view in which to look at an object, or None for the whole slice.

    The previous view is kept while it holds the object with a margin, and all points, and is at most twice as
    wide as a new one would be: corrections then need not encode again.

    Args:
        rule: when, and how large.
        bounds: of the object in the slice, not empty.
        points: all of them will lie inside the view.
        size_yx: of the slice.
        previous: view of the last answer, if there was one.

    Raises:
        InputError: for bounds that are empty or reach beyond the slice.
    """
    bounds.check_view(size_yx)
    if rule.policy == "never":
        return None
    needed = bounds
    for point in points:
        y, x = pixel_of(point, size_yx)
        needed = needed.union(Region(y, x, y + 1, x + 1))
    side = _side(rule, bounds, needed)
    if (
        previous is not None
        and _gains(rule, previous, size_yx)
        and max(previous.size_yx) <= 2 * side
        and _holds(previous, bounds, needed, size_yx)
    ):
        return previous
    height, width = bounds.size_yx
    share = height * width / (size_yx[0] * size_yx[1])
    if rule.policy == "auto" and share >= rule.max_share:
        return None
    y0, y1 = _place((bounds.y0 + bounds.y1) / 2, side, (needed.y0, needed.y1), size_yx[0])
    x0, x1 = _place((bounds.x0 + bounds.x1) / 2, side, (needed.x0, needed.x1), size_yx[1])
    view = Region(y0, x0, y1, x1)
    return view if _gains(rule, view, size_yx) else None


def object_bounds(
    prompts: PromptSet,
    size_yx: tuple[int, int],
    previous_logits: NDArray[np.float32] | None = None,
    previous_view: Region | None = None,
) -> Region | None:
    """Where prompts say that the object is: their box and mask, else its last mask; None when nothing says so.

    Args:
        prompts: checked for the slice.
        size_yx: of the slice.
        previous_logits: float32 (h, h), in the model's frame of `previous_view`.
        previous_view: None for the whole slice.
    """
    said = [] if prompts.mask is None else [Region.of_mask(prompts.mask)]
    if prompts.box is not None:
        y0, x0, y1, x1 = prompts.box.bounds
        rows, columns = size_yx
        said.append(
            Region(
                max(math.floor(y0), 0),
                max(math.floor(x0), 0),
                min(math.ceil(y1), rows),
                min(math.ceil(x1), columns),
            )
        )
    if said:
        return said[0].union(said[-1])
    if previous_logits is None:
        return None
    return _bounds_of_logits(previous_logits, previous_view or Region(0, 0, *size_yx), prompts.points)


def bounds_of_found(mask: NDArray[np.bool_], points: Iterable[PointPrompt]) -> Region | None:
    """Bounds of a mask (rows, columns) that the model found, without its specks; None for an empty one.

    Of its components (8 neighbours) those count that were clicked on, or that are not far smaller than the largest.
    """
    components, count = ndimage.label(mask, structure=np.ones((3, 3), dtype=bool))
    if count == 0:
        return None
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    sizes[0] = 0
    clicked = {int(components[pixel_of(point, mask.shape)]) for point in points if point.positive}
    bounds = Region(0, 0, 0, 0)
    for number, (rows, columns) in enumerate(ndimage.find_objects(components), start=1):
        if number in clicked or sizes[number] >= _SPECK * sizes.max():
            bounds = bounds.union(Region(rows.start, columns.start, rows.stop, columns.stop))
    return bounds


def _bounds_of_logits(
    logits: NDArray[np.float32], view: Region, points: Sequence[PointPrompt]
) -> Region | None:
    """Bounds in the slice of what low-res logits of a view call the object."""
    grid = SliceFrame(view.size_yx, logits.shape[0]).resized_size
    y_scale, x_scale = (n / length for n, length in zip(grid, view.size_yx, strict=True))
    clicks = [
        PointPrompt(
            ((y - view.y0 + 0.5) * y_scale - 0.5, (x - view.x0 + 0.5) * x_scale - 0.5), point.positive
        )
        for point in points
        for y, x in (point.position_yx,)
        if view.y0 <= y + 0.5 < view.y1 and view.x0 <= x + 0.5 < view.x1
    ]
    found = bounds_of_found(logits[: grid[0], : grid[1]] > 0, clicks)
    if found is None:
        return None
    return Region(
        view.y0 + math.floor(found.y0 / y_scale),
        view.x0 + math.floor(found.x0 / x_scale),
        min(view.y0 + math.ceil(found.y1 / y_scale), view.y1),
        min(view.x0 + math.ceil(found.x1 / x_scale), view.x1),
    )


def _side(rule: ZoomRule, bounds: Region, needed: Region) -> int:
    """Pixels a side that a view should have, on the grid of views of about that size."""
    roomy = max(needed.size_yx) / (1 - 2 * _MARGIN)
    wanted = max(rule.context * max(bounds.size_yx), roomy, float(rule.min_pixels))
    step = _step(wanted)
    return math.ceil(wanted / step) * step


def _step(side: float) -> int:
    return max(int(2 ** math.floor(math.log2(side / _STEPS))), 1)


def _place(middle: float, side: int, needed: tuple[int, int], length: int) -> tuple[int, int]:
    """Start and stop of a view along one axis: `middle` in its middle as far as the grid lets it, then moved until
    what is needed has its margin, and until no more than the slice is inside.
    """  # noqa: D205
    step, margin = _step(side), int(_MARGIN * side)
    start = round((middle - side / 2) / step) * step
    start = min(max(start, needed[1] + margin - side), needed[0] - margin)
    side = min(side, length)
    start = min(max(start, 0), length - side)
    return start, start + side


def _holds(view: Region, bounds: Region, needed: Region, size_yx: tuple[int, int]) -> bool:
    """Whether a view covers what is needed, and the object with its margin wherever the slice goes on."""
    margin = int(_MARGIN * max(view.size_yx))
    rows, columns = size_yx
    roomy = Region(
        max(bounds.y0 - margin, 0),
        max(bounds.x0 - margin, 0),
        min(bounds.y1 + margin, rows),
        min(bounds.x1 + margin, columns),
    )
    return view.union(roomy).union(needed) == view


def _gains(rule: ZoomRule, view: Region, size_yx: tuple[int, int]) -> bool:
    return max(view.size_yx) < rule.max_side * max(size_yx)
