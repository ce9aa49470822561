"""All time points of one file or series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import errors_of_reading
from napari_medicosam.io.dicom import find_dicom, is_dicom, times_of, volume_of
from napari_medicosam.io.itk import ITK_SUFFIXES, read_itk_times
from napari_medicosam.io.nifti import read_nifti_times
from napari_medicosam.io.nifti_pairs import PAIR_SUFFIXES
from napari_medicosam.io.ome_zarr import read_ome_zarr_times
from napari_medicosam.io.ome_zarr_paths import is_ome_zarr

if TYPE_CHECKING:
    from os import PathLike

    from napari_medicosam.io.records import Volume

NIFTI_SUFFIXES = (".nii.gz", ".nii", *PAIR_SUFFIXES)
TIME_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)
"""Endings of files that may hold volumes over time, in lower case."""


def read_over_time(path: str | PathLike[str]) -> list[Volume]:
    """Volumes on one grid, a time point each, in order; one where there is no time.

    Args:
        path: a NIfTI, NRRD or MetaImage file, an OME-Zarr image ("scan.ome.zarr#c=1" where it has channels), or a DICOM
            file or folder.

    Raises:
        FileError: for another format, what cannot be read, and a folder with several series over time.
    """
    if is_ome_zarr(path):
        return read_ome_zarr_times(path)
    path = Path(path)
    is_pair = path.name.lower().endswith(PAIR_SUFFIXES)
    if path.name.lower().endswith(TIME_SUFFIXES) and not (is_pair and is_dicom(path)):
        is_nifti = path.name.lower().endswith(NIFTI_SUFFIXES)
        if not path.is_file() or path.stat().st_size == 0:
            what = "is empty (0 bytes)" if path.is_file() else "does not exist"
            raise FileError(f"{path} {what}: wanted an image file")
        with errors_of_reading(path, "NIfTI" if is_nifti else "NRRD or MetaImage"):
            return read_nifti_times(path) if is_nifti else read_itk_times(path)
    if not is_dicom(path):
        raise FileError(
            f"{path} holds no volumes over time: wanted NIfTI, NRRD, MetaImage, OME-Zarr or DICOM"
        )
    series = times_of(find_dicom([path]).stacks)
    over_time = [stacks for stacks in series if len(stacks) > 1] or series
    if len(over_time) != 1:
        raise FileError(f"{path} holds {len(over_time)} series over time: wanted the folder of one")
    return [volume_of(stack) for stack in over_time[0]]
