"""Prompts read from napari layers and written to them: the only place that knows how they lie there.

Layer coordinates have pixel centres at integers, so a box that covers pixel i alone reaches from i - 0.5 to
i + 0.5; as a prompt it is half-open, from i to i + 1. Layers of a 2D image have two axes, those of volumes over time
four, prompts always three; the layers hold the prompts of one time point at a time.
A shape says what it is by its type, in whichever of the two shapes layers it was drawn: a rectangle is a box, a
polygon or an ellipse a lasso, a path or a line a scribble.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers.base import ActionType

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.volume_prompts import (
    VolumeBox,
    VolumeLasso,
    VolumePoint,
    VolumePrompts,
    VolumeScribble,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Points, Shapes
    from numpy.typing import NDArray

    from napari_medicosam.core.volume_prompts import Path

    _Drawn = tuple[Path, str, VolumeBox | VolumeLasso | VolumeScribble]
    """Vertices in the slice, napari's type of the shape, and the prompt."""

POSITIVE, NEGATIVE = "positive", "negative"
_ELLIPSE_CORNERS = 32


def set_label(layer: Points | Shapes, *, positive: bool) -> None:
    """What the next click or stroke says."""
    _set_default(layer, label=POSITIVE if positive else NEGATIVE)


def set_axis(layer: Points | Shapes, axis: int) -> None:
    """The axis that is sliced along when the next prompt is made."""
    _set_default(layer, axis=axis)


def next_is_positive(layer: Points | Shapes) -> bool:
    """What the next click or stroke will say."""
    return bool(layer.feature_defaults["label"].iloc[0] == POSITIVE)


def forget_undrawn(layer: Points | Shapes) -> None:
    """Drop what napari keeps of a shape that it gave up for want of corners: the next ones would be taken for it.

    A lasso that is clicked twice on one spot, say: the shape goes, its features and colours stay.
    """
    count = len(layer.data)
    if len(layer.features) > count:
        layer.features = layer.features.iloc[:count]
        drawn: Any = getattr(layer, "_data_view", None)
        for name in ("_edge_color", "_face_color") if drawn is not None else ():
            setattr(drawn, name, getattr(drawn, name)[:count])


def read_prompts(points: Points | None, boxes: Shapes | None, scribbles: Shapes | None) -> VolumePrompts:
    """All prompts in the three layers (None: it is not there), in the order they were made."""
    prompts = VolumePrompts(() if points is None else _read_points(points))
    for layer in [one for one in (boxes, scribbles) if one is not None]:
        for kind, vertices, label, axis in zip(
            layer.shape_type, layer.data, layer.features["label"], layer.features["axis"], strict=True
        ):
            prompts = prompts.with_prompt(_read_shape(str(kind), vertices, str(label) == POSITIVE, int(axis)))
    return prompts


def _read_points(layer: Points) -> tuple[VolumePoint, ...]:
    return tuple(
        VolumePoint((float(z), float(y), float(x)), str(label) == POSITIVE, int(axis))
        for (z, y, x), label, axis in zip(
            _in_volume(layer.data), layer.features["label"], layer.features["axis"], strict=True
        )
    )


def write_prompts(
    points: Points | None,
    boxes: Shapes | None,
    scribbles: Shapes | None,
    prompts: VolumePrompts,
    time: int = 0,
) -> None:
    """Replace what the three layers (None: not this one) hold by prompts of one time point; masks have no layer.

    A layer that holds them already is left alone, as drawing it anew is slow.
    """
    if points is not None:
        _write_points(points, prompts.points, time)
    if boxes is not None:
        drawn: list[_Drawn] = [(_corners(box), "rectangle", box) for box in prompts.boxes]
        drawn += [(lasso.polygon_yx, "polygon", lasso) for lasso in prompts.lassos]
        _write_shapes(boxes, drawn, time)
    if scribbles is not None:
        _write_shapes(scribbles, [(_stroke(one.path_yx), "path", one) for one in prompts.scribbles], time)


def _write_points(layer: Points, wanted: tuple[VolumePoint, ...], time: int) -> None:
    positions = np.array([p.position_zyx for p in wanted]).reshape(-1, 3)
    data = _in_layer(positions, layer.ndim, time)
    labels, axes = [POSITIVE if p.positive else NEGATIVE for p in wanted], [p.axis for p in wanted]
    features = layer.features
    is_there = len(features) == len(wanted) and np.array_equal(layer.data, data)
    if is_there and list(features["label"]) == labels and list(features["axis"]) == axes:
        return
    with _changed(layer):
        layer.selected_data = set()
        layer.data = data
        if wanted:
            layer.features = {"label": labels, "axis": axes}
            layer.refresh_colors()


def _write_shapes(layer: Shapes, drawn: list[_Drawn], time: int) -> None:
    _end_drawing(layer)
    vertices = [_vertices(path, prompt, layer.ndim, time) for path, _, prompt in drawn]
    same = 0
    while same < min(layer.nshapes, len(drawn)) and _is_shape(layer, same, vertices[same], drawn[same]):
        same += 1
    if same == len(drawn) == layer.nshapes:
        return
    with _changed(layer):
        if same < layer.nshapes:
            layer.remove(list(range(same, layer.nshapes)))
        missing = zip(vertices[same:], drawn[same:], strict=True)
        for features, alike in groupby(missing, lambda one: _features_of(one[1])):
            _set_default(layer, **features)
            layer.add([(corners, shape_type) for corners, (_, shape_type, _) in alike])


def _end_drawing(layer: Shapes) -> None:
    """What is being drawn, a lasso click by click say, is no prompt yet: napari must not go on with what is gone."""
    if getattr(layer, "_is_creating", False):
        with layer.events.data.blocker():
            layer._finish_drawing()
        forget_undrawn(layer)


@contextmanager
def _changed(layer: Points | Shapes) -> Iterator[None]:
    """Other prompts are written; the next one is as before, and none is selected.

    They are told of once, not before and after each: the viewer looks at all of its layers every time.
    """
    before = _defaults_of(layer)
    with layer.events.data.blocker():
        yield
    _set_default(layer, **before)
    layer.selected_data = set()
    everything = tuple(range(len(layer.data)))
    layer.events.data(
        value=layer.data, action=ActionType.CHANGED, data_indices=everything, vertex_indices=((),)
    )


def _is_shape(layer: Shapes, number: int, vertices: NDArray[np.float64], drawn: _Drawn) -> bool:
    shape_type = drawn[1]
    features = layer.features.iloc[number]
    return (
        layer.shape_type[number] == shape_type
        and np.array_equal(layer.data[number], vertices)
        and {"label": str(features["label"]), "axis": int(features["axis"])} == _features_of(drawn)
    )


def _features_of(drawn: _Drawn) -> dict[str, Any]:
    prompt = drawn[2]
    return {"label": POSITIVE if getattr(prompt, "positive", True) else NEGATIVE, "axis": prompt.axis}


def _vertices(
    path: Path, prompt: VolumeBox | VolumeLasso | VolumeScribble, ndim: int, time: int
) -> NDArray[np.float64]:
    plane = SlicePlane(prompt.axis, prompt.index)
    return _in_layer(np.array([plane.point_zyx(corner) for corner in path]), ndim, time)


def _read_shape(
    kind: str, vertices: NDArray[Any], positive: bool, axis: int
) -> VolumeBox | VolumeLasso | VolumeScribble:
    padded = _in_volume(vertices)
    index, drawn = round(float(padded[:, axis].mean())), np.delete(padded, axis, axis=1)
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    if kind == "rectangle":
        (y0, x0), (y1, x1) = (low + 0.5).tolist(), (high + 0.5).tolist()
        return VolumeBox(axis, index, (y0, x0, y1, x1))
    if kind == "ellipse":
        turn = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)[:, None]
        unit = np.concatenate([np.sin(turn), np.cos(turn)], axis=1)
        drawn = (low + high) / 2 + unit * (high - low) / 2
    path = tuple((float(y), float(x)) for y, x in drawn)
    if kind in ("polygon", "ellipse"):
        return VolumeLasso(axis, index, path, positive)
    return VolumeScribble(axis, index, path, positive)


def _in_volume(positions: NDArray[Any]) -> NDArray[np.float64]:
    """Positions of a layer as (N, 3)."""
    wide = np.asarray(positions, dtype=np.float64)
    return np.pad(wide, ((0, 0), (max(3 - wide.shape[1], 0), 0)))[:, -3:]


def _in_layer(positions: NDArray[np.float64], ndim: int, time: int) -> NDArray[np.float64]:
    """Positions (N, 3) as those of a layer."""
    if ndim == 4:
        return np.pad(positions, ((0, 0), (1, 0)), constant_values=time)
    return positions[:, 3 - ndim :]


def _corners(box: VolumeBox) -> Path:
    y0, x0, y1, x1 = (v - 0.5 for v in box.bounds)
    return (y0, x0), (y0, x1), (y1, x1), (y1, x0)


def _stroke(path: Path) -> Path:
    """Napari draws no path of one vertex."""
    return path if len(path) > 1 else (path[0], path[0])


def _defaults_of(layer: Points | Shapes) -> dict[str, Any]:
    """Features of the next prompt."""
    return {name: column.iat[0] for name, column in layer.feature_defaults.items()}


def _set_default(layer: Points | Shapes, **values: Any) -> None:
    """Nothing is set that is so already: napari is slow at it."""
    before = _defaults_of(layer)
    if before != before | values:
        layer.feature_defaults = before | values
