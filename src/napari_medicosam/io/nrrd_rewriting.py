"""NRRD files that ITK cannot read, written anew for it: packed with bzip2, or with an axis that is no place."""

from __future__ import annotations

import bz2
import math
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError
from napari_medicosam.io.itk_headers import data_files, field_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from napari_medicosam.io.itk_headers import TextHeader

_PLACES = ("domain", "space")
_TIMES = ("list", "time", "none", "???")
"""Kinds of an axis along which whole volumes follow each other. ITK knows the first one only."""

_REPLACED = ("encoding", "kinds", "data file")
_HEADER_BYTES = 1 << 20
_LARGEST_VALUE = 8

_ALWAYS_UNPACKED = 1 << 29
_MAX_RATIO = 1 << 12
"""Bzip2 packs zeros to a millionth, so beyond the first size a file may not become so many times larger."""

_PIECE = 1 << 20


def kind_of_values(header: TextHeader) -> str:
    """Of an NRRD the kind of the one axis that is no place: "list" for all kinds of whole volumes; "" without one."""
    others = [kind for kind in _kinds(header) if kind not in _PLACES]
    if len(others) != 1:
        return ""
    return "list" if others[0] in _TIMES else others[0]


@contextmanager
def readable(path: Path, header: TextHeader) -> Iterator[Path]:
    """A file for ITK with the voxels of `path`: mostly that itself, else an NRRD that is gone afterwards.

    Raises:
        FileError: for bzip2 that is damaged, or unpacks to far more than files of scans do.
    """
    kinds = [kind if kind in _PLACES else "list" for kind in _kinds(header)]
    is_odd = kind_of_values(header) == "list" and kinds != header.fields.get("kinds", "").split()
    if header.encoding != "bzip2" and not is_odd:
        yield path
        return
    fields = {
        "encoding": "raw" if header.encoding == "bzip2" else header.fields.get("encoding", "raw"),
        "kinds": " ".join(kinds) if is_odd else header.fields.get("kinds", ""),
    }
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder, "rewritten.nrrd")
        _rewrite(path, header, fields, rewritten)
        try:
            yield rewritten
        except FileError as error:
            raise FileError(str(error).replace(str(rewritten), str(path))) from error


def _kinds(header: TextHeader) -> list[str]:
    """A kind an axis; without any, axes without a direction in space are told apart. Empty where nothing is said."""
    kinds = header.fields.get("kinds", "").lower().split()
    directions = re.findall(r"none|\([^)]*\)", header.fields.get("space directions", ""))
    if not kinds and "none" in directions:
        kinds = ["none" if direction == "none" else "domain" for direction in directions]
    return kinds


def _rewrite(path: Path, header: TextHeader, fields: dict[str, str], target: Path) -> None:
    files = data_files(path, header)
    if len(files) > 1:
        raise FileError(f"{path} has its voxels in {len(files)} files: wanted one file, or encoding raw")
    with path.open("rb") as stream:
        lines = stream.read(header.data_start or _HEADER_BYTES).decode("utf-8", "replace").splitlines()
    dropped = ("", *header.names)  # the lines behind "data file: LIST"
    kept = [
        line
        for line in lines
        if ":=" not in line and field_name(line) not in _REPLACED and line.strip() not in dropped
    ]
    added = [f"{name}: {value}" for name, value in fields.items() if value]
    with files[0].open("rb") as source, target.open("wb") as stream:
        stream.write("\n".join([*kept, *added, "", ""]).encode())
        source.seek(0 if header.data_name else header.data_start)
        if header.encoding == "bzip2":
            _unpack(path, source, stream, _most_bytes(files[0], header))
        else:
            shutil.copyfileobj(source, stream, _PIECE)


def _most_bytes(file: Path, header: TextHeader) -> int:
    """How much the voxels may unpack to: what the header promises at most, but not more than scans do."""
    promised = math.prod(int(size) for size in header.fields.get("sizes", "0").split()) * _LARGEST_VALUE
    skipped = max(int(header.fields.get("byte skip", "0")), 0)
    return min(promised + skipped, max(_ALWAYS_UNPACKED, _MAX_RATIO * file.stat().st_size))


def _unpack(path: Path, source: IO[bytes], target: IO[bytes], most: int) -> None:
    done = 0
    try:
        with bz2.open(source) as stream:
            while piece := stream.read(_PIECE):
                done += len(piece)
                if done > most:
                    raise FileError(f"{path} unpacks to more than {most} bytes: wanted what its header says")
                target.write(piece)
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of bzip2
            raise FileError(f"cannot unpack {path} to a temporary file: {error.strerror}") from error
        raise FileError(f"{path}: its compressed voxels are damaged ({error})") from error
