"""NRRD and MetaImage through SimpleITK. With `dicom`, the only place where the world is LPS."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import is_plain_grid, real_array, rgb_array, spatial_shape
from napari_medicosam.io.itk_headers import check_voxels, read_header
from napari_medicosam.io.nifti import is_sheared
from napari_medicosam.io.records import FileHeader, ItkGrid, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.io.records import VolumeRecord

sitk: Any = SimpleITK  # its functions carry no types

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
    header = read_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(_utf8(path))
    reader.SetImageIO(_IMAGE_IO[path.suffix.lower()])
    reader.ReadImageInformation()
    shape_ijk = spatial_shape(path, reader.GetSize())
    num_components = reader.GetNumberOfComponents()
    pixel_type = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in pixel_type:
        raise FileError(
            f"{path} holds complex numbers ({pixel_type}): wanted integers or floating point numbers"
        )
    bits = re.search(r"(\d+)-bit", pixel_type)
    if bits:
        check_voxels(path, header, math.prod((*shape_ijk, num_components)), int(bits[1]) // 8)
    image = reader.Execute()
    grid = _grid_of(image, min(len(shape_ijk), 3))
    array, is_rgb = _zyx(path, sitk.GetArrayFromImage(image), shape_ijk, num_components)
    is_placed = path.suffix.lower() in (".mha", ".mhd") or image.HasMetaDataKey("NRRD_space")
    z, y, x = array.shape[:3]
    geometry = Geometry((z, y, x), ras_from_lps(_affine_lps(grid)))
    return Volume(
        array, geometry, is_rgb, len(shape_ijk) == 2, FileHeader("itk", "mm" if is_placed else None, grid)
    )


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


def _zyx(
    path: Path, array: NDArray[Any], shape_ijk: tuple[int, ...], num_components: int
) -> tuple[NDArray[Any], bool]:
    shape = (1, *shape_ijk[::-1])[-3:]
    if num_components == 1:
        return real_array(path, array.reshape(shape)), False
    return rgb_array(path, array.reshape(*shape, num_components)), True


def _grid_of(image: Any, ndim: int) -> ItkGrid:
    """The grid of the first `ndim` axes; a fourth one of size 1 is cut off."""
    direction = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)[:ndim, :ndim]
    return ItkGrid(
        tuple(image.GetOrigin()[:ndim]), tuple(image.GetSpacing()[:ndim]), tuple(direction.ravel().tolist())
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
