"""Which slice of the image at hand a viewer shows, and how to show another one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.errors import InputError
from napari_medicosam.ui import layers
from napari_medicosam.ui.laying import check_has_slices

if TYPE_CHECKING:
    from napari import Viewer

    from napari_medicosam.ui.annotation import Annotation


class ShownSlice:
    """The slice of an image that a viewer shows.

    Args:
        viewer: with the image.

    Attributes:
        annotation: of the image at hand and one of its time points; None without an image.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self.annotation: Annotation | None = None

    def wanted(self) -> Annotation:
        """The annotation; `InputError` without one."""
        if self.annotation is None:
            raise InputError("no image yet: open a scan and choose it as the image to segment")
        return self.annotation

    def plane(self) -> SlicePlane:
        """The slice of the image that the viewer shows.

        Raises:
            InputError: without an image, in 3D rendering, or when no slice of the image is shown.
        """
        annotation = self.wanted()
        axis = self.axis()
        if annotation.image.ndim == 2:
            return SlicePlane(0, 0)
        index = round(self._position()[axis - 3])
        return SlicePlane(axis, min(max(index, 0), annotation.shape_zyx[axis] - 1))

    def time(self) -> int:
        """The time point of the image that the viewer shows; 0 for an image without."""
        image = self.wanted().image
        if image.ndim != 4:
            return 0
        time = round(self._position()[0])
        return min(max(time, 0), layers.num_times(image) - 1)

    def go_to(self, index: int) -> None:
        """Show a slice along the axis that is sliced along. Raises as `plane`."""
        axis, image, dims = self.axis() - 3, self.wanted().image, self._viewer.dims
        if image.ndim == 2:
            return
        here = np.array(dims.point[-image.ndim :])
        here[axis] = 0
        first = self._position(here)[axis]
        here[axis] = 1
        step = self._position(here)[axis] - first
        if abs(step) > 1e-9:  # 0: turned by a right angle, where napari shows no such slice
            dims.set_point(dims.ndim + axis, (index - first) / step)

    @property
    def is_at_a_slice(self) -> bool:
        """False where the viewer is beside the image, or shows no slices."""
        try:
            axis = self.axis()
        except InputError:  # 3D rendering
            return False
        annotation = self.wanted()
        if annotation.image.ndim < 3:
            return True
        return -0.5 <= self._position()[axis - 3] < annotation.shape_zyx[axis] - 0.5

    def come_into_sight(self) -> None:
        """Show the middle slice of an image where the viewer is beside it, as of a scan of another region.

        For one that is turned, napari itself shows the middle of what it takes up in the world, and draws its slices
        elsewhere.
        """
        if self.annotation is None or self.is_at_a_slice:
            return
        with suppress(InputError):  # 3D rendering
            self.go_to(self.annotation.shape_zyx[self.axis()] // 2)

    def _position(self, point: Any = None) -> tuple[float, ...]:
        """Where the viewer (or a point of the world) is in the image, in voxels, as napari slices it.

        What an image is turned by out of the slice counts for nothing there, so neither do the axes that are shown.
        """
        image, dims = self.wanted().image, self._viewer.dims
        point = np.array(dims.point[-image.ndim :] if point is None else point, dtype=float)
        for axis in dims.displayed:
            if axis >= dims.ndim - image.ndim:
                point[axis - dims.ndim] = 0
        return tuple(float(v) for v in image.world_to_data(point))

    def is_in_sight(self, plane: SlicePlane) -> bool:
        """True when the viewer shows this slice or cuts across it; in 3D rendering nothing counts, it is slow."""
        try:
            shown = self.plane()
        except InputError:
            return False
        return plane.axis != shown.axis or plane.index == shown.index

    def check_in_sight(self) -> None:
        """Raise `InputError` where a click would mean nothing: no slice is shown, or none that can be seen."""
        self.axis()
        self.check_has_slices()

    def check_has_slices(self) -> None:
        """Raise `InputError` where the slices of the image that are shown cannot be seen."""
        check_has_slices(self._viewer, self.wanted().image)

    def axis(self) -> int:
        """The array axis that the viewer slices along. Raises as `plane`."""
        annotation = self.wanted()
        dims = self._viewer.dims
        if dims.ndisplay != 2:
            raise InputError(
                "Prompts need a slice: switch to 2D with the button below the layer list (Ctrl+Y)"
            )
        offset = dims.ndim - annotation.image.ndim
        hidden = [axis - offset for axis in dims.not_displayed if axis >= offset]
        if annotation.image.ndim == 2 and not hidden:
            return 0
        if annotation.image.ndim == 4 and 0 in hidden:
            hidden = [axis - 1 for axis in hidden if axis]
        elif annotation.image.ndim != 3:
            hidden = []
        if len(hidden) != 1:
            raise InputError(f"The viewer shows no slice of {annotation.image.name!r}: roll the axes back")
        return int(hidden[0])
