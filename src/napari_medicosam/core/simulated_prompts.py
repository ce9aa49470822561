"""What a careful annotator would click: prompts drawn from a ground truth and from what a model got wrong.

Training (Algorithm 1 of the MedicoSAM paper, lines 8-11 and 23-24) and evaluation (paper, section II-E) draw from here,
so that a model is judged by the clicks that it was trained on. Every draw takes a generator: no draw is unseeded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medicosam.core.prompts import BoxPrompt, PointPrompt
from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOX_MARGIN = 3
"""Pixels a side: where nothing is wrong, a negative click goes beside the object but inside its box grown by this."""


def tight_box(truth: NDArray[np.bool_]) -> BoxPrompt:
    """Half-open bounds of a non-empty mask (rows, columns)."""
    region = _bounds(truth)
    return BoxPrompt(region.y0, region.x0, region.y1, region.x1)


def jittered_box(
    truth: NDArray[np.bool_], rng: np.random.Generator, outward: float, inward: float = 0.0
) -> BoxPrompt:
    """A box as people draw it: each side of the tight one moved by U(-inward, outward) of the box's length there.

    The reference code's distortion is outward 0.025, inward 0.

    Args:
        truth: bool (rows, columns), not empty.
        rng: draws the four moves.
        outward: largest growth a side, as a share of the box's height or width.
        inward: largest shrinking a side, below 0.5; the box is clipped to the slice.
    """
    region = _bounds(truth)
    height, width = region.y1 - region.y0, region.x1 - region.x0
    moves = rng.uniform(-inward, outward, size=4) * (height, width, height, width)
    rows, columns = truth.shape
    return BoxPrompt(
        max(region.y0 - moves[0], 0.0),
        max(region.x0 - moves[1], 0.0),
        min(region.y1 + moves[2], float(rows)),
        min(region.x1 + moves[3], float(columns)),
    )


def random_point(truth: NDArray[np.bool_], rng: np.random.Generator) -> PointPrompt:
    """A positive click anywhere on a non-empty mask (rows, columns)."""
    _bounds(truth)
    return PointPrompt(_draw(truth, rng), positive=True)


def innermost_point(truth: NDArray[np.bool_]) -> PointPrompt:
    """A positive click where the distance to the object's boundary is greatest.

    The slice's border counts as boundary, as in the reference evaluation.
    """
    _bounds(truth)
    distance = ndimage.distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), truth.shape)
    return PointPrompt((float(y), float(x)), positive=True)


def draw_correction(
    truth: NDArray[np.bool_], mask: NDArray[np.bool_], rng: np.random.Generator, count: int = 1
) -> tuple[PointPrompt, ...]:
    """One correction: `count` positive clicks on what was missed and `count` negative ones on what is too much.

    Where nothing was missed a positive click goes to the overlap; where nothing is too much a negative one goes beside
    the object inside its box grown by `BOX_MARGIN`, else to any background. An object that fills its slice gets no
    negative click.

    Args:
        truth: bool (rows, columns), not empty.
        mask: bool of the same shape, what the model found.
        rng: draws the places, uniformly.
        count: clicks of each sign; drawn with replacement, so a region of one pixel gives the same click twice.

    Returns:
        Positive clicks first, then negative ones.

    Raises:
        InputError: for an empty truth or masks of different shapes.
    """
    region = _bounds(truth)
    if mask.shape != truth.shape:
        raise InputError(f"mask and truth must have one shape, got {mask.shape} and {truth.shape}")
    missed = truth & ~mask
    if not missed.any():
        missed = truth  # nothing was missed, so this is the overlap
    clicks = [PointPrompt(_draw(missed, rng), positive=True) for _ in range(count)]
    excess = mask & ~truth
    if not excess.any():
        excess = np.zeros_like(truth)
        near = (
            slice(max(region.y0 - BOX_MARGIN, 0), region.y1 + BOX_MARGIN),
            slice(max(region.x0 - BOX_MARGIN, 0), region.x1 + BOX_MARGIN),
        )
        excess[near] = ~truth[near]
        if not excess.any():
            excess = ~truth
    if excess.any():
        clicks += [PointPrompt(_draw(excess, rng), positive=False) for _ in range(count)]
    return tuple(clicks)


def _bounds(truth: NDArray[np.bool_]) -> Region:
    region = Region.of_mask(truth)
    if region.is_empty:
        raise InputError("cannot draw prompts for an empty mask")
    return region


def _draw(where: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float]:
    candidates = np.flatnonzero(where)
    y, x = np.unravel_index(candidates[rng.integers(candidates.size)], where.shape)
    return float(y), float(x)
