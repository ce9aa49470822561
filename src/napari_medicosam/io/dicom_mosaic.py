"""Siemens mosaics: the slices of a volume side by side in one picture, told apart by the scanner's private header."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import FileError
from napari_medicosam.io.dicom_files import read_dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.io.dicom_headers import DicomFile, DicomFrame

_SAME_DIRECTION = 1e-3


def split_mosaic(file: DicomFile, picture: DicomFrame) -> tuple[DicomFile, tuple[DicomFrame, ...]] | None:
    """The file and its slices, of one picture that holds them all; None where the scanner's header is gone.

    Raises:
        FileError: for a picture that cannot hold so many slices.
    """
    from nibabel.nicom import csareader  # warns on import that it knows Siemens only

    dataset = read_dataset(file.path, stop_before_pixels=True)
    header: Any = csareader.get_csa_header(dataset)
    num_slices = int((header and csareader.get_n_mosaic(header)) or 0)
    told = csareader.get_slice_normal(header) if header else None
    step = abs(float(dataset.get("SpacingBetweenSlices") or 0)) or picture.thickness_mm
    if num_slices < 1 or told is None or picture.position_mm is None or not step:
        return None
    if picture.directions is None or picture.spacing_yx is None:
        return None
    num_tiles = math.isqrt(num_slices - 1) + 1
    rows, columns = (size // num_tiles for size in file.size_yx)
    if (rows * num_tiles, columns * num_tiles) != file.size_yx or file.num_frames > 1 or file.num_samples > 1:
        raise FileError(
            f"{file.path} is damaged: {num_slices} slices do not fit side by side in {file.size_yx} pixels"
        )
    normal = np.cross(*picture.directions)
    along = float(np.dot(normal, told))  # which way the slices follow each other is said there alone
    if not abs(abs(along) - 1) < _SAME_DIRECTION:
        raise FileError(f"{file.path} is damaged: its slices do not follow each other along their normal")
    # The place of the file is that of a picture of one slice, as large as the mosaic, around the same centre.
    y, x = picture.spacing_yx
    down, right = (file.size_yx[0] - rows) / 2 * y, (file.size_yx[1] - columns) / 2 * x
    first_mm = picture.position_mm + down * picture.directions[1] + right * picture.directions[0]
    taken_apart = replace(
        file, size_yx=(rows, columns), num_frames=num_slices, num_tiles=num_tiles, is_mosaic=False
    )
    frames = tuple(
        replace(
            picture,
            file=taken_apart,
            index=index,
            position_mm=first_mm + index * step * math.copysign(1, along) * normal,
            order=(*picture.order[:-1], index),
        )
        for index in range(num_slices)
    )
    return taken_apart, frames


def slices_of(picture: NDArray[Any], file: DicomFile) -> NDArray[Any]:
    """The slices (z, y, x) of a mosaic (y, x)."""
    rows, columns = file.size_yx
    tiles = picture.reshape(file.num_tiles, rows, file.num_tiles, columns).swapaxes(1, 2)
    return tiles.reshape(-1, rows, columns)[: file.num_frames]
