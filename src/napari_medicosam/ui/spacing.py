"""How large the voxels of an image layer are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.io.records import MM_PER_UNIT, record_of

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray


def voxel_volume_mm3(image: Image) -> float | None:
    """Volume of a voxel of an image whose last three axes have a unit of length; None for other images.

    Slices of a tilted scan lie straight on each other in its layer; its file knows that they are closer together.
    """
    steps = _steps_mm(image)
    if steps is None or image.ndim < 3:
        return None
    record = record_of(image.metadata)
    if record is not None and np.allclose(_lengths(steps), record.geometry.spacing_zyx, rtol=1e-6):
        return record.geometry.voxel_volume_mm3
    return abs(float(np.linalg.det(steps[:, -3:])))


def spacing_mm(image: Image) -> tuple[float, float, float] | None:
    """Distance between voxel centres in mm along the last three axes; None without a unit of length.

    A 2D image has 1 mm along z.
    """
    steps = _steps_mm(image)
    return None if steps is None else _lengths(steps)


def spacing_zyx(image: Image) -> tuple[float, float, float]:
    """What volumes and sizes are measured with: as `spacing_mm`, a unit that is no length counts as mm.

    Along z it is the distance of tilted slices at right angles to them, so that the product is a voxel's volume.
    """
    steps = _steps_mm(image)
    z, y, x = _lengths(_steps(image) if steps is None else steps)
    volume = voxel_volume_mm3(image)
    between = z if volume is None else volume / (y * x)
    # The digits of the file stay where slices are upright.
    return z if math.isclose(between, z, rel_tol=1e-6) else between, y, x


def length_unit(image: Image) -> str:
    """What lengths are in that are measured with `spacing_zyx`: "mm", "px", or "" where a scale has no unit."""
    if _steps_mm(image) is not None:
        return "mm"
    return "px" if np.allclose(_lengths(_steps(image)), 1) else ""


def _steps(image: Image) -> NDArray[np.float64]:
    """What a step of one voxel along each of the last (up to three) axes is in the world: (axes, world axes)."""
    axes = np.eye(image.ndim)[-3:]
    corners = np.array([image.data_to_world(corner) for corner in np.vstack([np.zeros(image.ndim), axes])])
    return np.asarray(corners[1:] - corners[0])


def _steps_mm(image: Image) -> NDArray[np.float64] | None:
    """The same in mm; None where an axis has no unit of length."""
    units = [MM_PER_UNIT.get(str(unit)) for unit in image.units]
    if None in units[-3:]:
        return None
    return np.asarray(_steps(image) * np.array([1.0 if unit is None else unit for unit in units]))


def _lengths(steps: NDArray[np.float64]) -> tuple[float, float, float]:
    sizes = [float(np.linalg.norm(step)) for step in steps]
    z, y, x = [1.0] * (3 - len(sizes)) + sizes
    return z, y, x
