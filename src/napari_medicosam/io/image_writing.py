"""Images out: written beside, read back and compared voxel by voxel before they count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import check_same_grid
from napari_medicosam.io.itk import write_itk
from napari_medicosam.io.nifti import write_nifti
from napari_medicosam.io.replacing import replace_file
from napari_medicosam.io.tiff import write_tiff
from napari_medicosam.io.volumes import Volume, read_volume, suffix_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from numpy.typing import NDArray

    from napari_medicosam.io.records import VolumeRecord

_WRITERS: dict[str, Callable[[Path, NDArray[Any], VolumeRecord], None]] = {
    ".nii.gz": write_nifti,
    ".nii": write_nifti,
    ".nrrd": write_itk,
    ".mha": write_itk,
    ".tif": write_tiff,
    ".tiff": write_tiff,
}


def write_volume(path: str | PathLike[str], volume: Volume, *, overwrite: bool = False) -> None:
    """Write an image, every voxel as it is, in the format that the ending of `path` names.

    To the format of the file that it came from goes the very same grid as that states it; to another one its geometry,
    converted. Nothing else of a header is carried over, so no name, date or description is. Written beside, read back
    and compared, then moved.

    Args:
        path: .nii.gz, .nii, .nrrd, .mha, .tif or .tiff.
        volume: integers, float32 or float64 (z, y, x), or colours (z, y, x, 3), of which NIfTI takes uint8 only.
        overwrite: whether an old file may be replaced.

    Raises:
        FileError: for a file that exists, a format that cannot hold this grid or these values, or a failed write.
    """
    path = Path(path)
    suffix = suffix_of(path)
    write = _WRITERS.get(suffix or "")
    if suffix is None or write is None:
        raise FileError(f"cannot write an image to {path}: wanted a name ending in {', '.join(_WRITERS)}")
    whole = replace(volume, array=np.asarray(volume.array))
    replace_file(
        path,
        suffix,
        lambda temporary: write(temporary, whole.array, whole.record),
        lambda temporary: _verify(temporary, path, whole),
        overwrite=overwrite,
    )


def _verify(temporary: Path, path: Path, volume: Volume) -> None:
    """Raise `FileError` unless the file that was just written gives the same voxels on the same grid."""
    written = read_volume(temporary)
    check_same_grid(path, written.geometry, volume.geometry)
    found, wanted = written.array, volume.array
    is_float = wanted.dtype.kind == "f"
    if (found.dtype, found.shape) != (wanted.dtype, wanted.shape) or not all(
        np.array_equal(one, other, equal_nan=is_float) for one, other in zip(found, wanted, strict=True)
    ):
        raise FileError(
            f"cannot write {path}: read back, its {found.dtype} voxels are not the {wanted.dtype} ones that were "
            f"written. The file was not made"
        )
