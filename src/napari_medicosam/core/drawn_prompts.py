"""Scribbles and lassos as what SAM understands: clicks, a box and a mask hint.

Paths and polygons are float (N, 2) rows and columns in slice pixels, pixel centres at integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.draw import polygon2mask

from napari_medicosam.core.prompts import PointPrompt

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.results import Region

MAX_CLICKS = 8
"""Clicks that stand for one scribble: each costs the decoder a little, and neighbours say the same."""

CLICK_DISTANCE = 5.0
"""Pixels of a scribble that one click stands for; a longer one than `MAX_CLICKS` times that has them farther apart."""

MAX_INNER_CLICKS = 4


def clicks_along(path_yx: NDArray[np.float64], *, positive: bool) -> tuple[PointPrompt, ...]:
    """Clicks at equal distances along a scribble, its ends included; a dot gives one."""
    steps = np.linalg.norm(np.diff(path_yx, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    length = float(along[-1])
    if length < 1:
        return (_click(path_yx[0], positive=positive),)
    count = min(MAX_CLICKS, max(2, 1 + round(length / CLICK_DISTANCE)))
    at = np.linspace(0, length, count)
    rows, columns = (np.interp(at, along, path_yx[:, i]) for i in (0, 1))
    return tuple(_click(point, positive=positive) for point in np.stack([rows, columns], axis=1))


def filled_polygon(polygon_yx: NDArray[np.float64], size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (rows, columns) whose centre lies inside a closed polygon, or on the pixel nearest to a vertex."""
    mask = np.asarray(polygon2mask(size_yx, polygon_yx), dtype=bool)
    rows, columns = size_yx
    y = np.clip(np.rint(polygon_yx[:, 0]).astype(int), 0, rows - 1)
    x = np.clip(np.rint(polygon_yx[:, 1]).astype(int), 0, columns - 1)
    mask[y, x] = True
    return mask


def clicks_inside(mask: NDArray[np.bool_], *, positive: bool) -> tuple[PointPrompt, ...]:
    """A few clicks that say what a whole region is: the innermost pixel, then those farthest from the clicks so far.

    Args:
        mask: bool (rows, columns), not empty.
        positive: what the clicks say.
    """
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    chosen = [np.unravel_index(int(depth.argmax()), mask.shape)]
    # Pixels at the rim are the neighbours' as much as the region's.
    inner = depth >= min(2.0, float(depth.max()))
    rows, columns = np.nonzero(inner)
    nearest = np.full(rows.shape, np.inf)
    while len(chosen) < MAX_INNER_CLICKS:
        y, x = chosen[-1]
        nearest = np.minimum(nearest, np.hypot(rows - y, columns - x))
        farthest = int(nearest.argmax())
        if nearest[farthest] < CLICK_DISTANCE:
            break
        chosen.append((rows[farthest], columns[farthest]))
    return tuple(_click(point, positive=positive) for point in chosen)


def pasted(patch: NDArray[np.bool_], region: Region, size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask (rows, columns) that is `patch` in `region` and empty elsewhere."""
    mask = np.zeros(size_yx, dtype=bool)
    mask[region.slices_yx] = patch
    return mask


def _click(point: object, *, positive: bool) -> PointPrompt:
    y, x = (float(v) for v in np.asarray(point))
    return PointPrompt((y, x), positive)
