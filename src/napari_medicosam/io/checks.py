"""Questions that every format asks: is it 3D, is it all there, are these real numbers, is alpha in use."""

from __future__ import annotations

import math
import re
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import Geometry

DEFLATE_MAX_RATIO = 1032
"""Deflate (gzip, zlib) cannot shrink data more than this many times."""

_TOLERANCE_MM = 1e-3
_TOLERANCE_VOXELS = 1e-2
"""What was written may lie off by the smaller of the two. NIfTI-1 stores an origin of a metre to 6e-5 mm, so a
stricter limit would refuse sound files of fine grids."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_OR_ZLIB = 47  # zlib's number for either
_PIECE = 1 << 20


def spatial_shape(path: Path, shape_ijk: Sequence[int]) -> tuple[int, ...]:
    """The 2 or 3 spatial sizes of a file, (i, j) or (i, j, k); further axes of size 1 are dropped.

    Raises:
        FileError: for one dimension, more than three, or no voxels at all.
    """
    shape = tuple(int(n) for n in shape_ijk)
    if any(n < 1 for n in shape):
        raise FileError(f"{path} is empty: its header says shape {shape}, wanted at least one voxel an axis")
    if len(shape) < 2:
        raise FileError(f"{path} has shape {shape}: wanted a 2D or 3D image")
    if any(n > 1 for n in shape[3:]):
        raise FileError(
            f"{path} is {len(shape)}D, shape {shape} (fastest axis first): wanted one 2D or 3D image. "
            f"Save one time point or channel to a file of its own first"
        )
    return shape[:3]


def shape_over_time(path: Path, shape_ijk: Sequence[int]) -> tuple[int, ...]:
    """(i, j, k, t), or as `spatial_shape` where there is one time point."""
    num_times = int(shape_ijk[3]) if len(shape_ijk) > 3 else 1
    spatial = spatial_shape(path, [*shape_ijk[:3], *shape_ijk[4:]] if num_times > 1 else shape_ijk)
    return (*spatial, num_times) if num_times > 1 else spatial


def check_data_size(path: Path, num_bytes: int, max_ratio: int = 1, offset: int = 0) -> None:
    """Raise `FileError` when `path` is too small for what its header says, before memory is asked for.

    Args:
        path: the file that holds the voxels.
        num_bytes: size of the voxels in memory.
        max_ratio: how much the file's compression can save at most; 1 for none.
        offset: where the voxels begin.
    """
    check_room(path, num_bytes, path.stat().st_size - offset, max_ratio)


def check_room(path: Path, num_bytes: int, available: int, max_ratio: int) -> None:
    """As `check_data_size`, when the bytes that there are have been counted already."""
    if num_bytes > available * max_ratio:
        raise FileError(
            f"{path} is truncated or its header is wrong: the header says {num_bytes} bytes of voxels, "
            f"the file has room for {max(available, 0)}"
            + ("" if max_ratio == 1 else f" bytes compressed at most {max_ratio} times")
        )


def check_deflated(path: Path, num_bytes: int, offset: int) -> None:
    """Raise `FileError` unless gzip or zlib data unpack to `num_bytes`; their checksum is compared, nothing is kept.

    Args:
        path: the file.
        num_bytes: what there should be.
        offset: where the data begin.

    Raises:
        FileError: for another number of bytes.
        zlib.error: for damaged data.
    """
    done = 0
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    with path.open("rb") as stream:
        stream.seek(offset)
        packed = stream.read(_PIECE)
        while packed and done <= num_bytes:
            done += len(unpacker.decompress(packed, _PIECE))
            packed = unpacker.unconsumed_tail or unpacker.unused_data or stream.read(_PIECE)
            if unpacker.eof:
                if packed[:2] != _GZIP_MAGIC:  # gzip may come in several parts
                    break
                unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    if done != num_bytes or not unpacker.eof:
        more = "at least " if done > num_bytes else ""
        raise FileError(
            f"{path} is damaged or its header is wrong: the header says {num_bytes} bytes of voxels, {more}{done} "
            f"could be unpacked"
        )


def num_bytes_of(shape: Sequence[int], itemsize: int) -> int:
    """Bytes in memory, counted in Python's integers: a header that lies must not overflow."""
    return math.prod(int(n) for n in shape) * itemsize


def real_array(path: Path | str, array: NDArray[Any]) -> NDArray[Any]:
    """`array` as native-endian, C-contiguous integers, float32 or float64; copied only where it must be.

    Raises:
        FileError: for complex numbers and anything else that is not a real number.
    """
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind not in "uif":
        raise FileError(f"{path} holds {array.dtype} values: wanted integers or floating point numbers")
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize not in (
        4,
        8,
    ):  # half and extended precision: few libraries take them
        dtype = np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    return np.ascontiguousarray(array, dtype=dtype)


def rgb_array(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """(..., 3) colours of an array (..., channels) with 3 or 4 channels.

    An alpha channel is dropped when it is opaque everywhere. Otherwise what the picture shows depends on a
    background that we do not know, so it is refused.

    Raises:
        FileError: for another number of channels, colours that are not uint8 or uint16, or alpha in use.
    """
    num_channels = array.shape[-1]
    if num_channels not in (3, 4):
        raise FileError(f"{path} has {num_channels} values a voxel: wanted one (grey) or three (RGB)")
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise FileError(
            f"{path} has {num_channels} {array.dtype} values a voxel: wanted 8 or 16 bit RGB, or one"
        )
    if num_channels == 4:
        check_opaque(path, array[..., 3])
    return np.ascontiguousarray(array[..., :3])


def check_opaque(path: Path, alpha: NDArray[Any]) -> None:
    """Raise `FileError` when a transparency channel of unsigned integers is in use."""
    if (alpha != np.iinfo(alpha.dtype).max).any():
        raise FileError(
            f"{path} is partly transparent: wanted an opaque image. Flatten or remove its alpha channel"
        )


def check_same_grid(path: Path, written: Geometry, wanted: Geometry) -> None:
    """Raise `FileError` unless a file that was just written has, read back, the grid that it should have.

    Args:
        path: what the file will be called.
        written: as read back.
        wanted: of the image.
    """
    tolerance_mm = min(_TOLERANCE_MM, _TOLERANCE_VOXELS * min(wanted.spacing_zyx))
    if not written.equals(wanted, tolerance_mm):
        raise FileError(
            f"cannot write {path}: read back, its geometry is another one than the image's:\n"
            f"shape {written.shape_zyx}, affine\n{written.affine_ras}\n"
            f"wanted shape {wanted.shape_zyx}, affine\n{wanted.affine_ras}\n"
            f"The file was not made"
        )


@contextmanager
def errors_of_reading(path: Path, format_name: str) -> Iterator[None]:
    """What goes wrong inside is a `FileError`: libraries raise anything from struct.error to RuntimeError."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        raise FileError(
            f"cannot read {path} as {format_name}, the file may be damaged: {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """What a library has to say, in one line; ITK puts places of its own source code in front of it."""
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    said = re.sub(
        r"^.*(ERROR: |\[nrrd\] \w+: |xx:\d+:\s|\(0x\w+\): )", "", str(error).strip(), flags=re.DOTALL
    )
    return " ".join(said.split()) or type(error).__name__


def is_plain_grid(geometry: Geometry) -> bool:
    """True for a grid without rotation, flip, shear or offset, all that TIFF can say."""
    z, y, x = geometry.spacing_zyx
    return bool(np.array_equal(geometry.affine_ras, np.diag([x, y, z, 1.0])))
