"""Napari layers as we make them, on the grid of the image."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas
from napari.layers import Labels, Points, Shapes
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap

from napari_medicosam.core.clean_up_effect import COMES, GOES
from napari_medicosam.core.label_classes import default_colour
from napari_medicosam.core.label_maps import empty_label_map
from napari_medicosam.errors import InputError
from napari_medicosam.io.records import METADATA_KEY
from napari_medicosam.ui.prompts_in_layers import NEGATIVE, POSITIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from napari.layers import Image, Layer
    from numpy.typing import DTypeLike, NDArray

POINTS_NAME = "MedicoSAM points"
BOXES_NAME = "MedicoSAM boxes"
SCRIBBLES_NAME = "MedicoSAM scribbles"
OBJECT_NAME = "MedicoSAM object"
LABELS_NAME = "MedicoSAM labels"
PREVIEW_NAME = "MedicoSAM preview"

_CLICK_COLOURS = {POSITIVE: "lime", NEGATIVE: "red"}
_BOX_COLOURS = {POSITIVE: "yellow", NEGATIVE: "red"}
_GOING_AND_COMING: NDArray[np.float64] = np.array(
    [[(1.0, 0.1, 0.1, 1.0), (0.2, 1.0, 0.2, 1.0)], [(1.0, 0.1, 1.0, 1.0), (0.0, 0.9, 1.0, 1.0)]]
)
"""Red and green as with prompts; magenta and cyan on objects that look too much like these themselves."""

MOVES = ("scale", "rotate", "shear", "translate", "affine")
"""What puts a layer in its place in the world: attributes, and events, of napari's layers."""

_OUTLINES = 400
"""So many times as wide as an outline is a slice at least."""

_NUM_COLOURS = 21
"""Of classes without a colour of their own, before they begin anew."""

Tool = Literal["point+", "point-", "box", "scribble+", "scribble-", "lasso+", "lasso-", ""]


@dataclass(eq=False, slots=True)
class LayerSet:
    """Our layers for one image, found by identity, never by name; None for one that was not made, or was removed."""

    points: Points | None = None
    boxes: Shapes | None = None
    scribbles: Shapes | None = None
    object_layer: Labels | None = None
    labels: Labels | None = None
    preview: Labels | None = None
    """Of a clean-up that is being looked at, else hidden and empty: none of the user's work is ever in it."""
    ahead: dict[str, Any] = field(default_factory=dict)
    """Empty ones that nobody has asked for yet, by the name that they will have here."""
    wants_ahead: bool = True
    """Until all were made, or anybody asked for them, or removed one."""
    label_maps: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What `labels` and `object_layer` show. It is the masks: they stay when a layer goes, or is given other data."""

    @property
    def all(self) -> list[Any]:
        """Those that exist, lowest first."""
        names = ("labels", "object_layer", "preview", "boxes", "scribbles", "points")
        return [layer for layer in map(self.find, names) if layer is not None]

    @property
    def is_complete(self) -> bool:
        """True when all are there that an image needs; a preview comes and goes."""
        return all(getattr(self, name) is not None for name in MAKERS)

    def find(self, name: str) -> Any:
        """The layer of this name, asked for or not; None without."""
        layer = getattr(self, name)
        return self.ahead.get(name) if layer is None else layer

    def label_map(self, name: str) -> NDArray[Any] | None:
        """All masks of "labels" or "object_layer", with the axes of the image, without a copy; None before any were."""
        return None if name in self.ahead else self.label_maps.get(name)

    def take(self, name: str) -> Any:
        """One that was made ahead is a layer like the others from here on; None when there is none."""
        self.wants_ahead = False
        layer = self.ahead.pop(name, None)
        if layer is not None:
            setattr(self, name, layer)
        return layer

    def forget(self, layer: Any) -> None:
        """A layer was removed from the viewer; when it was ours, the next use makes a new one with the same in it."""
        for name in (*MAKERS, "preview"):
            if self.find(name) is layer:
                if self.ahead.pop(name, None) is not None:
                    self.label_maps.pop(name, None)
                self.wants_ahead = False
                setattr(self, name, None)


def together(shown: Any) -> AbstractContextManager[Any]:
    """Several layers go from a viewer's list: it draws anew, and looks for garbage, once and not after each of them."""
    batched: Callable[[], AbstractContextManager[Any]] = getattr(shown, "batched_update", nullcontext)
    return batched()


def volume_of(layer: Image, time: int = 0) -> NDArray[Any]:
    """The pixels of an image layer as (z, y, x) or (z, y, x, 3), without a copy; a 2D image has z = 1.

    Args:
        layer: 2D, 3D, or volumes over time (t, z, y, x).
        time: which of these.

    Raises:
        InputError: for an image of another number of dimensions.
    """
    data: NDArray[Any] = layer.data[0] if layer.multiscale else layer.data
    if layer.ndim not in (2, 3, 4):
        raise InputError(
            f"{layer.name!r} has {layer.ndim} dimensions: wanted a 2D image, a 3D volume, or volumes over time. "
            "Choose one channel first (right-click the layer, Split Stack)"
        )
    if layer.rgb:
        data = data[..., :3]
    if layer.ndim == 4:
        data = data[time]
    return data[None] if layer.ndim == 2 else data


def num_times(layer: Image) -> int:
    """Time points of volumes over time; 1 for other images."""
    return int(layer.data.shape[0]) if layer.ndim == 4 else 1


def make_points_layer(image: Image) -> Points:
    """An empty points layer on the grid of `image`, with the features `label` and `axis`."""
    return Points(
        np.empty((0, image.ndim)),
        name=POINTS_NAME,
        face_color="label",
        face_color_cycle=list(_CLICK_COLOURS.values()),
        border_color="white",
        border_width=0.1,
        size=_point_size(image),
        **_features(_CLICK_COLOURS),
        **_grid_of(image),
    )


def make_boxes_layer(image: Image) -> Shapes:
    """An empty shapes layer for boxes and lassos on the grid of `image`, with the features `label` and `axis`."""
    return _make_shapes_layer(image, BOXES_NAME, _BOX_COLOURS, _point_size(image) / 4)


def make_scribbles_layer(image: Image) -> Shapes:
    """An empty shapes layer for strokes on the grid of `image`, with the features `label` and `axis`."""
    return _make_shapes_layer(image, SCRIBBLES_NAME, _CLICK_COLOURS, _point_size(image) / 2)


def _make_shapes_layer(image: Image, name: str, colours: dict[str, str], width: float) -> Shapes:
    return Shapes(
        ndim=image.ndim,
        name=name,
        edge_color="label",
        edge_color_cycle=list(colours.values()),
        face_color="transparent",
        edge_width=width,
        **_features(colours),
        **_grid_of(image),
    )


def _features(colours: dict[str, str]) -> dict[str, Any]:
    labels = pandas.Categorical([], categories=list(colours))  # so that napari knows both colours at once
    return {
        "features": pandas.DataFrame({"label": labels, "axis": np.array([], dtype=int)}),
        "feature_defaults": {"label": POSITIVE, "axis": 0},
    }


def make_object_layer(image: Image) -> Labels:
    """An empty labels layer (uint16) on the grid of `image`, for the object that is being edited."""
    return Labels(_empty_labels(image), name=OBJECT_NAME, opacity=0.6, **_label_settings(image))


def make_labels_layer(image: Image) -> Labels:
    """An empty labels layer (uint16) on the grid of `image`, with the geometry that its file had."""
    metadata = {key: value for key, value in image.metadata.items() if key == METADATA_KEY}
    return Labels(
        _empty_labels(image), name=LABELS_NAME, opacity=0.5, metadata=metadata, **_label_settings(image)
    )


MAKERS = {
    "labels": make_labels_layer,
    "object_layer": make_object_layer,
    "boxes": make_boxes_layer,
    "scribbles": make_scribbles_layer,
    "points": make_points_layer,
}
"""How the layers of a `LayerSet` are made that an image needs, lowest first."""


def make_layer(ours: LayerSet, name: str, image: Image) -> Any:
    """One of `MAKERS`; where a layer of this name was before, the new one shows the same masks."""
    layer = MAKERS[name](image)
    if isinstance(layer, Labels):
        if name in ours.label_maps:
            layer.data = ours.label_maps[name]
        ours.label_maps[name] = layer.data
    return layer


def make_preview_layer(image: Image, beside: Sequence[float] | None) -> Labels:
    """An empty labels layer (uint8) on the grid of `image`, for what goes from a mask and what comes to it.

    Args:
        image: that the mask is of.
        beside: as of `set_preview_colours`.
    """
    layer = Labels(_empty_labels(image, np.uint8), name=PREVIEW_NAME, opacity=1.0, **_grid_of(image))
    set_preview_colours(layer, beside)
    layer.editable = False
    return layer


def set_preview_colours(layer: Labels, beside: Sequence[float] | None) -> None:
    """Show what goes and what comes in colours that differ from that of the mask (red, green, blue, ...; 0..1)."""
    going, coming = preview_colours(beside)
    shown: dict[int | None, Any] = {None: np.zeros(4), 0: np.zeros(4), GOES: going, COMES: coming}
    is_direct = isinstance(layer.colormap, DirectLabelColormap)
    if not is_direct or not _are_equal(layer.colormap.color_dict, shown):
        layer.colormap = DirectLabelColormap(color_dict=shown)


def preview_colours(beside: Sequence[float] | None) -> NDArray[np.float64]:
    """Colours of what goes and of what comes (red, green, blue, alpha; 0..1), as far as can be from that of the mask.

    Args:
        beside: that of the mask; None when nobody knows.
    """
    pair = 0
    if beside is not None:
        distances = np.linalg.norm(_GOING_AND_COMING[..., :3] - np.array(beside)[:3], axis=-1)
        pair = int(np.argmax(distances.min(axis=-1)))
    return np.array(_GOING_AND_COMING[pair])


def refresh(labels: Labels) -> None:
    """Show what was written; the thumbnail and the extent are left as they are."""
    labels.refresh(thumbnail=False, highlight=False, extent=False)


def forget_strokes(labels: Labels) -> None:
    """Napari forgets the strokes of its brush, which are steps of ours: it would take them back without a word."""
    labels._reset_history()


def tell_strokes(labels: Labels | None) -> None:
    """Have napari tell now what its brush has painted so far, though the button is still down; the rest comes later.

    What changes the mask meanwhile would take it for what was there before, or write over it.
    """
    if labels is None or not has_strokes_to_tell(labels):
        return
    told, labels._staged_history = labels._staged_history, []
    was_down = labels._block_history
    labels._append_to_undo_history(told)
    labels._block_history = was_down  # who heard it may have begun a new history


def has_strokes_to_tell(labels: Labels) -> bool:
    """True while napari's brush is down, and has painted."""
    return bool(getattr(labels, "_staged_history", ()))


def set_colours(labels: Labels, colours: Mapping[int, Sequence[float]]) -> None:
    """Show some labels in colours (red, green, blue, alpha; 0..1) of their own, all others as classes without one."""
    is_direct = isinstance(labels.colormap, DirectLabelColormap)
    if not colours and not is_direct:
        return
    others = _object_colours()
    if not colours:
        labels.colormap = others
        return
    shown: dict[int | None, Any] = {None: np.array([0.6, 0.6, 0.6, 1.0]), 0: np.zeros(4)}
    shown |= {label: others.map(label) for label in range(1, max(_NUM_COLOURS, *colours) + _NUM_COLOURS)}
    shown |= {label: np.array(colour) for label, colour in colours.items()}
    if not is_direct or not _are_equal(labels.colormap.color_dict, shown):
        labels.colormap = DirectLabelColormap(color_dict=shown)


def set_outline(labels: Labels, *, is_wanted: bool) -> None:
    """Show masks by their outlines alone, about as wide as a hair of the view, or filled."""
    width = max(1, round(max(labels.data.shape[-2:]) / _OUTLINES)) if is_wanted else 0
    if labels.contour != width:
        labels.contour = width


def _object_colours() -> CyclicLabelColormap:
    """Colours that are bright on grey images and can be told apart by colour-blind eyes; 0 is clear."""
    colours = [np.array((*default_colour(object_id), 255)) / 255 for object_id in range(1, _NUM_COLOURS + 1)]
    return CyclicLabelColormap(colors=np.array([np.zeros(4), *colours]))


def _are_equal(colours: Mapping[Any, Any], others: Mapping[Any, Any]) -> bool:
    return colours.keys() == others.keys() and all(np.allclose(colours[key], others[key]) for key in others)


def voxels(label_map: Any, time: int = 0) -> NDArray[Any]:
    """A label map, or that of a layer, as (z, y, x), without a copy; a 2D one has z = 1; of volumes over time, one."""
    data: NDArray[Any] = label_map.data if isinstance(label_map, Labels) else label_map
    if data.ndim == 4:
        data = data[time]
    return data if data.ndim == 3 else data[None]


def _empty_labels(image: Image, dtype: DTypeLike = np.uint16) -> NDArray[Any]:
    z, y, x = volume_of(image).shape[:3]
    shape = (z, y, x) if image.ndim > 2 else (y, x)
    return empty_label_map((num_times(image), *shape) if image.ndim == 4 else shape, dtype)


def _point_size(image: Image) -> float:
    return max(2.0, round(0.02 * float(max(volume_of(image).shape[1:3])), 1))


def lie_on(layer: Layer, image: Image) -> None:
    """Put a layer where `image` is now."""
    for name in MOVES:
        setattr(layer, name, getattr(image, name))


def _label_settings(image: Image) -> dict[str, Any]:
    return {"colormap": _object_colours(), **_grid_of(image)}


def _grid_of(image: Layer) -> dict[str, Any]:
    """Keyword arguments that put another layer where `image` is: data coordinates are voxel indices."""
    names = (*MOVES, "units", "axis_labels")
    return {name: getattr(image, name) for name in names if hasattr(image, name)}
