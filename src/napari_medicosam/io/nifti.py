"""NIfTI 1 and 2 through nibabel: the affine that nibabel shows goes in and comes out bit for bit."""

from __future__ import annotations

import gzip
import warnings
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
    shape_over_time,
    spatial_shape,
)
from napari_medicosam.io.nifti_pairs import header_class_of, is_pair_name, opened, pair_of, placing_header
from napari_medicosam.io.records import FileHeader, NiftiGrid, Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

    from napari_medicosam.io.records import VolumeRecord

_MM_PER_UNIT = {1: 1e3, 2: 1.0, 3: 1e-3}
"""NIfTI's codes for metre, millimetre and micrometre. Without a code the numbers are taken for millimetres."""

_MAX_TRAILING = 16 << 20
_SPACE_UNITS = 0b111
_MILLIMETRES = 2
_SCANNER = 1
_SHEAR_TOLERANCE = 1e-4


def read_nifti(path: Path, *, palette_indices: bool = False) -> Volume:
    """Read a .nii or .nii.gz file (told apart by content), or of .hdr and .img both by the name of either.

    Scaled files give the scaled values (float64), others keep their dtype. Files in metres or micrometres get a
    geometry in millimetres, as ITK does it; the header record keeps their own numbers. Analyze 7.5 is read as a NIfTI
    file without a place in the patient, with a warning.
    """
    del palette_indices  # NIfTI has no palettes
    (volume,) = _read(path, spatial_shape)
    return volume


def read_nifti_times(path: Path) -> list[Volume]:
    """As `read_nifti`, of a file with a fourth axis all that lies along it: volumes over time, echoes, b-values."""
    return _read(path, shape_over_time)


def _read(path: Path, shape_of: Callable[[Path, Sequence[int]], tuple[int, ...]]) -> list[Volume]:
    header_path, voxel_path = pair_of(path) if is_pair_name(path) else (path, path)
    with opened(header_path) as stream:
        header_class = header_class_of(path, stream)
        # The header alone: extensions are not needed, and one that lies about its size would get the memory.
        block = stream.read(header_class.template_dtype.itemsize)
    header = header_class(block)
    shape_ijk = shape_of(path, header.get_data_shape())
    data = _voxels(voxel_path, header, shape_ijk)
    array, is_rgb = _tzyx(path, data.reshape(shape_ijk, order="F"))
    placing = placing_header(header)
    if placing is not header:
        warnings.warn(
            f"{path.name} is Analyze 7.5, which does not say how the patient lies: left and right may be swapped, and "
            f"its place is unknown. Only the spacing is taken",
            stacklevel=2,
        )
    native = _grid_of(placing)
    unit_code = native.xyzt_units & _SPACE_UNITS
    stored = header_class(block, check=False)
    is_in_mm = unit_code in _MM_PER_UNIT and _has_spacing(stored, native.sform_code, array.shape[1:4])
    z, y, x = array.shape[1:4]
    affine = _with_slice_axis(placing.get_best_affine(), z)
    affine[:3] *= _MM_PER_UNIT.get(unit_code, 1.0)
    geometry = Geometry((z, y, x), affine)
    file_header = FileHeader("nifti", "mm" if is_in_mm else None, native)
    return [Volume(one, geometry, is_rgb, len(shape_ijk) == 2, file_header) for one in array]


def _voxels(path: Path, header: Any, shape_ijk: tuple[int, ...]) -> NDArray[Any]:
    """What `header` promises, after its scaling."""
    dtype = header.get_data_dtype()
    with opened(path) as stream:
        is_gzipped = isinstance(stream, gzip.GzipFile)
        check_data_size(
            path,
            num_bytes_of(shape_ijk, dtype.itemsize),
            DEFLATE_MAX_RATIO if is_gzipped else 1,
            0 if is_gzipped else header.get_data_offset(),
        )
        if dtype.kind == "c":
            raise FileError(
                f"{path} holds complex numbers ({dtype}): wanted integers or floating point numbers"
            )
        # Not memory-mapped: whoever replaces the file must not change an open volume.
        data = np.asanyarray(nibabel.arrayproxy.ArrayProxy(stream, header, mmap=False))
        if is_gzipped:
            _read_to_end(path, stream)
    return data


def write_nifti(path: Path, array: NDArray[Any], record: VolumeRecord) -> None:
    """Write labels or an image, (z, y, x[, 3]); with the placing fields of `record.header` when it has NIfTI ones.

    Everything else in the header is new, so descriptions, database names and extensions are not carried over.

    Raises:
        FileError: for colours with 16 bits.
    """
    array = _rgb24(path, array) if array.ndim == 4 else array
    # A slice of a patient needs three axes to say where it lies: ITK opens no 2D file that is not axial.
    is_2d = record.is_2d and (isinstance(record.header.native, NiftiGrid) or not record.is_oriented)
    _write(path, array[0].T if is_2d else array.T, record)


def write_nifti_labels(path: Path, labels: NDArray[Any], record: VolumeRecord) -> None:
    """As `write_nifti`; a fourth axis, the first of (t, z, y, x), is time."""
    if labels.ndim == 4:
        _write(path, labels.T, record)
    else:
        write_nifti(path, labels, record)


def _write(path: Path, data_ijk: NDArray[Any], record: VolumeRecord) -> None:
    native = record.header.native
    is_double = isinstance(native, NiftiGrid) and native.version == 2
    image_class: Any = nibabel.Nifti2Image if is_double else nibabel.Nifti1Image
    header = image_class.header_class()
    header.set_data_dtype(data_ijk.dtype)
    header.set_data_shape(data_ijk.shape)
    if isinstance(native, NiftiGrid):
        _set_grid(header, native)
    else:
        _set_affine(header, record)
    image_class(data_ijk, header.get_best_affine(), header).to_filename(path)


def _read_to_end(path: Path, stream: IO[bytes]) -> None:
    """Only at its end does gzip compare the checksum. What follows and is no gzip is left alone, as by gzip itself."""
    for _ in range(_MAX_TRAILING >> 20):
        try:
            if not stream.read(1 << 20):
                return
        except gzip.BadGzipFile as error:
            if str(error).startswith("Not a gzipped file"):
                return
            raise
    raise FileError(
        f"{path} goes on for more than {_MAX_TRAILING >> 20} MB behind the voxels that its header promises: wanted one "
        f"image, whose header says how large it is"
    )


def _has_spacing(stored: Any, sform_code: int, shape_zyx: tuple[int, ...]) -> bool:
    """False for a grid of zero spacing, of which nibabel makes one of 1; an sform does without that field."""
    used = stored["pixdim"][1:4][np.array(shape_zyx[::-1]) > 1]
    return sform_code > 0 or bool(used.all())


def _tzyx(path: Path, data_ijk: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Array (t, z, y, x) or (t, z, y, x, 3), and whether it is RGB, of nibabel's (i, j[, k[, t]])."""
    data = data_ijk.reshape((*data_ijk.shape, 1, 1)[:4], order="F")
    data_kji = np.ascontiguousarray(data.T)
    names = data_kji.dtype.names
    if names is None:
        return real_array(path, data_kji), False
    channels = data_kji.view(np.uint8).reshape(*data_kji.shape, len(names))
    return rgb_array(path, channels), True


def _rgb24(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """NIfTI's colours (z, y, x), a record a voxel, of (z, y, x, 3)."""
    if array.dtype != np.uint8:
        raise FileError(
            f"cannot write {path}: NIfTI holds colours of 8 bits, got {array.dtype}. Use .nrrd or .mha"
        )
    return np.ascontiguousarray(array).view([(name, np.uint8) for name in "RGB"])[..., 0]


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
    header.set_zooms((*record.geometry.spacing_zyx[::-1], 1.0)[: len(header.get_data_shape())])
    header["pixdim"][1:4] = record.geometry.spacing_zyx[::-1]
    header.set_sform(affine, _SCANNER)
    if not is_sheared(record.geometry):
        header.set_qform(affine, _SCANNER)
    header["xyzt_units"] = _MILLIMETRES if record.header.unit == "mm" else 0


def is_sheared(geometry: Geometry) -> bool:
    """True when the index axes are not at right angles, which only NIfTI's sform can say."""
    directions = geometry.affine_ras[:3, :3] / np.linalg.norm(geometry.affine_ras[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > _SHEAR_TOLERANCE)
