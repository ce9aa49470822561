"""What the user says on a slice counts, whatever the model makes of it.

Within a box the model leaves nine of ten negative clicks in the mask, and two of three positive ones out of it
(docs/tuning.md, Corrections), and the user would see nothing happen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.prompt_derivation import pixels_to_border
from napari_medicosam.core.views import pixel_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_medicosam.core.prompts import PromptSet

_SHARE = 0.15
"""Radius of what a click takes or adds at most, as a share of the side of a square as large as the mask."""

_LEAST = 2.0
"""Pixels: a click is not more exact."""

_Pixel = tuple[int, int]


def as_said(mask: NDArray[np.bool_], prompts: PromptSet) -> NDArray[np.bool_]:
    """The mask, but as the user's clicks and negative lassos say.

    What was lassoed away goes, and nothing beside it. A negative click that is still in the mask takes a disc out of
    it, which reaches to the nearest border of the mask, so that it takes a lobe that is too much. A positive click off
    the mask adds a disc, which reaches to the mask. Neither disc is wider than a share of the mask's size, and each
    ends where a click that says otherwise is nearer; of two on one pixel the later one counts. A lasso counts more than
    a click.

    Args:
        mask: bool (rows, columns), the model's answer. An empty one stays empty.
        prompts: of the user, that it was asked with.

    Returns:
        The mask itself where all is as the user says, else a copy.
    """
    if not mask.any():
        return mask
    excluded = prompts.excluded
    kept = mask if excluded is None or not (mask & excluded).any() else mask & ~excluded
    clicks = {pixel_of(point, mask.shape): point.positive for point in prompts.points}
    inside = [at for at, is_positive in clicks.items() if is_positive]
    outside = [at for at, is_positive in clicks.items() if not is_positive]
    missed = [at for at in inside if not mask[at] and (excluded is None or not excluded[at])]
    excess = [at for at in outside if kept[at]]
    if not (missed or excess):
        return kept
    said = kept.copy()
    most = _SHARE * math.sqrt(np.count_nonzero(mask))
    for at in missed:
        window, disc = _disc(said, at, min(most, _distance(mask, at) + 1), outside)
        said[window] |= disc if excluded is None else disc & ~excluded[window]
    for at in excess:
        window, disc = _disc(said, at, min(most, pixels_to_border(kept, at) + 1), inside)
        said[window] &= ~disc
    return said


def _disc(
    mask: NDArray[np.bool_], at: _Pixel, radius: float, others: Iterable[_Pixel]
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """The window of a mask around a pixel, and what in it is within the radius and nearer to it than to the others."""
    radius = max(_LEAST, radius)
    reach = math.ceil(radius)
    window = tuple(
        slice(max(v - reach, 0), min(v + reach + 1, length)) for v, length in zip(at, mask.shape, strict=True)
    )
    rows, columns = np.ogrid[window]
    away = np.hypot(rows - at[0], columns - at[1])
    disc = away <= radius
    for y, x in others:
        disc &= away < np.hypot(rows - y, columns - x)
    return (window[0], window[1]), disc


def _distance(mask: NDArray[np.bool_], at: _Pixel) -> float:
    """Pixels from a pixel to the nearest of a mask that is not empty."""
    rows, columns = np.nonzero(mask)
    return float(np.hypot(rows - at[0], columns - at[1]).min())
