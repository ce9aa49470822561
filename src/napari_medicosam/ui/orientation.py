"""The view turned as radiologists look at scans, where the frame of the layers is not enough: only the camera turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medicosam.core.layer_frame import frame_signs
from napari_medicosam.io.records import record_of

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image


def orient_view(viewer: Viewer, image: Image) -> None:
    """Head or front on top, the patient's right (front, in sagittal slices) on the left.

    Nothing happens in 3D rendering, for an image whose file does not say how the patient lies, and in a napari
    without such a camera.
    """
    record, camera = record_of(image.metadata), camera_of(viewer)
    if record is None or not record.is_oriented or image.ndim < 3 or viewer.dims.ndisplay != 2:
        return
    row, column = shown_axes(viewer)
    if min(row, column) < 0 or not hasattr(camera, "orientation2d"):
        return
    signs = frame_signs(record.geometry)
    wanted = ("up" if signs[row] > 0 else "down", "left" if signs[column] > 0 else "right")
    if orientation_of(camera) != wanted:
        camera.orientation2d = wanted


def camera_of(viewer: Any) -> Any:
    """The camera of a viewer; napari 0.9 moved it."""
    return getattr(viewer, "scene", viewer).camera


def orientation_of(camera: Any) -> tuple[str, str]:
    """Which way the vertical axis of 2D points, "up" or "down", and the horizontal one, "right" or "left"."""
    vertical, horizontal = getattr(camera, "orientation2d", ("down", "right"))
    return str(getattr(vertical, "value", vertical)), str(getattr(horizontal, "value", horizontal))


def shown_axes(viewer: Viewer) -> tuple[int, int]:
    """Axes of space (0, 1, 2) that 2D shows down and across; below 0 for one of time."""
    row, column = (int(axis) - (viewer.dims.ndim - 3) for axis in viewer.dims.displayed)
    return row, column
