"""Where layers are laid: in the patient's world or along their own axes, and ours as napari slices the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from napari.utils.notifications import show_info

from napari_medicosam.core.layer_frame import as_sliced, turned_back
from napari_medicosam.errors import InputError
from napari_medicosam.io.layer_grids import has_slices, opened_affine, own_affine, widened, world_affine
from napari_medicosam.io.records import METADATA_KEY, record_of

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Labels, Layer
    from numpy.typing import NDArray

    from napari_medicosam.io.records import VolumeRecord

Where = Literal["opened", "own", "world"]
"""In the patient's world, its axes in the order of the array's, as readers open files; along the scan's own axes; or in
the one world of all scans, (head, back, left)."""

_HAIR = 1e-9
"""Radians. Napari slices before it tells anybody of a change to 2D, and cannot do it exactly from the side."""

_PAINTS_NOTHING = ("pan_zoom", "transform")

_WORLD_KEY = "world_affine"
"""In the metadata of a layer that no file of ours knows the place of, while it lies along its own axes."""


def opened_affine_of(layer: Layer) -> NDArray[np.float64]:
    """The affine of a layer that no file of ours knows the place of, as it is when it is not laid elsewhere."""
    return np.asarray(_ours(layer).get(_WORLD_KEY, layer.affine.affine_matrix))


class Laying:
    """Lays layers of a viewer, and never leaves one in 2D that napari can only show in 3D.

    Args:
        viewer: with the layers.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        viewer.dims.events.ndisplay.connect(self._on_ndisplay)

    def close(self) -> None:
        """Let go of the viewer."""
        self._viewer.dims.events.ndisplay.disconnect(self._on_ndisplay)

    def lay(self, layer: Layer, where: Where) -> None:
        """Lay a layer of the viewer in one of the frames of `Where`; what it was moved by stays.

        Raises:
            InputError: for another word, a 2D layer, or one whose slices napari could not show there.
        """
        if not isinstance(where, str) or where not in get_args(Where):
            raise InputError(
                f"a layer lies as it was 'opened', along its 'own' axes or in the 'world', got {where!r}"
            )
        if layer.ndim not in (3, 4):
            raise InputError(f"{layer.name!r} has {layer.ndim} axes: wanted a volume, or volumes over time")
        affine = _affine_in(layer, where)
        place = affine @ np.linalg.inv(layer.affine.affine_matrix) @ place_of(layer)
        if self._viewer.dims.ndisplay == 2 and not has_slices(place):
            raise InputError(
                f"the slices of {layer.name!r} run across those of this world, so napari can show it there in 3D "
                "only: switch to 3D first, with the button below the layer list (Ctrl+Y)"
            )
        if not np.allclose(affine, layer.affine.affine_matrix, rtol=0, atol=1e-9 * np.abs(affine).max()):
            _remember_world(layer, where)
            layer.affine = affine
            self._viewer.reset_view()

    def _on_ndisplay(self) -> None:
        """There is nothing to see in 2D of slices that are looked at from the side, and napari may fail at it."""
        if self._viewer.dims.ndisplay != 2:
            return
        for layer in self._viewer.layers:
            if _placed(layer) is None or layer.ndim < 3 or where_lies(layer) != "world":
                continue
            if not has_slices(place_of(layer)):
                self.lay(layer, "opened")
                show_info(f"{layer.name!r} lies as it was opened again: its slices ran across those of 2D")


def where_lies(layer: Layer) -> Where:
    """Which frame a layer lies in, or nearest to, if it was moved since. Of frames that are the same, the first."""
    record = _placed(layer)
    if record is None:
        return "own" if _WORLD_KEY in _ours(layer) else "opened"
    turn = layer.affine.affine_matrix[:-1, :-1]
    places = _places(record, layer.ndim)
    return min(places, key=lambda where: float(np.linalg.norm(places[where][:-1, :-1] - turn)))


def place_of(layer: Layer) -> NDArray[np.float64]:
    """(ndim + 1) x (ndim + 1) matrix from data positions of a layer to the world, all its moves together."""
    origin = np.array(layer.data_to_world(np.zeros(layer.ndim)))
    place = np.eye(layer.ndim + 1)
    place[:-1, :-1] = np.transpose([layer.data_to_world(step) - origin for step in np.eye(layer.ndim)])
    place[:-1, -1] = origin
    return place


def lie_with(viewer: Viewer, layer: Labels, image: Layer) -> None:
    """Make our committed labels lie as the image does, and where the viewer shows it while the mouse paints on them.

    They are drawn in the same place either way; other layers and other plugins find them where the image is.
    """
    if str(layer.mode) in _PAINTS_NOTHING:
        if layer.ndim == image.ndim and not np.array_equal(
            image.affine.affine_matrix, layer.affine.affine_matrix
        ):
            layer.affine = image.affine.affine_matrix
    else:
        lie_in_slices(viewer, layer, image)


def lie_in_slices(viewer: Viewer, layer: Layer, image: Layer, *, exactly: bool = False) -> None:
    """Make one of our layers lie where the viewer shows the image: slices, clicks and strokes are then the image's.

    On an image that is turned out of the slice, napari takes the mouse to be elsewhere than where it draws.

    Args:
        viewer: with both.
        layer: one of ours.
        image: that it belongs to.
        exactly: the slice that is shown lies where the viewer is, which may be between two of them: napari cannot
            draw shapes there.
    """
    if layer.ndim != image.ndim:  # other pixels are just being put into the image, which then is another one
        return
    place, displayed = place_of(image), _displayed(viewer, image)
    affine = image.affine.affine_matrix
    sliced = as_sliced(place, displayed)
    if sliced is not None:
        if exactly:
            point = np.linalg.inv(sliced) @ (*viewer.dims.point[-image.ndim :], 1.0)
            off = point - np.round(point)
            off[displayed] = 0
            sliced = sliced + np.outer(sliced @ off, np.eye(len(off))[-1])
        if not np.array_equal(sliced, place):
            affine = sliced @ np.linalg.inv(place) @ affine
    if not np.array_equal(affine, layer.affine.affine_matrix):
        layer.affine = affine


def drawn_place_of(viewer: Viewer, image: Layer) -> NDArray[np.float64] | None:
    """As `place_of`, but where a viewer draws the slices that it shows; None where they cannot be seen."""
    return as_sliced(place_of(image), _displayed(viewer, image))


def check_has_slices(viewer: Viewer, image: Layer) -> None:
    """Raise `InputError` when the slices of an image that the viewer shows cannot be seen."""
    if drawn_place_of(viewer, image) is None:
        raise InputError(
            f"{image.name!r} is turned by a right angle out of its slices, which napari cannot show: lay it along its "
            "own axes (menu Layers, Transform)"
        )


def squeeze_of(viewer: Viewer, image: Layer) -> float:
    """Share of a slice's area (0..1) that is lost where the viewer draws an image that is turned out of its slices."""
    place, displayed = place_of(image), _displayed(viewer, image)
    if len(displayed) > 2 or as_sliced(place, displayed) is place:
        return 0.0
    shown = sorted(displayed)
    sides = place[:-1, shown]
    drawn = abs(np.linalg.det(place[np.ix_(shown, shown)]))
    return float(1 - drawn / np.sqrt(np.linalg.det(sides.T @ sides)))


def _displayed(viewer: Viewer, layer: Layer) -> list[int]:
    """Axes of the layer that the viewer shows, as napari numbers them: by the last axes of the world."""
    offset = viewer.dims.ndim - layer.ndim
    return [axis - offset for axis in viewer.dims.order if axis >= offset][-viewer.dims.ndisplay :]


def _affine_in(layer: Layer, where: Where) -> NDArray[np.float64]:
    """What `layer.affine` is when the layer lies there, moved as it is moved now."""
    current = layer.affine.affine_matrix
    now = where_lies(layer)
    if now == where:
        return np.asarray(current)
    record = _placed(layer)
    if record is not None:
        places = _places(record, layer.ndim)
    else:
        opened = opened_affine_of(layer)
        place = opened @ np.linalg.inv(current) @ place_of(layer)
        own = widened(turned_back(place[-4:, -4:]), layer.ndim) @ opened
        places = {"opened": opened, "own": own, "world": opened}
    if np.array_equal(current, places[now]):
        return places[where]
    return np.asarray(places[where] @ np.linalg.inv(places[now]) @ current)


def _places(record: VolumeRecord, ndim: int) -> dict[Where, NDArray[np.float64]]:
    """`layer.affine` in each frame of a scan, before anything is moved."""
    world = world_affine(record, ndim)
    if not has_slices(world):
        x = _HAIR
        turn = np.array([[1, -x, x, 0], [x, 1, -x, 0], [-x, x, 1, 0], [0, 0, 0, 1]])
        world = widened(turn, ndim) @ world
    return {"opened": opened_affine(record, ndim), "own": own_affine(record, ndim), "world": world}


def _remember_world(layer: Layer, where: Where) -> None:
    """Of a layer that no file of ours knows the place of: its way back."""
    if _placed(layer) is None:
        ours = {key: value for key, value in _ours(layer).items() if key != _WORLD_KEY}
        if where == "own":
            ours[_WORLD_KEY] = layer.affine.affine_matrix.copy()
        layer.metadata = {**layer.metadata, METADATA_KEY: ours}


def _placed(layer: Layer) -> VolumeRecord | None:
    """The record of a layer whose file says how the patient lies."""
    record = record_of(layer.metadata)
    return record if record is not None and record.is_oriented else None


def _ours(layer: Layer) -> dict[str, Any]:
    known = layer.metadata.get(METADATA_KEY)
    return known if isinstance(known, dict) else {}
