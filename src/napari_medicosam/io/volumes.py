"""Volumes in, labels out, on a geometry that cannot drift: what comes back is read again before it counts."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_medicosam.errors import FileError, InputError, MedicoSamError
from napari_medicosam.io.itk import read_itk, write_itk
from napari_medicosam.io.nifti import read_nifti, write_nifti
from napari_medicosam.io.plain import read_picture, write_picture
from napari_medicosam.io.records import FileHeader, Volume, VolumeRecord
from napari_medicosam.io.replacing import replace_file
from napari_medicosam.io.tiff import read_tiff, write_tiff

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FileHeader",
    "Volume",
    "VolumeRecord",
    "check_writable",
    "read_labels",
    "read_volume",
    "suffix_of",
    "write_labels",
]

_TOLERANCE_MM = 1e-3
_TOLERANCE_VOXELS = 1e-2
"""Written labels may lie off by the smaller of the two. NIfTI-1 stores an origin of a metre to 6e-5 mm, so a
stricter limit would refuse sound files of fine grids."""


class _Reader(Protocol):
    def __call__(self, path: Path, *, palette_indices: bool = False) -> Volume: ...


@dataclass(frozen=True, slots=True)
class _Format:
    """One file format: `write` is None when labels cannot go there, and `refusal` says why."""

    name: str
    read: _Reader
    write: Callable[[Path, NDArray[Any], VolumeRecord], None] | None
    refusal: str = ""


_NIFTI = _Format("NIfTI", read_nifti, write_nifti)
_NRRD = _Format("NRRD", read_itk, write_itk)
_META = _Format("MetaImage", read_itk, write_itk)
_TIFF = _Format("TIFF", read_tiff, write_tiff)
_DETACHED = "its header and voxels would be two files, which cannot be replaced at once: use {}"
_JPEG = _Format("JPEG", read_picture, None, "JPEG is lossy and would change labels: use .png")

FORMATS: dict[str, _Format] = {
    ".nii.gz": _NIFTI,
    ".nii": _NIFTI,
    ".nrrd": _NRRD,
    ".nhdr": replace(_NRRD, write=None, refusal=_DETACHED.format(".nrrd")),
    ".mha": _META,
    ".mhd": replace(_META, write=None, refusal=_DETACHED.format(".mha")),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".png": _Format("PNG", read_picture, write_picture),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
}
"""File name endings that we know, in lower case."""


def suffix_of(path: str | PathLike[str]) -> str | None:
    """The known ending of a file name in lower case (".nii.gz" as one), None for an unknown one."""
    name = Path(path).name.lower()
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)


def read_volume(path: str | PathLike[str], *, palette_indices: bool = False) -> Volume:
    """Read an image: NIfTI, NRRD, MetaImage, TIFF, PNG or JPEG, told by the file name's ending.

    Args:
        path: the file.
        palette_indices: of a palette image (PNG, TIFF) take the indices, which are the labels of a class map,
            and not the colours.

    Raises:
        FileError: for a file that is missing, unknown, damaged, empty, not 2D or 3D, not of real numbers, or whose
            affine is not finite and invertible.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path} is a folder: wanted an image file")
    _, file_format = _format_of(path)
    if not path.is_file():
        raise FileError(f"{path} does not exist: wanted an image file")
    try:
        if path.stat().st_size == 0:
            raise FileError(f"{path} is empty (0 bytes): wanted a {file_format.name} file")
        return file_format.read(path, palette_indices=palette_indices)
    except FileError:
        raise
    except (
        Exception
    ) as error:  # the libraries raise anything from struct.error to RuntimeError on damaged files
        # ITK puts places of its own source code in front of what it has to say.
        reason = re.sub(r"^.*ERROR: ", "", str(error).strip(), flags=re.DOTALL) or type(error).__name__
        raise FileError(
            f"cannot read {path} as {file_format.name}, the file may be damaged: {reason}"
        ) from error


def read_labels(path: str | PathLike[str]) -> Volume:
    """Read an integer label map. Of a palette image the indices are taken, not the colours.

    Floats are taken when all are whole numbers, and cast to the smallest integer type that holds them.

    Raises:
        FileError: as `read_volume`; for RGB; for values that are not whole numbers.
    """
    path = Path(path)
    volume = read_volume(path, palette_indices=True)
    if volume.is_rgb:
        raise FileError(f"{path} is an RGB image: wanted a label map with one integer a voxel")
    if volume.array.dtype.kind != "f":
        return volume
    values = volume.array
    low, high = float(values.min()), float(values.max())
    is_integer_range = low >= -(2.0**31) and high < 2.0**32  # False for NaN, too
    if not is_integer_range or not np.array_equal(values, np.rint(values)):
        raise FileError(
            f"{path} holds {values.dtype} values that are no labels: wanted whole numbers up to 2**32 - 1"
        )
    dtype = np.min_scalar_type(int(high)) if low >= 0 else np.dtype(np.int64)
    return replace(volume, array=values.astype(dtype))


def check_writable(
    path: str | PathLike[str], like: Volume | VolumeRecord, *, overwrite: bool = False
) -> None:
    """Raise `FileError` now for what `write_labels` would refuse after hours of work.

    An empty label map is written beside `path` and removed again: that finds a missing folder, an old file, a format
    that cannot hold this grid, and a place where nothing may be written.
    """
    record = like.record if isinstance(like, Volume) else like

    def refuse_to_stay(temporary: Path) -> None:
        raise _DryRunError

    with suppress(_DryRunError):
        _write(Path(path), np.zeros(record.geometry.shape_zyx, np.uint8), record, refuse_to_stay, overwrite)


def write_labels(
    path: str | PathLike[str], labels_zyx: ArrayLike, like: Volume | VolumeRecord, *, overwrite: bool = False
) -> None:
    """Write a label map on the grid of `like`, in the format that the ending of `path` names.

    To the format of `like` itself goes the very same grid as its file states it (for NIfTI: sform, qform, codes and
    units, bit for bit); to another one its geometry, converted. Written beside, read back and compared, then moved.

    Args:
        path: .nii.gz, .nii, .nrrd, .mha, .tif, .tiff or (2D) .png.
        labels_zyx: whole numbers >= 0 (z, y, x), or bool; stored as the smallest of uint8, uint16, uint32.
        like: the image that was segmented, or its record.
        overwrite: whether an old file may be replaced.

    Raises:
        InputError: for labels of another shape than the image, that are negative, too large or no integers.
        FileError: for a file that exists, a format that cannot hold this grid or these labels, or a failed write.
    """
    path = Path(path)
    record = like.record if isinstance(like, Volume) else like
    labels = _smallest_labels(labels_zyx, record.geometry.shape_zyx)
    _write(path, labels, record, lambda temporary: _verify(temporary, path, labels, record), overwrite)


class _DryRunError(MedicoSamError):
    """Ends a write before the move."""


def _write(
    path: Path, labels: NDArray[Any], record: VolumeRecord, verify: Callable[[Path], None], overwrite: bool
) -> None:
    suffix, file_format = _format_of(path)
    write = file_format.write
    if write is None:
        raise FileError(f"cannot write labels to {path}: {file_format.refusal}")
    replace_file(
        path, suffix, lambda temporary: write(temporary, labels, record), verify, overwrite=overwrite
    )


def _format_of(path: Path) -> tuple[str, _Format]:
    suffix = suffix_of(path)
    if suffix is None:
        raise FileError(f"cannot tell the format of {path}: wanted a name ending in {', '.join(FORMATS)}")
    return suffix, FORMATS[suffix]


def _smallest_labels(labels_zyx: ArrayLike, shape_zyx: tuple[int, int, int]) -> NDArray[Any]:
    """`labels_zyx`, checked, as C-contiguous uint8, uint16 or uint32."""
    labels = np.asarray(labels_zyx)
    if labels.shape != shape_zyx:
        raise InputError(f"labels must have the image's shape (z, y, x) = {shape_zyx}, got {labels.shape}")
    if labels.dtype.kind not in "uib":
        raise InputError(f"labels must be integers, got dtype {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise InputError(f"labels must not be negative, got {low}")
    if high > np.iinfo(np.uint32).max:
        raise InputError(f"labels must be at most {np.iinfo(np.uint32).max}, got {high}")
    return np.ascontiguousarray(labels, dtype=np.min_scalar_type(high))


def _verify(temporary: Path, path: Path, labels: NDArray[Any], record: VolumeRecord) -> None:
    """Raise `FileError` unless the file that was just written gives the same labels on the same grid."""
    written = read_labels(temporary)
    tolerance_mm = min(_TOLERANCE_MM, _TOLERANCE_VOXELS * min(record.geometry.spacing_zyx))
    if not written.geometry.equals(record.geometry, tolerance_mm):
        raise FileError(
            f"cannot write {path}: read back, its geometry is another one than the image's:\n"
            f"shape {written.geometry.shape_zyx}, affine\n{written.geometry.affine_ras}\n"
            f"wanted shape {record.geometry.shape_zyx}, affine\n{record.geometry.affine_ras}\n"
            f"The file was not made"
        )
    if not np.array_equal(written.array, labels):
        raise FileError(
            f"cannot write {path}: read back, its labels are not what was written. The file was not made"
        )
