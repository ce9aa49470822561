"""NIfTI and Analyze 7.5 in two files: which belong together, and what their header is."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING, Any, cast

import nibabel
import numpy as np

from napari_medicosam.errors import FileError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")
"""Endings of either file, in lower case. Other programs use them, too, so what lies in a file decides."""

_HEADER_ENDINGS = (".hdr", ".hdr.gz")
_VOXEL_ENDINGS = (".img", ".img.gz")
_MILLIMETRES = 2


def is_pair_name(path: Path) -> bool:
    """True for a name of one of two files."""
    return path.name.lower().endswith(PAIR_SUFFIXES)


def is_pair(path: Path) -> bool:
    """True when the header of the two files that `path` is one of is that of NIfTI or Analyze."""
    is_header = path.name.lower().endswith(_HEADER_ENDINGS)  # without voxels it is one all the same
    try:
        header = path if is_header else pair_of(path)[0]
        if not header.is_file():  # to open a pipe would wait for ever
            return False
        with opened(header) as stream:
            return header_class_of(path, stream) is not None
    except (FileError, OSError, EOFError):
        return False


def is_other_half(path: Path) -> bool:
    """True for a header whose voxels are in a file beside it: of the two the latter counts where images are listed."""
    if not path.name.lower().endswith(_HEADER_ENDINGS):
        return False
    try:
        return path != pair_of(path)[1]
    except FileError:
        return False


def pair_of(path: Path) -> tuple[Path, Path]:
    """The header and the voxels of the two files of which `path` is one; once more itself where it holds both.

    Raises:
        FileError: when the other one is not there.
    """
    suffix = next(ending for ending in PAIR_SUFFIXES[::-1] if path.name.lower().endswith(ending))
    stem = path.name[: -len(suffix)]
    is_header = suffix in _HEADER_ENDINGS
    if _holds_both(path):
        return path, path
    # The names of old systems are all in upper case.
    names = [stem + ending for ending in (_VOXEL_ENDINGS if is_header else _HEADER_ENDINGS)]
    others = [path.with_name(one) for name in names for one in (name, stem + name[len(stem) :].upper())]
    other = next((one for one in others if one.is_file()), None)
    if other is None:
        raise FileError(f"{path} is one of two files: wanted {' or '.join(names)} beside it")
    return (path, other) if is_header else (other, path)


def opened(path: Path) -> IO[bytes]:
    """The file, unpacked as it is read where it is gzipped."""
    with path.open("rb") as stream:
        is_gzipped = stream.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if is_gzipped else path.open("rb")


def header_class_of(path: Path, stream: IO[bytes]) -> Any:
    """The class of nibabel for the header that `stream` begins with; it is left at its beginning.

    Raises:
        FileError: for what is neither NIfTI nor, in two files, Analyze.
    """
    start = stream.read(348)
    stream.seek(0)
    sizes = {struct.unpack_from(f"{order}i", start)[0] for order in "<>"} if len(start) >= 4 else set()
    if 540 in sizes:
        is_alone = not is_pair_name(path) or start[4:8] == b"n+2\0"
        return nibabel.Nifti2Header if is_alone else nibabel.Nifti2Pair.header_class
    if 348 not in sizes:
        raise FileError(
            f"{path} is not a NIfTI file: it begins with {start[:4]!r}, wanted a header of 348 or 540 bytes"
        )
    if not is_pair_name(path) or start[344:348] == b"n+1\0":
        return nibabel.Nifti1Header
    is_analyze = start[344:348] != b"ni1\0"
    return (nibabel.Spm2AnalyzeImage if is_analyze else nibabel.Nifti1Pair).header_class


def placing_header(header: Any) -> Any:
    """`header`, or one of NIfTI with the spacing of an Analyze header, which knows nothing else of its place."""
    if isinstance(header, nibabel.Nifti1Header):
        return header
    placing = nibabel.Nifti1Pair.header_class()
    placing.set_data_shape(header.get_data_shape())
    placing["pixdim"][1:] = np.abs(header["pixdim"][1:])
    placing["xyzt_units"] = _MILLIMETRES
    return placing


def _holds_both(path: Path) -> bool:
    """True for a file that is called like one of two, and is a NIfTI file with its voxels in it."""
    if not path.is_file():
        return False
    try:
        with opened(path) as stream:
            start = stream.read(348)
    except (OSError, EOFError):
        return False
    return start[344:348] == b"n+1\0" or start[4:8] == b"n+2\0"
