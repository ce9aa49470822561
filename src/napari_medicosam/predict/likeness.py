"""How like an object on its annotated slices a mask on another slice is, by what the encoder sees in both.

Where an object ends a mask leaks into what lies behind it. The features of what is in the mask then change at once,
also where brightness, area and the model's trust in its own mask do not (docs/tuning.md).
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_medicosam.core.appearance import object_and_around

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import SliceStack
    from napari_medicosam.core.results import Region, SegmentResult
    from napari_medicosam.predict.service import SegmentationService

_MOST_ALIKE = 0.95
"""Cosine: an object and its surroundings are not taken to be more alike, so that a hair's breadth does not count."""


class ObjectFeatures:
    """What the encoder sees of one object on its annotated slices. Cheap to make: nothing is read before it is asked.

    Args:
        service: that encodes.
        stack: with the slices.
        anchors: results of the annotated slices, by slice number; at least one, none is empty. Compared are those that
            the user drew (predicted IoU NaN) and the surest of the others.
    """

    def __init__(
        self, service: SegmentationService, stack: SliceStack, anchors: Mapping[int, SegmentResult]
    ) -> None:
        self._service, self._stack = service, stack
        predicted = [one.iou_prediction for one in anchors.values() if not math.isnan(one.iou_prediction)]
        # Of those that are the model's only the surest: what a poor mask holds may be anything.
        surest = max(predicted, default=0.0)
        self._anchors = {index: one for index, one in anchors.items() if not one.iou_prediction < surest}
        self._known: dict[tuple[int, Region | None], tuple[NDArray[np.float32], float]] = {}

    def likeness(self, result: SegmentResult) -> float:
        """Of a mask: 1 as the object is, 0 as what surrounds it, on the annotated slice where that is most; 1 for none.

        Compared is what was seen in the whole slices, or in views of both where both are seen in views.
        """
        if result.region.is_empty:
            return 1.0

        @cache
        def seen(view: Region | None) -> NDArray[np.float32]:
            features = self._features(result.plane.index, view)
            return mean_features(features, result.mask if view is None else result.mask[view.slices_yx])

        found = []
        for index in self._anchors:
            view = None if result.view is None else self._service.view_of(self._anchors[index].mask)
            inside, surroundings = self._anchor(index, view)
            alike = _cosine(seen(None if view is None else result.view), inside)
            apart = 1 - min(surroundings, _MOST_ALIKE)
            found.append(1 - (1 - alike) / apart)
        return max(found)

    def _anchor(self, index: int, view: Region | None) -> tuple[NDArray[np.float32], float]:
        """The object's features, and how like them those around it are."""
        if (index, view) not in self._known:
            self._known[index, view] = self._look_at_anchor(index, view)
        return self._known[index, view]

    def _look_at_anchor(self, index: int, view: Region | None) -> tuple[NDArray[np.float32], float]:
        mask = self._anchors[index].mask
        around = _surroundings(mask)
        if view is not None:
            mask, around = mask[view.slices_yx], around[view.slices_yx]
        features = self._features(index, view)
        inside = mean_features(features, mask)
        return inside, _cosine(inside, mean_features(features, around)) if around.any() else 0.0

    def _features(self, index: int, view: Region | None) -> NDArray[np.floating]:
        plane = self._stack.plane(index)
        return self._service.features(plane, self._stack.pixels(index), view)


def mean_features(features: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean of an embedding over a mask, float32 (channels,): of each grid point as often as the mask has pixels there.

    Args:
        features: (channels, h, w) of the pixels that the mask is of, whose longer side fills the grid.
        mask: bool (rows, columns), not empty.
    """
    counts: NDArray[np.generic] = mask
    for axis, n in enumerate(features.shape[1:]):
        starts = np.ceil(np.arange(n) * max(mask.shape) / n).astype(np.intp)
        counts = np.add.reduceat(counts, starts[starts < mask.shape[axis]], axis=axis, dtype=np.int32)
    part = features[:, : counts.shape[0], : counts.shape[1]].astype(np.float32)
    shares = counts.astype(np.float32) / np.float32(counts.sum())
    return np.asarray(np.einsum("cyx,yx->c", part, shares), dtype=np.float32)


def _surroundings(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What lies around an object, without its border, where both sides mix."""
    part = object_and_around(mask)
    around = np.zeros_like(mask)
    around[part] = ~ndimage.binary_dilation(mask[part])
    return around


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths > 0 else 1.0
