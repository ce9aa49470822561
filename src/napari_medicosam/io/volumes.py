"""Volumes in, labels out, on a geometry that cannot drift: what comes back is read again before it counts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_medicosam.core.label_maps import empty_label_map
from napari_medicosam.errors import FileError, InputError, MedicoSamError
from napari_medicosam.io.checks import check_same_grid, errors_of_reading
from napari_medicosam.io.dicom import DICOM_SUFFIXES, is_dicom, read_dicom
from napari_medicosam.io.itk import read_itk, write_itk
from napari_medicosam.io.nifti import read_nifti, write_nifti_labels
from napari_medicosam.io.nifti_pairs import PAIR_SUFFIXES
from napari_medicosam.io.ome_zarr import read_ome_zarr
from napari_medicosam.io.ome_zarr_labels import is_labels_target, write_ome_zarr_labels
from napari_medicosam.io.ome_zarr_paths import ENDING, is_ome_zarr
from napari_medicosam.io.over_time import read_over_time
from napari_medicosam.io.plain import read_picture, write_picture
from napari_medicosam.io.records import FileHeader, Volume, VolumeRecord
from napari_medicosam.io.replacing import replace_file
from napari_medicosam.io.tiff import read_tiff, write_tiff

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    from napari_medicosam.io.dicom_segments import LabelNames

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


class _Reader(Protocol):
    def __call__(self, path: Path, *, palette_indices: bool = False) -> Volume: ...


@dataclass(frozen=True, slots=True)
class _Format:
    """One file format.

    `write` is None when labels cannot go there, and `refusal` says why; `holds_times` where (t, z, y, x) can;
    `holds_places` where it says more of a grid than its spacing.
    """

    name: str
    read: _Reader
    write: Callable[[Path, NDArray[Any], VolumeRecord], None] | None
    refusal: str = ""
    holds_times: bool = False
    holds_places: bool = True


def _write_dicom_seg(
    path: Path, labels: NDArray[Any], record: VolumeRecord, classes: LabelNames | None = None
) -> None:
    from napari_medicosam.io.dicom_seg import write_dicom_seg  # highdicom takes half a second to import

    write_dicom_seg(path, labels, record, classes)


_NIFTI = _Format("NIfTI", read_nifti, write_nifti_labels, holds_times=True)
_NRRD = _Format("NRRD", read_itk, write_itk)
_META = _Format("MetaImage", read_itk, write_itk)
_TIFF = _Format("TIFF", read_tiff, write_tiff, holds_places=False)
_DETACHED = "its header and voxels would be two files, which cannot be replaced at once: use {}"
_DICOM = _Format("DICOM", read_dicom, _write_dicom_seg)
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
    ".png": _Format("PNG", read_picture, write_picture, holds_places=False),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".bmp": replace(_JPEG, name="BMP", refusal="use .png, which is smaller and as exact"),
    **dict.fromkeys(PAIR_SUFFIXES, _Format("NIfTI", read_nifti, None, _DETACHED.format(".nii.gz"))),
    **dict.fromkeys(DICOM_SUFFIXES, _DICOM),
}
"""File name endings that we know, in lower case."""


def suffix_of(path: str | PathLike[str]) -> str | None:
    """The known ending of a file name in lower case (".nii.gz" as one), None for an unknown one."""
    name = Path(path).name.lower()
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)


def read_volume(path: str | PathLike[str], *, palette_indices: bool = False) -> Volume:
    """Read an image: NIfTI, NRRD, MetaImage, TIFF, PNG, JPEG, BMP, by the ending of its name; DICOM; or OME-Zarr.

    Args:
        path: the file; of DICOM also a folder with a series, or "FOLDER#2" for the second of several volumes in it
            (`read_dicom`); of OME-Zarr the folder or the http(s) address, of which nothing is read before it is indexed
            (`read_ome_zarr` says how to name a channel).
        palette_indices: of a palette image (PNG, TIFF) take the indices, which are the labels of a class map,
            and not the colours.

    Raises:
        FileError: for a file that is missing, unknown, damaged, empty, not 2D or 3D, not of real numbers, or whose
            affine is not finite and invertible.
    """
    if is_ome_zarr(path):
        return read_ome_zarr(path)
    path = Path(path)
    if (path.is_dir() or suffix_of(path) in (None, *PAIR_SUFFIXES)) and is_dicom(path):
        return read_dicom(path, palette_indices=palette_indices)
    if path.is_dir():
        raise FileError(f"{path} is a folder without DICOM files: wanted an image file")
    _, file_format = _format_of(path)
    if not path.is_file():
        raise FileError(f"{path} does not exist: wanted an image file")
    with errors_of_reading(path, file_format.name):
        if path.stat().st_size == 0:
            raise FileError(f"{path} is empty (0 bytes): wanted a {file_format.name} file")
        return file_format.read(path, palette_indices=palette_indices)


def read_labels(path: str | PathLike[str]) -> Volume:
    """Read an integer label map. Of a palette image the indices are taken, not the colours.

    Floats are taken when all are whole numbers, and cast to the smallest integer type that holds them.

    Raises:
        FileError: as `read_volume`; for RGB; for values that are not whole numbers.
    """
    path = Path(path)
    volume = read_volume(path, palette_indices=True)
    volume = replace(volume, array=np.asarray(volume.array))
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
    path: str | PathLike[str], like: Volume | VolumeRecord, *, overwrite: bool = False, num_times: int = 1
) -> None:
    """Raise `FileError` now for what `write_labels` would refuse after hours of work, of so many time points.

    An empty label map is written beside `path` and removed again: that finds a missing folder, an old file, a format
    that cannot hold this grid, and a place where nothing may be written.
    """
    record = like.record if isinstance(like, Volume) else like

    def refuse_to_stay(temporary: Path) -> None:
        raise _DryRunError

    with suppress(_DryRunError):
        if is_labels_target(Path(path)):
            write_ome_zarr_labels(
                Path(path), None, record, refuse_to_stay, overwrite=overwrite, num_times=num_times
            )
        shape = record.geometry.shape_zyx
        empty = empty_label_map(shape if num_times == 1 else (num_times, *shape), np.uint8)
        _write(Path(path), empty, record, refuse_to_stay, overwrite)


def write_labels(
    path: str | PathLike[str],
    labels_zyx: ArrayLike,
    like: Volume | VolumeRecord,
    *,
    overwrite: bool = False,
    classes: LabelNames | None = None,
) -> None:
    """Write a label map on the grid of `like`, in the format that the ending of `path` names.

    To the format of `like` itself goes the very same grid as its file states it (for NIfTI: sform, qform, codes and
    units, bit for bit); to another one its geometry, converted. Written beside, read back and compared, then moved.

    Args:
        path: .nii.gz, .nii, .nrrd, .mha, .tif, .tiff or (2D) .png; NAME.zarr, or IMAGE.zarr/labels/NAME in an image
            that is there (see `write_ome_zarr_labels`); .dcm for a DICOM segmentation of an image that came from DICOM
            (see `write_dicom_seg`).
        labels_zyx: whole numbers >= 0 (z, y, x), or bool; stored as the smallest of uint8, uint16, uint32. In .nii.gz,
            .nii and .zarr also volumes over time (t, z, y, x).
        like: the image that was segmented (of volumes over time, one of them), or its record.
        overwrite: whether an old file may be replaced.
        classes: what labels are called, for .dcm; other formats hold numbers only.

    Raises:
        InputError: for labels of another shape than the image, that are negative, too large or no integers.
        FileError: for a file that exists, a format that cannot hold this grid or these labels, or a failed write.
    """
    path = Path(path)
    record = like.record if isinstance(like, Volume) else like
    labels = _smallest_labels(labels_zyx, record.geometry.shape_zyx)
    _write(
        path, labels, record, lambda temporary: _verify(temporary, path, labels, record), overwrite, classes
    )


class _DryRunError(MedicoSamError):
    """Ends a write before the move."""


def _write(
    path: Path,
    labels: NDArray[Any],
    record: VolumeRecord,
    verify: Callable[[Path], None],
    overwrite: bool,
    classes: LabelNames | None = None,
) -> None:
    if is_labels_target(path):
        num_times = len(labels) if labels.ndim == 4 else 1
        write_ome_zarr_labels(path, labels, record, verify, overwrite=overwrite, num_times=num_times)
        return
    suffix, file_format = _format_of(path)
    write = file_format.write
    if labels.ndim == 4 and not file_format.holds_times:
        raise FileError(
            f"cannot write {path}: {file_format.name} takes one volume, got {len(labels)} time points"
        )
    if write is None:
        raise FileError(f"cannot write labels to {path}: {file_format.refusal}")
    if file_format is _DICOM:
        write = partial(_write_dicom_seg, classes=classes)
    replace_file(
        path, suffix, lambda temporary: write(temporary, labels, record), verify, overwrite=overwrite
    )


def _format_of(path: Path) -> tuple[str, _Format]:
    suffix = suffix_of(path)
    if suffix is None:
        raise FileError(
            f"cannot tell the format of {path}: wanted a name ending in {', '.join((*FORMATS, ENDING))}"
        )
    return suffix, FORMATS[suffix]


def holds_times(path: str | PathLike[str]) -> bool:
    """True for a name that labels over time (t, z, y, x) can be written to as one file."""
    suffix = suffix_of(path)
    return is_labels_target(Path(path)) or (suffix is not None and FORMATS[suffix].holds_times)


def holds_places(path: str | PathLike[str]) -> bool:
    """False for a name of a format that knows neither position nor directions."""
    suffix = suffix_of(path)
    return suffix is None or FORMATS[suffix].holds_places


def _smallest_labels(labels_zyx: ArrayLike, shape_zyx: tuple[int, int, int]) -> NDArray[Any]:
    """`labels_zyx`, checked, as C-contiguous uint8, uint16 or uint32."""
    labels = np.asarray(labels_zyx)
    if labels.shape[-3:] != shape_zyx or labels.ndim > 4:
        raise InputError(f"labels must have the image's shape (z, y, x) = {shape_zyx}, got {labels.shape}")
    if labels.dtype.kind not in "uib":
        raise InputError(f"labels must be integers, got dtype {labels.dtype}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise InputError(f"labels must not be negative, got {low}")
    if high > np.iinfo(np.uint32).max:
        raise InputError(f"labels must be at most {np.iinfo(np.uint32).max}, got {high}")
    return np.ascontiguousarray(labels, dtype=np.min_scalar_type(high))


def _read_back(path: Path, record: VolumeRecord, ndim: int) -> list[Volume]:
    if ndim == 4:
        return read_over_time(path)
    if is_ome_zarr(path):
        return [read_volume(path)]
    if suffix_of(path) not in DICOM_SUFFIXES:
        return [read_labels(path)]
    from napari_medicosam.io.dicom_seg_reading import read_dicom_seg

    return [read_dicom_seg(path, record)]  # it leaves out slices without labels


def _verify(temporary: Path, path: Path, labels: NDArray[Any], record: VolumeRecord) -> None:
    """Raise `FileError` unless the file that was just written gives the same labels on the same grid."""
    volumes = _read_back(temporary, record, labels.ndim)
    wanted = labels if labels.ndim == 4 else labels[None]
    for volume in volumes:
        check_same_grid(path, volume.geometry, record.geometry)
    # A slice at a time: to compare large label maps should not take as much memory again.
    is_same = len(volumes) == len(wanted) and all(
        np.array_equal(got, slice_yx)
        for volume, one in zip(volumes, wanted, strict=True)
        for got, slice_yx in zip(volume.array, one, strict=True)
    )
    if not is_same:
        raise FileError(
            f"cannot write {path}: read back, its labels are not what was written. The file was not made"
        )
