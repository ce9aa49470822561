"""What the text headers of NRRD and MetaImage say, checked before ITK believes it.

ITK crashes on some headers that make no sense, asks for whatever memory they promise, and gives what happened to lie in
memory for compressed voxels that are damaged. So the little that decides this is read here as well.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import DEFLATE_MAX_RATIO, check_deflated, check_room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEADER_BYTES = 1 << 20
_MAX_LINE = 1000
"""Longer lines overflow the buffer in which Teem, ITK's NRRD library, writes its error messages."""

_MAX_DIMENSIONS = 10
"""Of a MetaImage: the length of MetaIO's arrays."""

_NRRD_ENCODINGS = {
    "raw": "raw", "gzip": "deflate", "gz": "deflate", "bzip2": "bzip2", "bz2": "bzip2",
    "hex": "hex", "text": "text", "txt": "text", "ascii": "text",
}  # fmt: skip
_META_NUMBERS = {
    "ndims", "dimsize", "elementspacing", "elementsize", "offset", "position", "origin", "transformmatrix",
    "rotation", "orientation", "elementnumberofchannels", "headersize", "compresseddatasize",
}  # fmt: skip
_FILE_PATTERN = re.compile(r"([^%]*%0?\d{0,2}d[^%]*?)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(?:\s+\d+)?")
"""A name with one number in it, then the first, the last and the step: anything else would reach C's printf."""


@dataclass(frozen=True, slots=True)
class TextHeader:
    """The fields of a header.

    Attributes:
        fields: by their names in lower case.
        encoding: raw, deflate, bzip2, hex or text; "" for one that ITK does not know either.
        data_name: the value that says where the voxels are; "" when they follow the header.
        names: the lines behind it, which are file names when `data_name` is a list.
        data_start: the byte where voxels begin that follow the header.
        has_segments: Slicer made it from segments, which lie in layers where they overlap.
    """

    fields: dict[str, str]
    encoding: str
    data_name: str
    names: tuple[str, ...]
    data_start: int
    has_segments: bool = False


def read_header(path: Path) -> TextHeader:
    """The header of an .nrrd, .nhdr, .mha or .mhd file.

    Raises:
        FileError: for a line that is too long or no field, numbers that are none, and a number of dimensions that
            ITK cannot hold.
    """
    with path.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    return (
        _nrrd_header(path, start) if path.suffix.lower() in (".nrrd", ".nhdr") else _meta_header(path, start)
    )


def check_voxels(path: Path, header: TextHeader, num_values: int, itemsize: int) -> None:
    """Raise `FileError` unless the voxels are there in full, and sound where a checksum says so.

    Args:
        path: the header's file.
        header: of it.
        num_values: that it promises, channels counted.
        itemsize: bytes of one in memory.
    """
    files = data_files(path, header)
    num_bytes = num_values * itemsize
    stored, ratio = {
        "raw": (num_bytes, 1),
        "deflate": (num_bytes, DEFLATE_MAX_RATIO),
        "hex": (2 * num_bytes, 1),
        "text": (2 * num_values - 1, 1),  # a digit for each and something between them
    }.get(header.encoding, (0, 1))
    offset = 0 if header.data_name else header.data_start
    check_room(path, stored, sum(file.stat().st_size for file in files) - offset, ratio)
    packed_size = header.fields.get("compresseddatasize", "")
    if header.encoding != "deflate":
        return
    if packed_size and not 0 < float(packed_size) <= files[0].stat().st_size:
        raise FileError(f"{path} says that its voxels take {packed_size} bytes: wanted as many as there are")
    is_one_piece = len(files) == 1 and not header.fields.keys() & {"line skip", "byte skip", "headersize"}
    if is_one_piece:
        try:
            check_deflated(files[0], num_bytes, offset)
        except zlib.error as error:
            raise FileError(f"{path}: its compressed voxels are damaged ({error})") from error


def _nrrd_header(path: Path, start: bytes) -> TextHeader:
    found = re.search(rb"\r?\n\r?\n", start)
    if found is None and path.stat().st_size > len(start):
        raise FileError(
            f"{path} has no end of its header within {_HEADER_BYTES >> 20} MB: wanted an NRRD file"
        )
    lines = start[: found.start() if found else None].decode("utf-8", "replace").splitlines()
    fields: dict[str, str] = {}
    names: list[str] = []
    has_segments = False
    for number, line in enumerate(lines[1:], start=2):
        if _is_list(fields.get("data file", "")):
            names.append(line.strip())
            continue
        has_segments |= line.startswith("Segment0_")
        if line.startswith("#") or not line.strip() or ":=" in line:
            continue
        name, colon, value = line.partition(":")
        if not colon or (len(line) > _MAX_LINE and name.strip().lower() != "content"):
            raise FileError(f"{path}, line {number}: got {_shown(line)}, wanted a field of NRRD, name: value")
        fields[field_name(line)] = value.strip()
    encoding = _NRRD_ENCODINGS.get(fields.get("encoding", "").lower(), "")
    return TextHeader(
        fields, encoding, fields.get("data file", ""), tuple(names), found.end() if found else 0, has_segments
    )


def field_name(line: str) -> str:
    """Of a line of an NRRD header, in lower case."""
    return line.partition(":")[0].strip().lower().replace("datafile", "data file")


def _meta_header(path: Path, start: bytes) -> TextHeader:
    fields: dict[str, str] = {}
    place = 0
    for raw in start.splitlines(keepends=True):
        place += len(raw)
        name, *value = re.split("[=:]", raw.decode("utf-8", "replace"), maxsplit=1)
        if value:
            fields[name.strip().lower()] = value[0].strip()
        if name.strip().lower() == "elementdatafile":
            break
    for name in _META_NUMBERS & fields.keys():
        if not all(map(_is_finite, fields[name].split())):
            raise FileError(f"{path}: got {_shown(fields[name])} for {name}, wanted numbers")
    dimensions = float(fields.get("ndims", "0").split()[0]) if fields.get("ndims") else 0.0
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise FileError(f"{path} has {fields.get('ndims', 'no')} dimensions: wanted a 2D or 3D image")
    is_packed = fields.get("compresseddata", "").lower() in ("true", "t", "1")
    is_text = fields.get("binarydata", "").lower() in ("false", "f", "0")
    data_name = fields.get("elementdatafile", "")
    return TextHeader(
        fields,
        "text" if is_text else "deflate" if is_packed else "raw",
        "" if data_name.upper() == "LOCAL" else data_name,
        tuple(line.decode("utf-8", "replace").strip() for line in start[place:].splitlines())
        if _is_list(data_name)
        else (),
        place,
    )


def data_files(path: Path, header: TextHeader) -> list[Path]:
    """The files that hold the voxels, each of which is there."""
    if not header.data_name:
        return [path]
    files = []
    for name in _file_names(path, header):
        file = path.parent / name
        if not file.is_file():
            raise FileError(f"{path} says that its voxels are in {file}: no such file")
        files.append(file)
    if not files:
        raise FileError(f"{path} says that its voxels are in a list of files, which is empty")
    return files


def _file_names(path: Path, header: TextHeader) -> Iterator[str]:
    if _is_list(header.data_name):
        yield from filter(None, header.names)
    elif "%" not in header.data_name:
        yield header.data_name
    else:
        found = _FILE_PATTERN.fullmatch(header.data_name)
        if found is None or int(found[4]) == 0:
            raise FileError(
                f"{path}: got {_shown(header.data_name)} for the files of its voxels, wanted a name such as "
                f"slice%03d.raw, then the first number, the last and the step"
            )
        first, last, step = (int(found[i]) for i in (2, 3, 4))
        for number in range(first, last + (1 if step > 0 else -1), step):
            yield found[1] % number


def _is_list(data_name: str) -> bool:
    return data_name.split()[:1] == ["LIST"]


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")
