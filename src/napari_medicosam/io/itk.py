"""NRRD and MetaImage through SimpleITK. With `dicom`, the only place where the world is LPS."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import (
    is_plain_grid,
    real_array,
    rgb_array,
    shape_over_time,
    spatial_shape,
)
from napari_medicosam.io.itk_headers import check_voxels, read_header
from napari_medicosam.io.nifti import is_sheared
from napari_medicosam.io.nrrd_rewriting import kind_of_values, readable
from napari_medicosam.io.records import FileHeader, ItkGrid, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.io.itk_headers import TextHeader
    from napari_medicosam.io.records import VolumeRecord

sitk: Any = SimpleITK  # its functions carry no types

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings of the two formats, in lower case."""

_COLOURS = (3, 4)
_LPS_RAS_SIGNS = np.array([-1.0, -1.0, 1.0, 1.0])[:, None]
_IMAGE_IO = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".tif": "TIFFImageIO",
    ".tiff": "TIFFImageIO",
    ".png": "PNGImageIO",
}


def ras_from_lps(affine_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """4 x 4 affine from voxel (i, j, k) to RAS mm, of one to LPS mm: the signs of the first two rows change."""
    return np.asarray(affine_lps * _LPS_RAS_SIGNS + 0.0)  # no negative zeros


def lps_from_ras(affine_ras: NDArray[np.float64]) -> NDArray[np.float64]:
    """4 x 4 affine from voxel (i, j, k) to LPS mm, of one to RAS mm."""
    return ras_from_lps(affine_ras)  # the same change of signs both ways


def read_itk(path: Path, *, palette_indices: bool = False) -> Volume:
    """Read .nrrd, .nhdr, .mha or .mhd. The unit is mm, but for an NRRD that does not place itself in a space."""
    del palette_indices  # neither format has palettes
    (volume,) = _read(path, is_over_time=False)
    return volume


def read_itk_times(path: Path) -> list[Volume]:
    """As `read_itk`, of a file with a fourth axis, or with a list of values a voxel, all volumes that are in it."""
    return _read(path, is_over_time=True)


def _read(path: Path, *, is_over_time: bool) -> list[Volume]:
    header = read_header(path)
    with readable(path, header) as file:
        return _read_file(file, header if file == path else read_header(file), is_over_time)


def _read_file(path: Path, header: TextHeader, is_over_time: bool) -> list[Volume]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(_utf8(path))
    reader.SetImageIO(_IMAGE_IO[path.suffix.lower()])
    reader.ReadImageInformation()
    sizes, num_values = reader.GetSize(), reader.GetNumberOfComponents()
    (shape_over_time if is_over_time else spatial_shape)(path, sizes)
    is_list = _is_list(header, num_values)
    if is_list and header.has_segments:
        raise FileError(
            f"{path} holds {num_values} layers of segments that overlap: wanted a label map. Export one in Slicer"
        )
    if is_list and not is_over_time:
        raise FileError(
            f"{path} has {num_values} values a voxel: wanted one (grey) or three (RGB). Save one time point or channel "
            f"to a file of its own first"
        )
    pixel_type = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in pixel_type:
        raise FileError(
            f"{path} holds complex numbers ({pixel_type}): wanted integers or floating point numbers"
        )
    bits = re.search(r"(\d+)-bit", pixel_type)
    if bits:
        num_stored = math.prod(sizes) * num_values
        check_voxels(path, header, num_stored, int(bits[1]) // 8)
    image = reader.Execute()
    is_2d = len(sizes) == 2
    grid = _grid_of(path, image, 2 if is_2d else 3)
    is_placed = path.suffix.lower() in (".mha", ".mhd") or image.HasMetaDataKey("NRRD_space")
    arrays, is_rgb = _tzyx(path, image, is_list)
    geometry = Geometry(arrays[0].shape[:3], ras_from_lps(_affine_lps(grid)))
    file_header = FileHeader("itk", "mm" if is_placed else None, grid)
    return [Volume(array, geometry, is_rgb, is_2d, file_header) for array in arrays]


def write_itk(path: Path, array: NDArray[Any], record: VolumeRecord) -> None:
    """Write labels or an image, (z, y, x[, 3]), compressed; with the doubles of `record.header` when it has them.

    Raises:
        FileError: for a sheared grid that did not come from an ITK format.
    """
    native = record.header.native
    if isinstance(native, ItkGrid):
        grid = native
    elif record.is_2d and is_plain_grid(record.geometry):
        # A picture's grid is no place in a patient, only a size: written as the 2D image that it is.
        _, y, x = record.geometry.spacing_zyx
        grid = ItkGrid((0.0, 0.0), (x, y), (-1.0, 0.0, 0.0, -1.0))
    else:
        grid = _grid_of_geometry(path, record.geometry)
    is_rgb = array.ndim == 4
    image = sitk.GetImageFromArray(array[0] if len(grid.origin) == 2 else array, isVector=is_rgb)
    image.SetOrigin(grid.origin)
    image.SetSpacing(grid.spacing)
    image.SetDirection(grid.direction)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(_IMAGE_IO[path.suffix.lower()])
    writer.SetFileName(_utf8(path))
    writer.UseCompressionOn()
    writer.Execute(image)


def read_itk_pixels(path: Path) -> NDArray[Any]:
    """Pixels of a PNG or TIFF that the lighter readers cannot take (LZW, 16 bit colour): ([z,] y, x[, channels])."""
    image = sitk.ReadImage(_utf8(path), imageIO=_IMAGE_IO[path.suffix.lower()])
    return np.asarray(sitk.GetArrayFromImage(image))


def _utf8(path: Path) -> str:
    """`path` as text; SimpleITK ends the process for a name that is none."""
    try:
        return str(path).encode("utf-8").decode("utf-8")
    except UnicodeEncodeError as error:
        shown = str(path).encode("utf-8", "replace").decode("utf-8")
        raise FileError(f"the name {shown} is no UTF-8, which {path.suffix} needs: rename it") from error


def _is_list(header: TextHeader, num_values: int) -> bool:
    """True when the values of a voxel are those of several volumes, and not colours or parts of a vector."""
    kind = kind_of_values(header)
    return num_values > 1 and (kind == "list" or (kind in ("", "vector") and num_values not in _COLOURS))


def _tzyx(path: Path, image: Any, is_list: bool) -> tuple[list[NDArray[Any]], bool]:
    """Arrays (z, y, x) or (z, y, x, channels), one a time point, and whether they are colours."""
    num_values = image.GetNumberOfComponentsPerPixel()
    view = sitk.GetArrayViewFromImage(image)
    if is_list:
        view = np.moveaxis(view, -1, 0)
    is_rgb = num_values > 1 and not is_list
    shape = ((1,) * 4 + view.shape)[-5:] if is_rgb else ((1,) * 4 + view.shape)[-4:]
    # Copies, a volume at a time: the memory behind the view is ITK's.
    made = rgb_array if is_rgb else real_array
    return [made(path, np.array(one)) for one in view.reshape(shape)], is_rgb


def _grid_of(path: Path, image: Any, ndim: int) -> ItkGrid:
    """The grid of the first `ndim` axes; a fourth one, which is time or of size 1, is cut off.

    Raises:
        FileError: where the further axes are turned into the first ones.
    """
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    if direction[:ndim, ndim:].any() or direction[ndim:, :ndim].any():
        raise FileError(f"{path} has a fourth axis that is turned into space: wanted time, or three axes")
    return ItkGrid(
        tuple(image.GetOrigin()[:ndim]),
        tuple(image.GetSpacing()[:ndim]),
        tuple(direction[:ndim, :ndim].ravel().tolist()),
    )


def _affine_lps(grid: ItkGrid) -> NDArray[np.float64]:
    ndim = len(grid.origin)
    affine = np.eye(4)
    affine[:ndim, :ndim] = np.reshape(grid.direction, (ndim, ndim)) * np.array(grid.spacing)
    affine[:ndim, 3] = grid.origin
    return affine


def _grid_of_geometry(path: Path, geometry: Geometry) -> ItkGrid:
    if is_sheared(geometry):
        raise FileError(
            f"cannot write {path}: the index axes of this grid are not at right angles (sheared affine), which "
            f"{path.suffix} cannot hold. Write NIfTI instead (.nii.gz)"
        )
    affine = lps_from_ras(geometry.affine_ras)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    return ItkGrid(tuple(affine[:3, 3].tolist()), tuple(spacing.tolist()), tuple(direction.ravel().tolist()))
