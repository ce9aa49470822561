"""The world that layers lie in: patient millimetres along the axes of the array, turned as radiologists look at scans.

A viewer slices along its world axes, so an array axis has to stay a world axis: turned out of the slice, a layer would
show slices that nobody recorded, and a click would land on another one than is shown. The frame is therefore the
patient's own, with its axes in the order in which the array runs along them. Which way they point never depends on the
scan, so scans that were made along the same axes lie in the frame as they lie in the patient, whatever their origin,
spacing, size and flips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import Geometry


def frame_signs(geometry: Geometry) -> tuple[int, int, int]:
    """For each axis of the frame (z, y, x) whether it points to the patient's right, front or head (+1), or away (-1).

    Rows and columns of the slices along array axis 0 run to the left, back or feet: that is down and to the right, as
    slices are looked at. Axis 0 runs to the head, back or right, as most scanners number slices.
    """
    return (-1 if geometry.plane_name(0) == "coronal" else 1), -1, -1


def ras_mm_to_frame(geometry: Geometry) -> NDArray[np.float64]:
    """4 x 4 matrix from RAS mm (x, y, z, 1) to the frame (z, y, x, 1), both in mm.

    An oblique scan has a frame of its own: that of all scans with the same directions, about the scanner's origin.
    """
    directions = geometry.affine_ras[:3, :3] / np.linalg.norm(geometry.affine_ras[:3, :3], axis=0)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.inv(directions[:, ::-1] * _flips(geometry))
    return matrix


def scaled_to_frame(geometry: Geometry) -> NDArray[np.float64]:
    """4 x 4 matrix from voxel indices times spacing (z, y, x, 1) to the frame: which way axes run, and the origin."""
    matrix = np.diag([*_flips(geometry), 1.0])
    matrix[:3, 3] = ras_mm_to_frame(geometry)[:3, :3] @ geometry.affine_ras[:3, 3] + 0.0  # no -0.0
    return matrix


def _flips(geometry: Geometry) -> NDArray[np.float64]:
    """-1 for array axes that run against the frame."""
    along = [geometry.direction_sign(axis) for axis in range(3)]
    return np.array(along, dtype=np.float64) * frame_signs(geometry)
