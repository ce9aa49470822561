"""The world that layers lie in: patient millimetres along the axes of the array, turned as radiologists look at scans.

A viewer slices along its world axes, so the world's axes are taken in the order in which the array runs along them:
what is nearly parallel to a slice's rows is shown as rows. Which way they point never depends on the scan, so all scans
whose arrays run in the same order lie in the frame as they lie in the patient, whatever their origin, spacing, size,
flips and obliquity.

Shown slice by slice, a layer that is turned out of the slice is not where it lies: `as_sliced` says where a viewer has
it. Along its own axes it is (`scaled_to_own`), and then nowhere in the patient. In 3D nothing is sliced, so layers may
lie in one world for all scans, whichever way their arrays run (`scaled_to_world`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medicosam.core.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_WORLD_OF_RAS = np.array([[0.0, 0, 1], [0, -1, 0], [-1, 0, 0]])
"""The patient's world is (head, back, left): the coordinates of DICOM, backwards, and the frame of axial scans."""

HAIR_MM = 1e-3
"""As far as voxels may be from where the file has them, in what is shown. It is what saved grids may differ by, too."""

_LETTERS = ("RL", "AP", "SI")
_LEAST_LETTER = 0.2588
"""The sine of 15 degrees."""

_LEAST_IN_SIGHT = 0.05
"""Of the area of a slice: one that is turned further is shown as a line, or makes the viewer fail."""


def frame_signs(geometry: Geometry) -> tuple[int, int, int]:
    """For each axis of the frame (z, y, x) whether it points to the patient's right, front or head (+1), or away (-1).

    Rows and columns of the slices along array axis 0 run to the left, back or feet: that is down and to the right, as
    slices are looked at. Axis 0 runs to the head, back or right, as most scanners number slices.
    """
    return (-1 if geometry.plane_name(0) == "coronal" else 1), -1, -1


def ras_mm_to_frame(geometry: Geometry) -> NDArray[np.float64]:
    """4 x 4 matrix from RAS mm (x, y, z, 1) to the frame (z, y, x, 1), both in mm: the world's axes, some turned round.

    The same for all scans whose array axes come nearest to the same axes of the patient in the same order.
    """
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for axis, sign in enumerate(frame_signs(geometry)):
        matrix[axis, geometry.world_axis(axis)] = sign
    return matrix


def scaled_to_frame(geometry: Geometry) -> NDArray[np.float64]:
    """4 x 4 matrix from voxel indices times spacing (z, y, x, 1) to the frame: how the axes lie, and the origin.

    It turns nothing where no voxel is moved by `HAIR_MM` if the scan is taken to lie along the axes: files store
    digits that are not exact.
    """
    exact, frame = np.eye(4), ras_mm_to_frame(geometry)
    exact[:3, :3] = frame[:3, :3] @ _directions(geometry)[:, ::-1] + 0.0  # no -0.0
    exact[:3, 3] = (frame @ geometry.affine_ras[:, 3])[:3] + 0.0
    straight = exact.copy()
    straight[:3, :3] = np.diag(_flips(geometry))
    size_mm = np.multiply(geometry.shape_zyx, geometry.spacing_zyx)
    is_straight = np.abs((exact - straight)[:3, :3]) @ size_mm < HAIR_MM
    return straight if is_straight.all() else exact


def scaled_to_own(geometry: Geometry) -> NDArray[np.float64]:
    """4 x 4 matrix from voxel indices times spacing (z, y, x, 1) to a world along the scan's own axes.

    They are those of the frame, turned with the scan, and so is its origin: scans with the same directions overlay.
    """
    directions = _directions(geometry)
    matrix = np.diag([*_flips(geometry), 1.0])
    matrix[:3, 3] = _flips(geometry) * np.linalg.solve(directions[:, ::-1], geometry.affine_ras[:3, 3]) + 0.0
    return matrix


def scaled_to_world(geometry: Geometry) -> NDArray[np.float64]:
    """4 x 4 matrix from voxel indices times spacing (z, y, x, 1) to the patient's world (head, back, left, 1) in mm.

    One world for all scans of a patient, along whichever axes they were made: the frame of those that are nearly axial.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = _WORLD_OF_RAS @ _directions(geometry)[:, ::-1] + 0.0
    matrix[:3, 3] = _WORLD_OF_RAS @ geometry.affine_ras[:3, 3] + 0.0
    return matrix


def turned_back(place: NDArray[np.float64]) -> NDArray[np.float64]:
    """4 x 4 matrix that turns a layer, about the origin of the world, until its axes are those of the world.

    Axes keep their order, and the way they run as far as it had one along the world.

    Args:
        place: 4 x 4, from voxel indices (z, y, x, 1) to the world.

    Raises:
        InputError: for a place that cannot be inverted.
    """
    geometry = Geometry.of_place((1, 1, 1), place)
    runs = [geometry.direction_sign(axis) for axis in range(3)]
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.inv(place[:3, :3] / np.linalg.norm(place[:3, :3], axis=0) * runs)
    return matrix


def as_sliced(place: NDArray[np.float64], displayed: Sequence[int]) -> NDArray[np.float64] | None:
    """Where a viewer has a layer that it shows slice by slice: what turns it out of the slice is left away.

    Napari chooses the slice by the hidden rows and columns of the inverse, and draws it by the displayed ones of the
    matrix; so both are taken from there, and nothing else.

    Args:
        place: (n + 1) x (n + 1), from voxel indices to the world.
        displayed: axes that are shown, in any order; all of them for 3D rendering.

    Returns:
        A matrix of the same shape, `place` itself where nothing is lost; None when the slices are turned by (nearly)
        a right angle, so that there is nothing to see of them.
    """
    ndim = len(place) - 1
    shown = [axis for axis in range(ndim) if axis in displayed]
    hidden = [axis for axis in range(ndim) if axis not in displayed]
    if not hidden:
        return place
    drawn, inverse = place[np.ix_(shown, shown)], np.linalg.inv(place)
    if abs(np.linalg.det(drawn)) < _LEAST_IN_SIGHT * np.prod(np.linalg.norm(place[:ndim, shown], axis=0)):
        return None
    step = np.linalg.inv(inverse[np.ix_(hidden, hidden)])
    sliced = np.eye(ndim + 1)
    sliced[np.ix_(shown, shown)], sliced[shown, ndim] = drawn, place[shown, ndim]
    sliced[np.ix_(hidden, hidden)], sliced[hidden, ndim] = step, -step @ inverse[hidden, ndim]
    change = np.abs(sliced - place)[:ndim, :ndim].max()
    return place if change <= 1e-10 * np.abs(place[:ndim, :ndim]).max() else sliced


def _directions(geometry: Geometry) -> NDArray[np.float64]:
    """Unit vectors along the axes of the array, in columns (x, y, z); rows are R, A, S."""
    return np.asarray(geometry.affine_ras[:3, :3] / np.linalg.norm(geometry.affine_ras[:3, :3], axis=0))


def _flips(geometry: Geometry) -> NDArray[np.float64]:
    """-1 for array axes that run against the frame."""
    along = [geometry.direction_sign(axis) for axis in range(3)]
    return np.array(along, dtype=np.float64) * frame_signs(geometry)


def patient_letters(geometry: Geometry, place: NDArray[np.float64], toward: NDArray[np.float64]) -> str:
    """Where in the patient a direction of a world points, as in DICOM's Patient Orientation: "R", "PS", ...

    R and L are the patient's right and left, A and P front and back, S and I head and feet. A second letter where it
    points at least 15 degrees that way.

    Args:
        geometry: of the scan.
        place: 3 x 3 matrix from its voxel indices (z, y, x) to that world.
        toward: the direction there, three numbers.
    """
    voxels_xyz = np.linalg.solve(place, toward)[::-1]
    ras = geometry.affine_ras[:3, :3] @ voxels_xyz
    ras = ras / np.linalg.norm(ras)
    largest = np.argsort(-np.abs(ras), kind="stable")
    letters = [_LETTERS[axis][int(ras[axis] < 0)] for axis in largest if abs(ras[axis]) >= _LEAST_LETTER]
    return "".join(letters[:2])
