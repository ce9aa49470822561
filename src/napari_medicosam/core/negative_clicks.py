"""A click that says "not here" counts, whatever the model makes of it.

Within a box the model leaves nine of ten negative clicks in the mask (docs/tuning.md, Corrections), and the user would
see nothing happen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medicosam.core.results import Region

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_medicosam.core.prompts import PointPrompt

_SHARE = 0.15
"""Radius of what is cut away at most, as a share of the side of a square as large as the mask."""

_LEAST = 2.0
"""Pixels: a click is not more exact."""


def without_negative_clicks(mask: NDArray[np.bool_], points: Iterable[PointPrompt]) -> NDArray[np.bool_]:
    """The mask without a disc around each negative click that it still holds.

    The disc reaches to the nearest border of the mask, so that it takes a lobe that is too much, and no farther than a
    share of the mask's size, so that it never takes all.

    Args:
        mask: bool (rows, columns).
        points: of the slice; positive ones do not matter.

    Returns:
        The mask itself where there is nothing to cut, else a copy.
    """
    inside = [
        (round(point.position_yx[0]), round(point.position_yx[1]))
        for point in points
        if not point.positive and _holds(mask, point)
    ]
    if not inside:
        return mask
    region = Region.of_mask(mask)
    part = mask[region.slices_yx].copy()
    # The border of the slice is no border of the object.
    distance = ndimage.distance_transform_edt(np.pad(part, 1, constant_values=False))[1:-1, 1:-1]
    largest = _SHARE * math.sqrt(np.count_nonzero(part))
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    for y, x in inside:
        row, column = y - region.y0, x - region.x0
        radius = max(_LEAST, min(largest, float(distance[row, column]) + 1))
        part &= np.hypot(rows - row, columns - column) > radius
    cut = mask.copy()
    cut[region.slices_yx] = part
    return cut


def _holds(mask: NDArray[np.bool_], point: PointPrompt) -> bool:
    y, x = (round(v) for v in point.position_yx)
    return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])
