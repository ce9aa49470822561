"""Where voxels are: shape, spacing, orientation, and 2D cuts along any array axis.

Arrays are indexed (z, y, x), the file's own index order (k, j, i) as SimpleITK gives it; nothing is ever
reoriented. World coordinates are RAS millimetres, the NIfTI convention; LPS exists only in `io`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PLANE_NAMES = ("sagittal", "coronal", "axial")
"""Anatomical planes, ordered by the world axis (R, A, S) that their slices step along."""


@dataclass(frozen=True, slots=True)
class SlicePlane:
    """A 2D cut through a volume: slice `index` along array axis `axis` (0 = z, 1 = y, 2 = x).

    The rows and columns of the slice are the two other axes in ascending order, so axis 0 gives (y, x),
    axis 1 (z, x) and axis 2 (z, y). Inside a slice, rows are called y and columns x whatever the axis.
    """

    axis: int
    index: int

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise InputError(f"slice axis must be 0, 1 or 2, got {self.axis!r}")
        if self.index < 0:
            raise InputError(f"slice index must not be negative, got {self.index}")

    def check(self, shape_zyx: tuple[int, int, int]) -> None:
        """Raise `InputError` when the plane lies outside a volume of this shape."""
        if self.index >= shape_zyx[self.axis]:
            raise InputError(
                f"slice {self.index} along axis {self.axis} is outside the volume: "
                f"that axis has {shape_zyx[self.axis]} slices (0..{shape_zyx[self.axis] - 1})"
            )

    def size_yx(self, shape_zyx: tuple[int, int, int]) -> tuple[int, int]:
        """(rows, columns) of the slice in a volume of this shape."""
        rows, columns = (n for axis, n in enumerate(shape_zyx) if axis != self.axis)
        return rows, columns

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """View of this slice of `array`, shape (z, y, x) or (z, y, x, channel)."""
        index: list[slice | int] = [slice(None)] * 3
        index[self.axis] = self.index
        return array[tuple(index)]

    def point_zyx(self, point_yx: tuple[float, float]) -> tuple[float, float, float]:
        """Volume position of an in-slice position (row, column)."""
        position = list(point_yx)
        position.insert(self.axis, float(self.index))
        z, y, x = position
        return z, y, x


@dataclass(frozen=True, slots=True, eq=False)
class SliceStack:
    """A volume seen as the stack of its slices along one axis.

    Args:
        array: (z, y, x) or (z, y, x, 3); anything that numpy can index and convert, read slice by slice.
        axis: 0, 1 or 2.
        spacing_zyx: distance between voxel centres along each array axis, in mm; None where it is not known.

    Raises:
        InputError: for another axis, or a spacing that is not three positive numbers.
    """

    array: Any
    axis: int
    spacing_zyx: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        SlicePlane(self.axis, 0)
        if self.spacing_zyx is not None:
            _check_spacing(self.spacing_zyx)

    def __len__(self) -> int:
        return int(self.array.shape[self.axis])

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along each array axis."""
        z, y, x = self.array.shape[:3]
        return int(z), int(y), int(x)

    @property
    def slice_spacing(self) -> float | None:
        """Distance between neighbouring slices in mm; None where it is not known."""
        return None if self.spacing_zyx is None else float(self.spacing_zyx[self.axis])

    @property
    def pixel_spacing_yx(self) -> tuple[float, float] | None:
        """Distance between rows and between columns of a slice in mm; None where it is not known."""
        if self.spacing_zyx is None:
            return None
        rows, columns = (float(mm) for axis, mm in enumerate(self.spacing_zyx) if axis != self.axis)
        return rows, columns

    def plane(self, index: int) -> SlicePlane:
        """Address of slice `index`; `InputError` when there is none."""
        if not 0 <= index < len(self):
            raise InputError(
                f"slice {index} is outside axis {self.axis}, which has slices 0..{len(self) - 1}"
            )
        return SlicePlane(self.axis, index)

    def pixels(self, index: int) -> NDArray[Any]:
        """Pixels (rows, columns) or (rows, columns, 3) of slice `index`."""
        return np.asarray(self.plane(index).cut(self.array))


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """The voxel grid of a volume in patient space.

    Args:
        shape_zyx: voxels along each array axis; a 2D image has shape (1, y, x).
        affine_ras: 4 x 4 float64, maps (i, j, k, 1) = (x, y, z, 1) voxel indices to RAS mm: exactly the
            affine that nibabel shows for a NIfTI file. Oblique, flipped and sheared affines are kept as they are.

    Raises:
        InputError: for a shape that is not three positive integers, or an affine that is not a finite,
            invertible 4 x 4 matrix with last row (0, 0, 0, 1).
    """

    shape_zyx: tuple[int, int, int]
    affine_ras: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape_zyx)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"a volume needs three positive sizes (z, y, x), got {self.shape_zyx}")
        affine = np.array(self.affine_ras, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InputError(f"affine must be a finite 4 x 4 matrix, got shape {affine.shape}:\n{affine}")
        if not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise InputError(f"the last row of an affine must be 0 0 0 1, got {affine[3]}")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        # Relative to the spacing: a grid of micrometres is as invertible as one of metres.
        if spacing.min() == 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-6:
            raise InputError(f"affine cannot be inverted (zero spacing or parallel axes):\n{affine.tolist()}")
        affine.setflags(write=False)
        object.__setattr__(self, "shape_zyx", shape)
        object.__setattr__(self, "affine_ras", affine)

    @classmethod
    def from_spacing(
        cls, shape_zyx: tuple[int, int, int], spacing_zyx: ArrayLike = (1.0, 1.0, 1.0)
    ) -> Geometry:
        """Geometry with index axes parallel to R, A, S and the origin at voxel 0. `spacing_zyx` in mm."""
        spacing = _check_spacing(spacing_zyx)
        return cls(shape_zyx, np.diag([*spacing[::-1], 1.0]))

    @classmethod
    def of_place(cls, shape_zyx: tuple[int, int, int], place: NDArray[np.float64]) -> Geometry:
        """Geometry of a grid in a world (z, y, x) in mm, whose axes are taken for S, A and R.

        Args:
            shape_zyx: voxels along each array axis.
            place: 4 x 4, from voxel indices (z, y, x, 1) to the world; axes may run backwards.
        """
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = place[2::-1, 2::-1], place[2::-1, 3]
        return cls(shape_zyx, affine)

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each array axis, in mm."""
        x, y, z = np.linalg.norm(self.affine_ras[:3, :3], axis=0).tolist()
        return z, y, x

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm3 (sheared grids included)."""
        return float(abs(np.linalg.det(self.affine_ras[:3, :3])))

    def index_to_ras_mm(self, points_zyx: ArrayLike) -> NDArray[np.float64]:
        """World position (..., 3) RAS mm of voxel positions (..., 3) in array order (z, y, x)."""
        points_xyz = np.asarray(points_zyx, dtype=np.float64)[..., ::-1]
        return np.asarray(points_xyz @ self.affine_ras[:3, :3].T + self.affine_ras[:3, 3])

    def ras_mm_to_index(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Voxel positions (..., 3) in array order (z, y, x) of world positions (..., 3) RAS mm."""
        offset = np.asarray(points_mm, dtype=np.float64) - self.affine_ras[:3, 3]
        return np.asarray(np.linalg.solve(self.affine_ras[:3, :3], offset[..., None])[..., 0][..., ::-1])

    def axis_of(self, plane: str) -> int:
        """Array axis whose slices come nearest to an anatomical plane.

        Args:
            plane: "axial", "coronal" or "sagittal"; or "0", "1", "2" for an array axis as it is.

        Raises:
            InputError: for any other word.
        """
        if plane in ("0", "1", "2"):
            return int(plane)
        if plane not in PLANE_NAMES:
            raise InputError(f"unknown axis {plane!r}: wanted 0, 1, 2, axial, coronal or sagittal")
        return self._world_axes().index(PLANE_NAMES.index(plane))

    def plane_name(self, axis: int) -> str:
        """Anatomical plane that the slices along array axis `axis` come nearest to."""
        return PLANE_NAMES[self._world_axes()[axis]]

    def world_axis(self, axis: int) -> int:
        """Axis of RAS (0 right, 1 front, 2 head) that array axis `axis` runs along most nearly; each is of one axis."""
        return self._world_axes()[axis]

    def direction_sign(self, axis: int) -> int:
        """+1 when indices along array axis `axis` grow towards the patient's right, front or head, else -1."""
        return 1 if self.affine_ras[self._world_axes()[axis], 2 - axis] > 0 else -1

    def _world_axes(self) -> list[int]:
        """For each array axis (z, y, x) the world axis (0 R, 1 A, 2 S) it runs along, each used once."""
        directions = self.affine_ras[:3, :3] / np.linalg.norm(self.affine_ras[:3, :3], axis=0)
        # Matched as a whole: in a 45 degree oblique scan two array axes may prefer the same world axis. Rounded, so
        # that a tie is the same tie in a file that stores the same grid with other digits.
        world_of_xyz = max(
            permutations(range(3)),
            key=lambda order: round(float(np.abs(directions[list(order), range(3)]).sum()), 5),
        )
        return list(world_of_xyz[::-1])

    def equals(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """True when both grids have one shape and no corner voxel differs by more than `tolerance_mm`."""
        if self.shape_zyx != other.shape_zyx:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape_zyx])).reshape(3, -1).T
        distance = np.abs(self.index_to_ras_mm(corners) - other.index_to_ras_mm(corners))
        return bool(distance.max() <= tolerance_mm)


def _check_spacing(spacing_zyx: ArrayLike) -> NDArray[np.float64]:
    spacing = np.asarray(spacing_zyx, dtype=np.float64)
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise InputError(f"spacing must be three positive numbers (z, y, x) in mm, got {spacing.tolist()}")
    return spacing
