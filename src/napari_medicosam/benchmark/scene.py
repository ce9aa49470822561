"""What the benchmark segments: a large CT made from the slices of the sample scan, and prompts for its organs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from napari_medicosam.core.geometry import SlicePlane, SliceStack
from napari_medicosam.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_medicosam.core.results import Region
from napari_medicosam.io.sample import ct_abdomen
from napari_medicosam.io.volumes import read_labels, read_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MIN_PIXELS = 60
"""Of an object that is worth a box, in the sample's own pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A scan and what is known about it.

    Attributes:
        array: int16 (z, y, x), Hounsfield units.
        organ: bool (z, y, x): one organ, on every slice along axis 0.
        boxes: of different objects on slice `index` along axis 0.
        index: a slice of the sample scan.
    """

    array: NDArray[np.int16]
    organ: NDArray[np.bool_]
    boxes: tuple[BoxPrompt, ...]
    index: int

    def stack(self, axis: int = 0) -> SliceStack:
        """The scan cut along an axis."""
        return SliceStack(self.array, axis)

    def prompts(self, plane: SlicePlane) -> tuple[PromptSet, PromptSet]:
        """The organ on a slice that it is on: a point in it, and the box around it."""
        mask = np.take(self.organ, plane.index, axis=plane.axis)
        inner = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(inner.argmax(), inner.shape)
        bounds = Region.of_mask(mask)
        return (
            PromptSet(plane, points=(PointPrompt((float(row), float(column))),)),
            PromptSet(plane, box=BoxPrompt(bounds.y0, bounds.x0, bounds.y1, bounds.x1)),
        )

    def middle(self, axis: int) -> SlicePlane:
        """The slice along an axis that shows most of the organ; along axis 0 the one with the boxes."""
        if axis == 0:
            return SlicePlane(0, self.index)
        others = tuple(other for other in range(3) if other != axis)
        return SlicePlane(axis, int(np.count_nonzero(self.organ, axis=others).argmax()))


def make_scene(shape_zyx: tuple[int, int, int], num_objects: int) -> Scene:
    """The sample scan in another size: slices are stretched, and follow one another up and down again.

    Args:
        shape_zyx: of the scan.
        num_objects: boxes on a slice; where the sample shows fewer objects they are used again.
    """
    sample = ct_abdomen()
    image, labels = read_volume(sample.image).array, read_labels(sample.labels).array
    there_and_back = [*range(len(image)), *range(len(image) - 2, 0, -1)]
    order = [there_and_back[number % len(there_and_back)] for number in range(shape_zyx[0])]
    index = min(sample.slice_index, shape_zyx[0] - 1)
    stretched = _stretched(image, shape_zyx[1:], order=1)
    organ = _stretched((labels == sample.label).astype(np.uint8), shape_zyx[1:], order=0) > 0
    scale = np.divide(shape_zyx[1:], image.shape[1:])
    return Scene(
        stretched[order].astype(np.int16), organ[order], _boxes(labels[index], scale, num_objects), index
    )


def _stretched(array: NDArray[Any], size_yx: tuple[int, int], order: Literal[0, 1]) -> NDArray[Any]:
    """Every slice in another size, in the dtype it has."""
    factors = [wanted / there for wanted, there in zip(size_yx, array.shape[1:], strict=True)]
    return np.stack([ndimage.zoom(one, factors, order=order) for one in array])


def _boxes(
    labels_yx: NDArray[np.integer], scale_yx: NDArray[np.floating], number: int
) -> tuple[BoxPrompt, ...]:
    """Of the largest pieces of the labels of one slice, the largest first."""
    found: list[tuple[int, Region]] = []
    for label in np.unique(labels_yx[labels_yx > 0]):
        pieces, _ = ndimage.label(labels_yx == label)
        for piece in range(1, int(pieces.max()) + 1):
            mask = pieces == piece
            found.append((int(np.count_nonzero(mask)), Region.of_mask(mask)))
    found = sorted((one for one in found if one[0] >= _MIN_PIXELS), key=lambda one: -one[0])
    (sy, sx), boxes = scale_yx, [region for _, region in found]
    return tuple(
        BoxPrompt(float(r.y0 * sy), float(r.x0 * sx), float(r.y1 * sy), float(r.x1 * sx))
        for r in (boxes[place % len(boxes)] for place in range(number))
    )
