"""NIfTI 1 and 2 through nibabel: the affine that nibabel shows goes in and comes out bit for bit."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import (
    DEFLATE_MAX_RATIO,
    check_data_size,
    num_bytes_of,
    real_array,
    rgb_array,
    spatial_shape,
)
from napari_medicosam.io.records import FileHeader, NiftiGrid, Volume

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

    from napari_medicosam.io.records import VolumeRecord

_MM_PER_UNIT = {1: 1e3, 2: 1.0, 3: 1e-3}
"""NIfTI's codes for metre, millimetre and micrometre. Without a code the numbers are taken for millimetres."""

_SPACE_UNITS = 0b111
_MILLIMETRES = 2
_SCANNER = 1
_SHEAR_TOLERANCE = 1e-4


def read_nifti(path: Path, *, palette_indices: bool = False) -> Volume:
    """Read a .nii or .nii.gz file (told apart by content).

    Scaled files give the scaled values (float64), others keep their dtype. Files in metres or micrometres get a
    geometry in millimetres, as ITK does it; the header record keeps their own numbers.
    """
    del palette_indices  # NIfTI has no palettes
    with path.open("rb") as raw:
        is_gzipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream: Any = gzip.GzipFile(fileobj=raw) if is_gzipped else raw
        image_class = _image_class(path, stream)
        # Not memory-mapped: whoever replaces the file must not change an open volume.
        image = image_class.from_file_map(image_class.make_file_map({"image": stream}), mmap=False)
        dtype = image.get_data_dtype()
        shape_ijk = spatial_shape(path, image.shape)
        check_data_size(
            path,
            num_bytes_of(shape_ijk, dtype.itemsize),
            DEFLATE_MAX_RATIO if is_gzipped else 1,
            0 if is_gzipped else image.header.get_data_offset(),
        )
        if dtype.kind == "c":
            raise FileError(
                f"{path} holds complex numbers ({dtype}): wanted integers or floating point numbers"
            )
        data = np.asanyarray(image.dataobj)
        while is_gzipped and stream.read(1 << 20):  # only at its end does gzip compare the checksum
            pass
    array, is_rgb = _zyx(path, data.reshape(shape_ijk, order="F"))
    header = image.header
    native = _grid_of(header)
    unit_code = native.xyzt_units & _SPACE_UNITS
    affine = _with_slice_axis(header.get_best_affine(), array.shape[0])
    affine[:3] *= _MM_PER_UNIT.get(unit_code, 1.0)
    z, y, x = array.shape[:3]
    return Volume(
        array,
        Geometry((z, y, x), affine),
        is_rgb,
        len(shape_ijk) == 2,
        FileHeader("nifti", "mm" if unit_code in _MM_PER_UNIT else None, native),
    )


def write_nifti(path: Path, labels_zyx: NDArray[Any], record: VolumeRecord) -> None:
    """Write labels, uint8/16/32 (z, y, x); with the placing fields of `record.header` when it has NIfTI ones.

    Everything else in the header is new, so descriptions, database names and extensions are not carried over.
    """
    native = record.header.native
    is_double = isinstance(native, NiftiGrid) and native.version == 2
    image_class: Any = nibabel.Nifti2Image if is_double else nibabel.Nifti1Image
    data_ijk = labels_zyx[0].T if record.is_2d else labels_zyx.T
    header = image_class.header_class()
    header.set_data_dtype(labels_zyx.dtype)
    header.set_data_shape(data_ijk.shape)
    if isinstance(native, NiftiGrid):
        _set_grid(header, native)
    else:
        _set_affine(header, record)
    image_class(data_ijk, header.get_best_affine(), header).to_filename(path)


def _image_class(path: Path, stream: IO[bytes]) -> Any:
    """Nifti1Image or Nifti2Image, by the size of the header that the file begins with."""
    start = stream.read(4)
    stream.seek(0)
    sizes = {struct.unpack(f"{order}i", start)[0] for order in "<>"} if len(start) == 4 else set()
    if 348 in sizes:
        return nibabel.Nifti1Image
    if 540 in sizes:
        return nibabel.Nifti2Image
    raise FileError(
        f"{path} is not a NIfTI file: it begins with {start!r}, wanted a header of 348 or 540 bytes"
    )


def _zyx(path: Path, data_ijk: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Array (z, y, x) or (z, y, x, 3), and whether it is RGB, of nibabel's (i, j[, k])."""
    data = data_ijk if data_ijk.ndim == 3 else data_ijk[:, :, None]
    data_kji = np.ascontiguousarray(data.T)
    names = data_kji.dtype.names
    if names is None:
        return real_array(path, data_kji), False
    channels = data_kji.view(np.uint8).reshape(*data_kji.shape, len(names))
    return rgb_array(path, channels), True


def _with_slice_axis(affine: NDArray[np.float64], num_slices: int) -> NDArray[np.float64]:
    """`affine` in float64; one slice may come without thickness, and then gets one of 1 along its normal."""
    affine = np.array(affine, dtype=np.float64)
    if num_slices == 1 and np.isfinite(affine).all() and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        length = np.linalg.norm(normal)
        affine[:3, 2] = normal / length if length else 0
    return affine


def _grid_of(header: Any) -> NiftiGrid:
    return NiftiGrid(
        version=2 if isinstance(header, nibabel.Nifti2Header) else 1,
        pixdim=tuple(header["pixdim"].tolist()),
        quatern=tuple(float(header[f"quatern_{name}"]) for name in "bcd"),
        qoffset=tuple(float(header[f"qoffset_{name}"]) for name in "xyz"),
        srow=tuple(v for name in "xyz" for v in header[f"srow_{name}"].tolist()),
        qform_code=int(header["qform_code"]),
        sform_code=int(header["sform_code"]),
        xyzt_units=int(header["xyzt_units"]),
    )


def _set_grid(header: Any, grid: NiftiGrid) -> None:
    header["pixdim"] = grid.pixdim
    for i, name in enumerate("bcd"):
        header[f"quatern_{name}"] = grid.quatern[i]
    for i, name in enumerate("xyz"):
        header[f"qoffset_{name}"] = grid.qoffset[i]
        header[f"srow_{name}"] = grid.srow[4 * i : 4 * i + 4]
    header["qform_code"] = grid.qform_code
    header["sform_code"] = grid.sform_code
    header["xyzt_units"] = grid.xyzt_units


def _set_affine(header: Any, record: VolumeRecord) -> None:
    """Set the sform, and the qform too where it can say the same; as ITK writes them."""
    affine = record.geometry.affine_ras
    header.set_zooms(record.geometry.spacing_zyx[::-1][: len(header.get_data_shape())])
    header["pixdim"][1:4] = record.geometry.spacing_zyx[::-1]
    header.set_sform(affine, _SCANNER)
    if not is_sheared(record.geometry):
        header.set_qform(affine, _SCANNER)
    header["xyzt_units"] = _MILLIMETRES if record.header.unit == "mm" else 0


def is_sheared(geometry: Geometry) -> bool:
    """True when the index axes are not at right angles, which only NIfTI's sform can say."""
    directions = geometry.affine_ras[:3, :3] / np.linalg.norm(geometry.affine_ras[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR_TOLERANCE)
