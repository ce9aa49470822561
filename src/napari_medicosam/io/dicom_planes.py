"""Where the slices of DICOM files lie, one by one: no two neighbours need be as far apart as others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from napari_medicosam.errors import FileError
from napari_medicosam.io.dicom_headers import read_header
from napari_medicosam.io.itk import lps_from_ras
from napari_medicosam.io.records import DicomSource

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_medicosam.core.geometry import Geometry
    from napari_medicosam.io.records import VolumeRecord

_TOLERANCE_MM = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """Slices of one size and direction in LPS millimetres.

    Attributes:
        positions: (n, 3), the centre of each slice's first voxel.
        x_step, y_step: (3,), from a voxel to its neighbour along array axis x, and along y.
        size_yx: rows and columns.
    """

    positions: NDArray[np.float64]
    x_step: NDArray[np.float64]
    y_step: NDArray[np.float64]
    size_yx: tuple[int, int]

    @classmethod
    def from_dicom(
        cls,
        positions: ArrayLike,
        directions: ArrayLike,
        spacing_yx: tuple[float, float],
        size_yx: tuple[int, int],
    ) -> Planes:
        """From positions (n, 3), and vectors (2, 3) along a row and down a column, of length 1 but for rounding."""
        cosines = np.array(directions, dtype=np.float64).reshape(2, 3)
        along_row, down_column = cosines / np.linalg.norm(cosines, axis=1, keepdims=True)
        y, x = (float(spacing) for spacing in spacing_yx)
        return cls(np.array(positions, dtype=np.float64), along_row * x, down_column * y, size_yx)

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) of length 1, at right angles to the slices."""
        normal = np.cross(self.x_step, self.y_step)
        return np.asarray(normal / np.linalg.norm(normal))

    def find(self, wanted: Planes) -> NDArray[np.intp] | None:
        """Index (m,) among these slices of each of `wanted`; None when a voxel of one is off by over 1e-3 mm."""
        if wanted.size_yx != self.size_yx:
            return None
        rows, columns = self.size_yx
        drift = np.linalg.norm(wanted.x_step - self.x_step) * (columns - 1)
        drift += np.linalg.norm(wanted.y_step - self.y_step) * (rows - 1)
        distances, indices = _nearest(self.positions, wanted.positions)
        return indices if distances.max() + drift <= _TOLERANCE_MM else None


def planes_of_record(record: VolumeRecord) -> Planes:
    """The slices of a volume in array order; of a DICOM volume as its files place them, not evened out.

    Raises:
        FileError: for files that cannot be read, or that are no longer those that the volume came from.
    """
    source = record.header.native
    expected = _planes_of_geometry(record.geometry)
    if not (isinstance(source, DicomSource) and source.is_placed):
        return expected
    planes = _planes_of_source(source)
    _, order = _nearest(expected.positions, planes.positions)
    if planes.size_yx != expected.size_yx or not np.array_equal(order, np.arange(len(expected.positions))):
        raise FileError(
            f"the DICOM files in {source.paths[0].parent} are not what was read from there: wanted "
            f"{len(expected.positions)} slices of {expected.size_yx} voxels where they were. Open them again"
        )
    return planes


def _planes_of_geometry(geometry: Geometry) -> Planes:
    affine = lps_from_ras(geometry.affine_ras)
    z, y, x = geometry.shape_zyx
    return Planes(affine[:3, 3] + np.arange(z)[:, None] * affine[:3, 2], affine[:3, 0], affine[:3, 1], (y, x))


def _planes_of_source(source: DicomSource) -> Planes:
    files = [read_header(path)[1] for path in source.paths]
    frames = [files[0][frame] for frame in source.frames] or [frames[0] for frames in files]
    for frame in frames:
        if frame.position_mm is None or frame.directions is None or frame.spacing_yx is None:
            raise FileError(f"{frame.file.path} does not say where its slices lie in the patient")
    first: Any = frames[0]
    positions: Any = [frame.position_mm for frame in frames]
    return Planes.from_dicom(positions, first.directions, first.spacing_yx, first.file.size_yx)


def _nearest(
    positions: NDArray[np.float64], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    distances, indices = cKDTree(positions).query(wanted)
    return np.atleast_1d(distances), np.atleast_1d(indices)
