"""What an object and its surroundings look like on annotated slices, and a mask that agrees with it.

A mask that leaks into a neighbour stays there, as every slice is asked with the mask of the one beside. The intensities
of the annotated slice say where it leaked to, wherever object and surroundings differ in brightness; where they do
not, they say nothing, and the mask is the model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medicosam.core.resize import SliceFrame
from napari_medicosam.core.results import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.intensity import IntensityMapping

_BINS = 64

_BLUR = 2.5
"""Bins: few pixels are counted, and brightness drifts from slice to slice."""

_RARE = 0.002
"""Share of pixels that every bin has at least: what was not seen speaks neither for nor against."""

_MOST = 4.0
"""Of the log odds: one intensity does not overrule a model that is sure."""

_AROUND = 0.5
"""Of the sides of an object's bounds, on each side: the surroundings that it is told from."""

_LEAST_AROUND = 3

_SMOOTHING = 1.0
"""Pixels (sigma): noise must not fray the mask."""

_THIN = 60
"""Pixels: the border of a larger mask, where both sides mix, is not counted."""


class Appearance:
    """How much an intensity speaks for the object. Cheap to make: nothing is counted before it is asked.

    Args:
        slices: annotated ones, all with the same say: pixels (rows, columns) or (rows, columns, 3) of any real dtype,
            and the mask (rows, columns), which is not empty.
        weight: of the log odds beside the model's logits.
    """

    def __init__(self, slices: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]], weight: float) -> None:
        self._slices = slices
        self._weight = weight
        self._counted: tuple[IntensityMapping, NDArray[np.float32]] | None = None

    def log_odds(self, mapping: IntensityMapping) -> NDArray[np.float32]:
        """What a pixel of each bin adds to the model's logits, float32 (bins,).

        0 for all where there is nothing around the object.
        """
        if self._counted is None or self._counted[0] != mapping:
            self._counted = mapping, self._count(mapping)
        return self._counted[1]

    def mask_of(
        self,
        logits: NDArray[np.float32],
        view: Region | None,
        pixels: NDArray[Any],
        mapping: IntensityMapping,
    ) -> NDArray[np.bool_]:
        """The model's logits with what the intensities say, as a mask.

        Args:
            logits: float32 (h, h), low-res, in the model's frame of `view`.
            view: the part of the slice that they cover; None for all of it.
            pixels: of the slice, as those of the annotated ones.
            mapping: to what the model sees.

        Returns:
            bool (rows, columns); nothing outside the view.
        """
        log_odds = self.log_odds(mapping)
        rows, columns = pixels.shape[:2]
        view = view or Region(0, 0, rows, columns)
        grid = SliceFrame(view.size_yx, logits.shape[0]).resized_size
        content = logits[: grid[0], : grid[1]]
        mask = np.zeros((rows, columns), dtype=bool)
        undecided = content > -float(log_odds.max())
        if not undecided.any():
            return mask
        y, x = (
            _pixels_near(np.flatnonzero(undecided.any(axis=1 - axis)), n, view.size_yx[axis])
            for axis, n in enumerate(grid)
        )
        fine = _sampled(_sampled(content, y, grid[0] / view.size_yx[0]).T, x, grid[1] / view.size_yx[1]).T
        part = slice(view.y0 + y.start, view.y0 + y.stop), slice(view.x0 + x.start, view.x0 + x.stop)
        said = log_odds[_bins(mapping.to_uint8(pixels[part]))]
        mask[part] = fine + ndimage.gaussian_filter(said, _SMOOTHING) > 0
        return mask

    def _count(self, mapping: IntensityMapping) -> NDArray[np.float32]:
        seen = [_inside_and_around(pixels, mask, mapping) for pixels, mask in self._slices]
        seen = [parts for parts in seen if all(len(part) for part in parts)]
        if not seen:
            return np.zeros(_BINS, dtype=np.float32)
        inside, around = (
            np.mean([_shares(part) for part in parts], axis=0) for parts in zip(*seen, strict=True)
        )
        odds = np.log((inside + _RARE) / (around + _RARE)).clip(-_MOST, _MOST)
        return np.asarray(self._weight * odds, dtype=np.float32)


def _inside_and_around(
    pixels: NDArray[Any], mask: NDArray[np.bool_], mapping: IntensityMapping
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Bins of the object's pixels, and of those that surround it."""
    part = object_and_around(mask)
    bins, mask = _bins(mapping.to_uint8(pixels[part])), mask[part]
    inside = ndimage.binary_erosion(mask) if np.count_nonzero(mask) > _THIN else mask
    return bins[inside if inside.any() else mask], bins[~ndimage.binary_dilation(mask)]


def object_and_around(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of an object and of what it is told from; of a mask (rows, columns) that is not empty."""
    region = Region.of_mask(mask)
    grow_y, grow_x = (max(_LEAST_AROUND, int(_AROUND * side)) for side in region.size_yx)
    return (
        slice(max(region.y0 - grow_y, 0), region.y1 + grow_y),
        slice(max(region.x0 - grow_x, 0), region.x1 + grow_x),
    )


def _bins(pixels: NDArray[np.uint8]) -> NDArray[np.intp]:
    grey = pixels.mean(axis=-1) if pixels.ndim == 3 else pixels
    return (grey // (256 // _BINS)).astype(np.intp)


def _shares(bins: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of each bin among some pixels."""
    shares = np.bincount(bins, minlength=_BINS) / len(bins)
    return np.asarray(ndimage.gaussian_filter1d(shares, _BLUR, mode="nearest"))


def _pixels_near(places: NDArray[np.intp], n: int, length: int) -> range:
    """Of an axis with `length` pixels those that have a part of the given ones of its `n` grid points."""
    first, last = ((place + 0.5) * length / n - 0.5 for place in (int(places[0]) - 1, int(places[-1]) + 1))
    return range(max(int(np.ceil(first)), 0), min(int(np.floor(last)), length - 1) + 1)


def _sampled(values: NDArray[np.float32], pixels: range, scale: float) -> NDArray[np.float32]:
    """Linear between the rows of `values`, at the centres of pixels, of which each is `scale` rows wide."""
    places = ((np.arange(pixels.start, pixels.stop) + 0.5) * scale - 0.5).clip(0, len(values) - 1)
    before = places.astype(np.intp)
    share = (places - before).astype(np.float32)[:, None]
    after = np.minimum(before + 1, len(values) - 1)
    return values[before] * (1 - share) + values[after] * share
