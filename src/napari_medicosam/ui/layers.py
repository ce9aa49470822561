"""Napari layers made, read and written: the only place that knows how prompts and masks lie in layers.

Layer coordinates have pixel centres at integers, so a box that covers pixel i alone reaches from i - 0.5 to
i + 0.5; as a prompt it is half-open, from i to i + 1. Layers of a 2D image have two axes, their prompts three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas
from napari.layers import Labels, Points, Shapes

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.results import Region
from napari_medicosam.errors import InputError
from napari_medicosam.io.records import METADATA_KEY
from napari_medicosam.ui.volume_prompts import VolumeBox, VolumePoint, VolumePrompts

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

POINTS_NAME = "MedicoSAM points"
BOXES_NAME = "MedicoSAM boxes"
LABELS_NAME = "MedicoSAM labels"

POSITIVE, NEGATIVE = "positive", "negative"
_COLOURS = {POSITIVE: "lime", NEGATIVE: "red"}
Tool = Literal["point+", "point-", "box", ""]


def volume_of(layer: Image) -> NDArray[Any]:
    """The pixels of an image layer as (z, y, x) or (z, y, x, 3), without a copy; a 2D image has z = 1.

    Raises:
        InputError: for an image that is neither 2D nor 3D.
    """
    data: NDArray[Any] = layer.data[0] if layer.multiscale else layer.data
    if layer.ndim not in (2, 3):
        raise InputError(
            f"{layer.name!r} has {layer.ndim} dimensions: wanted a 2D image or a 3D volume. "
            "Choose one time point or channel first (right-click the layer, Split Stack)"
        )
    if layer.rgb:
        data = data[..., :3]
    return data if layer.ndim == 3 else data[None]


def make_points_layer(image: Image) -> Points:
    """An empty points layer on the grid of `image`, with the features `label` and `axis`."""
    labels = pandas.Categorical([], categories=list(_COLOURS))  # so that napari knows both colours at once
    return Points(
        np.empty((0, image.ndim)),
        name=POINTS_NAME,
        features=pandas.DataFrame({"label": labels, "axis": np.array([], dtype=int)}),
        feature_defaults={"label": POSITIVE, "axis": 0},
        face_color="label",
        face_color_cycle=list(_COLOURS.values()),
        border_color="white",
        border_width=0.1,
        size=_point_size(image),
        **_grid_of(image),
    )


def make_boxes_layer(image: Image) -> Shapes:
    """An empty shapes layer for rectangles on the grid of `image`, with the feature `axis`."""
    return Shapes(
        ndim=image.ndim,
        name=BOXES_NAME,
        features=pandas.DataFrame({"axis": np.array([], dtype=int)}),
        feature_defaults={"axis": 0},
        edge_color="yellow",
        face_color="transparent",
        edge_width=_point_size(image) / 4,
        **_grid_of(image),
    )


def make_labels_layer(image: Image) -> Labels:
    """An empty labels layer (uint16) on the grid of `image`, with the geometry that its file had."""
    shape = volume_of(image).shape[:3]
    metadata = {key: value for key, value in image.metadata.items() if key == METADATA_KEY}
    labels = np.zeros(shape if image.ndim == 3 else shape[1:], dtype=np.uint16)
    return Labels(labels, name=LABELS_NAME, opacity=0.5, metadata=metadata, **_grid_of(image))


def set_point_label(layer: Points, *, positive: bool) -> None:
    """What the next click says."""
    _set_default(layer, label=POSITIVE if positive else NEGATIVE)


def set_axis(layer: Points | Shapes, axis: int) -> None:
    """The axis that is sliced along when the next prompt is made."""
    _set_default(layer, axis=axis)


def next_point_is_positive(layer: Points) -> bool:
    """What the next click will say."""
    return bool(layer.feature_defaults["label"].iloc[0] == POSITIVE)


def read_prompts(points: Points, boxes: Shapes) -> VolumePrompts:
    """All prompts in the two layers, in the order they were made."""
    positions = [(0.0,) * (3 - points.ndim) + tuple(float(v) for v in row) for row in points.data]
    clicks = tuple(
        VolumePoint((z, y, x), str(label) == POSITIVE, int(axis))
        for (z, y, x), label, axis in zip(
            positions, points.features["label"], points.features["axis"], strict=True
        )
    )
    drawn = tuple(
        _read_box(vertices, int(axis))
        for vertices, axis in zip(boxes.data, boxes.features["axis"], strict=True)
    )
    return VolumePrompts(clicks, drawn)


def write_prompts(points: Points, boxes: Shapes, prompts: VolumePrompts) -> None:
    """Replace what the two layers hold."""
    positive, axis = next_point_is_positive(points), int(points.feature_defaults["axis"].iloc[0])
    points.selected_data = set()
    points.data = np.array([p.position_zyx[3 - points.ndim :] for p in prompts.points]).reshape(
        -1, points.ndim
    )
    if prompts.points:
        points.features = {
            "label": [POSITIVE if p.positive else NEGATIVE for p in prompts.points],
            "axis": [p.axis for p in prompts.points],
        }
        points.refresh_colors()
    set_point_label(points, positive=positive)
    set_axis(points, axis)
    points.selected_data = set()

    if boxes.nshapes:
        boxes.remove(list(range(boxes.nshapes)))
    for box in prompts.boxes:
        set_axis(boxes, box.axis)
        boxes.add(_vertices(box)[:, 3 - boxes.ndim :], shape_type="rectangle")
    set_axis(boxes, axis)
    boxes.selected_data = set()


def object_mask(labels: Labels, plane: SlicePlane, object_id: int) -> NDArray[np.bool_]:
    """Where the slice belongs to the object: a new bool array (rows, columns)."""
    return np.asarray(plane.cut(_voxels(labels)) == object_id)


def write_region(labels: Labels, plane: SlicePlane, mask: NDArray[np.bool_], object_id: int) -> Region:
    """Make `mask` (rows, columns of the slice) the object's mask, touching no pixel of another object.

    Returns:
        The rectangle that was written: bounds of the old and the new mask. The layer is not refreshed.
    """
    current = plane.cut(_voxels(labels))
    region = Region.of_mask(current == object_id).union(Region.of_mask(mask))
    inner, wanted = current[region.slices_yx], mask[region.slices_yx]
    free = (inner == 0) | (inner == object_id)
    inner[free] = np.where(wanted[free], object_id, 0)
    return region


def refresh(labels: Labels) -> None:
    """Show what was written; the thumbnail and the extent are left as they are."""
    labels.refresh(thumbnail=False, highlight=False, extent=False)


def _voxels(labels: Labels) -> NDArray[Any]:
    data: NDArray[Any] = labels.data
    return data if data.ndim == 3 else data[None]


def _set_default(layer: Points | Shapes, **values: Any) -> None:
    defaults = {name: column.iloc[0] for name, column in layer.feature_defaults.items()}
    layer.feature_defaults = {**defaults, **values}


def _read_box(vertices: NDArray[Any], axis: int) -> VolumeBox:
    padded = np.pad(np.asarray(vertices, dtype=float), ((0, 0), (3 - vertices.shape[1], 0)))
    low, high = np.delete(padded.min(axis=0), axis) + 0.5, np.delete(padded.max(axis=0), axis) + 0.5
    index = round(float(padded[:, axis].mean()))
    return VolumeBox(axis, index, (float(low[0]), float(low[1]), float(high[0]), float(high[1])))


def _vertices(box: VolumeBox) -> NDArray[np.float64]:
    y0, x0, y1, x1 = (v - 0.5 for v in box.bounds)
    plane = SlicePlane(box.axis, box.index)
    return np.array([plane.point_zyx(corner) for corner in ((y0, x0), (y0, x1), (y1, x1), (y1, x0))])


def _point_size(image: Image) -> float:
    return max(2.0, round(0.02 * float(max(volume_of(image).shape[1:3])), 1))


def _grid_of(image: Layer) -> dict[str, Any]:
    """Keyword arguments that put another layer where `image` is: data coordinates are voxel indices."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {name: getattr(image, name) for name in names if hasattr(image, name)}
