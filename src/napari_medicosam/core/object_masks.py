"""Objects of a ground truth: one connected component of one class each, kept as small as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medicosam.core.results import Region, frozen_array
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_OBJECT_PIXELS = 20
"""Smaller components are no objects: the paper's evaluation leaves them out, and so does training."""

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """One object of a ground truth on one slice.

    Attributes:
        region: tight bounds in the slice.
        pixels: bool, the object inside `region`, read-only.
        class_id: the label it came from.
    """

    region: Region
    pixels: NDArray[np.bool_]
    class_id: int

    @property
    def num_pixels(self) -> int:
        """Its area."""
        return int(np.count_nonzero(self.pixels))

    def in_slice(self, size_yx: tuple[int, int]) -> NDArray[np.bool_]:
        """The object as a mask (rows, columns) of its slice."""
        mask = np.zeros(size_yx, dtype=bool)
        mask[self.region.slices_yx] = self.pixels
        return mask


def find_objects(labels: NDArray[Any], min_pixels: int = MIN_OBJECT_PIXELS) -> tuple[ObjectMask, ...]:
    """Connected components (8 neighbours) of each label of a slice that have at least `min_pixels` pixels.

    Args:
        labels: (rows, columns), bool or integers; 0 is background, every other value a class or an instance.
        min_pixels: smaller components are left out.

    Returns:
        The objects, ordered by label, then by first pixel in reading order.

    Raises:
        InputError: for another shape or dtype, or negative labels.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        raise InputError(
            f"labels must be integers (rows, columns), got {labels.dtype} of shape {labels.shape}"
        )
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise InputError(f"labels must be 0 (background) or more, got {labels.min()}")
    objects: list[ObjectMask] = []
    for class_id in np.unique(labels):
        if class_id == 0:
            continue
        of_class = labels == class_id
        rows, columns = np.nonzero(of_class.any(axis=1))[0], np.nonzero(of_class.any(axis=0))[0]
        y0, x0 = int(rows[0]), int(columns[0])
        inside = of_class[y0 : int(rows[-1]) + 1, x0 : int(columns[-1]) + 1]
        components, _ = ndimage.label(inside, structure=_EIGHT_NEIGHBOURS)
        for number, (ys, xs) in enumerate(ndimage.find_objects(components), start=1):
            pixels = components[ys, xs] == number
            if np.count_nonzero(pixels) >= min_pixels:
                region = Region(y0 + ys.start, x0 + xs.start, y0 + ys.stop, x0 + xs.stop)
                objects.append(ObjectMask(region, frozen_array(pixels), int(class_id)))
    return tuple(objects)
