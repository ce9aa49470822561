"""Files of label classes: JSON, CSV, TSV, ITK-SNAP label descriptions, 3D Slicer colour tables.

What a file is, is seen from what it holds: .txt is used by two programs, and names are changed by hand.
`docs/label_classes.md` shows every format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.core.label_classes import LabelClass, LabelClasses
from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.label_class_entries import classes_of_entries
from napari_medicosam.io.label_class_json import json_text, parse_json
from napari_medicosam.io.label_class_lines import (
    itk_snap_text,
    parse_itk_snap,
    parse_slicer,
    slicer_name,
    slicer_text,
)
from napari_medicosam.io.label_class_tables import (
    DELIMITERS,
    is_table_header,
    parse_table,
    slicer_csv_text,
    table_text,
)
from napari_medicosam.io.replacing import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from napari_medicosam.io.label_class_entries import ReadEntries

MAX_BYTES = 4 << 20
"""More is no list of classes: nothing beyond it is read."""

_WANTED = "JSON, CSV or TSV with a header, an ITK-SNAP label description or a 3D Slicer colour table"


@dataclass(frozen=True, slots=True)
class _Format:
    """One format: how it is read and written, and whether its names can hold a quotation mark."""

    parse: Callable[[str, str], ReadEntries]
    text: Callable[[LabelClasses], str]
    holds_quotes: bool = True


FORMATS: dict[str, _Format] = {
    "json": _Format(parse_json, json_text),
    "csv": _Format(parse_table, lambda classes: table_text(classes, ",")),
    "tsv": _Format(parse_table, lambda classes: table_text(classes, "\t")),
    "itk-snap": _Format(parse_itk_snap, itk_snap_text, holds_quotes=False),
    "slicer": _Format(parse_slicer, slicer_text),
    "slicer-csv": _Format(parse_table, slicer_csv_text, holds_quotes=False),
}
"""Formats by name: what `write_label_classes` takes and `LabelClassFile.format` says."""

_FORMAT_OF_SUFFIX = {
    ".json": "json", ".csv": "csv", ".tsv": "tsv", ".txt": "itk-snap", ".label": "itk-snap", ".ctbl": "slicer",
}  # fmt: skip
"""What is written when only the file name says it. Reading does not ask."""


@dataclass(frozen=True, slots=True)
class LabelClassFile:
    """What a file of label classes holds.

    Attributes:
        classes: in the file's order, without the background (id 0).
        format: a key of `FORMATS`; "json" for the files of nnU-Net and the Decathlon, too.
        skipped: a sentence for everything that was left out, such as a region of nnU-Net.
    """

    classes: LabelClasses
    format: str
    skipped: tuple[str, ...] = ()


def read_label_classes(path: str | PathLike[str]) -> LabelClassFile:
    """Read the classes of a file in any of the formats, UTF-8 with or without byte order mark.

    Raises:
        FileError: for a file that is missing, empty, larger than 4 MB, not UTF-8 or of an unknown format; for an id
            that is there twice or not in 0..65535, a colour that is none, a class without a name, a malformed line.
            Each message has the file's name and, where there is one, the line.
    """
    path = Path(path)
    return _parsed(path.name, _text_of(path, path.name))


def write_label_classes(
    path: str | PathLike[str],
    classes: LabelClasses,
    *,
    overwrite: bool = False,
    file_format: str | None = None,
) -> None:
    """Write classes to a file. Written beside, read back and compared, then moved.

    Args:
        path: .json, .csv, .tsv, .txt or .label (ITK-SNAP), .ctbl (3D Slicer); any name with `file_format`.
        classes: at least one. A Slicer colour table gets their names with underscores instead of spaces.
        overwrite: whether an old file may be replaced.
        file_format: a key of `FORMATS`, such as the `format` of the file that was read.

    Raises:
        InputError: for no classes, or a format that does not exist.
        FileError: for a file that exists, a name that the format cannot hold, or a failed write.
    """
    path = Path(path)
    if not len(classes):
        raise InputError(f"cannot write {path.name}: got no classes, wanted at least one")
    name = file_format or _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if name is None:
        raise FileError(
            f"cannot tell the format of {path.name}: wanted a name ending in {', '.join(_FORMAT_OF_SUFFIX)}"
        )
    if name not in FORMATS:
        raise InputError(f"unknown format of label classes {name!r}: wanted one of {', '.join(FORMATS)}")
    wanted = _as_held(path.name, classes, name)
    data = FORMATS[name].text(classes).encode("utf-8")

    def verify(temporary: Path) -> None:
        found = _parsed(path.name, _text_of(temporary, path.name))
        if (found.classes, found.format) != (wanted, name):
            raise FileError(
                f"cannot write {path.name}: read back, its classes are others. The file was not made"
            )

    replace_file(path, path.suffix, lambda temporary: _write(temporary, data), verify, overwrite=overwrite)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _as_held(file_name: str, classes: LabelClasses, format_name: str) -> LabelClasses:
    """`classes` as a file of this format says them; `FileError` for a name that it cannot hold."""
    for item in classes:
        if '"' in item.name and not FORMATS[format_name].holds_quotes:
            raise FileError(
                f"cannot write {file_name}: the format {format_name} holds no quotation marks, got the name "
                f"{item.name!r} of class {item.class_id}. Rename the class or use .json"
            )
    if format_name != "slicer":
        return classes
    return LabelClasses(tuple(LabelClass(c.class_id, slicer_name(c.name), c.colour) for c in classes))


def _parsed(file_name: str, text: str) -> LabelClassFile:
    name = _format_of(file_name, text)
    found = FORMATS[name].parse(file_name, text)
    return LabelClassFile(classes_of_entries(file_name, found.entries), name, found.skipped)


def _format_of(file_name: str, text: str) -> str:
    """The format's name, from the first line that is no comment, and from comments that programs begin with."""
    if text.lstrip().startswith(("{", "[")):
        return "json"
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    comments = "\n".join(line for line in lines if line.startswith("#")).casefold()
    first = next((line for line in lines if not line.startswith("#")), None)
    if "label description file" in comments:
        return "itk-snap"
    if "color table file" in comments or "color procedural file" in comments:
        return "slicer"
    if first is None:
        raise FileError(f"{file_name} is empty or has only comments: wanted {_WANTED}")
    if is_table_header(first):
        return _table_format(first)
    words = first.split()
    if re.match(r"[+-]?\d", words[0]) and len(words) > 1:
        return "itk-snap" if first.endswith('"') else "slicer"
    got = repr(first if len(first) <= 80 else f"{first[:80]}...")
    raise FileError(f"cannot tell the format of {file_name}: it begins with {got}, wanted {_WANTED}")


def _table_format(header: str) -> str:
    if "labelvalue" in header.casefold() and "color_r" in header.casefold():
        return "slicer-csv"
    return "tsv" if max(DELIMITERS, key=header.count) == "\t" else "csv"


def _text_of(path: Path, name: str) -> str:
    """The text of a file with "\\n" at the ends of its lines; `FileError`, about `name`, for what is no list."""
    try:
        if path.is_dir():
            raise FileError(f"{name} is a folder: wanted a file of label classes")
        if not path.is_file():
            raise FileError(f"{name} does not exist: wanted a file of label classes")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise FileError(f"cannot read {name}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise FileError(f"{name} is larger than {MAX_BYTES >> 20} MB: wanted a list of label classes")
    if not data.strip():
        raise FileError(f"{name} is empty: wanted {_WANTED}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileError(f"{name} is UTF-16 text: wanted UTF-8, save it again with that encoding")
    if b"\0" in data:
        raise FileError(f"{name} is no text (it holds zero bytes): wanted UTF-8 text, {_WANTED}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise FileError(
            f"{name}, line {line}: got the byte 0x{error.object[error.start]:02x}, wanted UTF-8 text. If it is in "
            f"another encoding (Latin-1, Windows), save it again as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
