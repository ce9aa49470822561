"""Label classes as a table with a header: CSV and TSV of any program, and 3D Slicer's CSV colour tables."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError
from napari_medicosam.io.label_class_entries import (
    ClassEntry,
    ReadEntries,
    colour_of_hex,
    colour_of_numbers,
    id_of_text,
    place_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_medicosam.core.label_classes import Colour, LabelClasses

DELIMITERS = "\t;,"
_IDS = ("id", "classid", "labelid", "labelvalue", "value", "index", "idx", "label")
_NAMES = ("name", "classname", "labelname", "label", "class")
"""Headings, without case, spaces, `_`, `-` and `.`; the first that is there counts. `label` is the id in a table of
labels and names, and the name in one of ids and labels."""

_COLOURS = ("color", "colour", "hex")
_CHANNELS = tuple((name, f"color{name}", f"colour{name}", word) for name, word in
                  (("r", "red"), ("g", "green"), ("b", "blue")))  # fmt: skip
_MEANINGS = ("typemodifiercodemeaning", "typecodemeaning")
_COMMENT = re.compile(rf"\s*#(?![0-9a-fA-F]{{6}}\s*[{DELIMITERS}])")
"""A line beginning with #, unless that is a colour in the first column."""

_WANTED = "a header such as id,name,color or id,name,r,g,b"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column holds what; `channels` are three or none."""

    class_id: int
    name: int | None
    colour: int | None
    channels: tuple[int, ...]
    meanings: tuple[int, ...]


def parse_table(file_name: str, text: str) -> ReadEntries:
    """Entries of a table; the header tells the delimiter. Lines that are empty or begin with # are left out.

    In a Slicer table a class without a name is called by its terminology ("Left Kidney"), or "label 7" without any.

    Raises:
        FileError: for a header without id or name, and for every row that is no class.
    """
    rows = _rows(file_name, text)
    where, header = next(rows, ("line 1", []))
    columns = _columns_of(file_name, where, header)
    return ReadEntries(tuple(_entry(file_name, where, row, header, columns) for where, row in rows))


def is_table_header(line: str) -> bool:
    """True for a line that could head a table: cells between delimiters, and no number in front."""
    return any(delimiter in line for delimiter in DELIMITERS) and not re.match(r'\s*"?[+-]?\d', line)


def table_text(classes: LabelClasses, delimiter: str) -> str:
    """A table of id, name and colour (#rrggbb)."""
    rows = [(str(c.class_id), c.name, c.colour_hex) for c in classes]
    return _written([("id", "name", "color"), *rows], delimiter)


def slicer_csv_text(classes: LabelClasses) -> str:
    """3D Slicer's CSV colour table, without terminology."""
    rows = [(str(c.class_id), c.name, *map(str, c.colour), "255") for c in classes]
    return _written([("LabelValue", "Name", "Color_R", "Color_G", "Color_B", "Color_A"), *rows], ",")


def _written(rows: Iterable[Iterable[str]], delimiter: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _rows(file_name: str, text: str) -> Iterator[tuple[str, list[str]]]:
    """Place and cells of every row that is not empty."""
    # Comments become empty lines and are not taken out: the reader counts lines.
    kept = ["\n" if _COMMENT.match(line) else f"{line}\n" for line in text.split("\n")]
    header = next((line for line in kept if line.strip()), "")
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(kept, delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise FileError(
                f"{file_name}, line {reader.line_num}: got cells that cannot be told apart ({error}), wanted "
                f'a name that holds the delimiter or a quotation mark as "so ""called"" liver"'
            ) from error
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield f"line {reader.line_num}", [cell.strip() for cell in row]


def _columns_of(file_name: str, where: str, cells: list[str]) -> _Columns:
    header = [re.sub(r"[\s_.-]", "", cell).casefold() for cell in cells]
    repeated = next((cell for cell in header if cell and header.count(cell) > 1), None)
    if repeated:
        raise place_error(file_name, where, f"two columns {repeated!r}", "one of each")

    def find(names: tuple[str, ...], without: int | None = None) -> int | None:
        return next((header.index(n) for n in names if n in header and header.index(n) != without), None)

    class_id = find(_IDS)
    name = find(_NAMES, without=class_id)
    meanings = tuple(header.index(meaning) for meaning in _MEANINGS if meaning in header)
    if class_id is None or (name is None and header[class_id] != "labelvalue"):
        missing = "id" if class_id is None else "name"
        got = f"no column for the {missing} in the header {', '.join(cells)[:80]!r}"
        raise place_error(file_name, where, got, _WANTED)
    channels = tuple(index for index in map(find, _CHANNELS) if index is not None)
    if len(channels) not in (0, 3):
        raise place_error(file_name, where, f"{len(channels)} of the columns r, g, b", "all three or none")
    return _Columns(class_id, name, find(_COLOURS), channels, meanings)


def _entry(file_name: str, where: str, row: list[str], header: list[str], columns: _Columns) -> ClassEntry:
    if any(row[len(header) :]):
        got = f"{len(row)} values for {len(header)} columns"
        raise place_error(file_name, where, got, 'names that hold the delimiter in quotation marks ("a, b")')
    cells = row[: len(header)] + [""] * (len(header) - len(row))
    class_id = id_of_text(file_name, where, cells[columns.class_id])
    name = cells[columns.name] if columns.name is not None else ""
    if not name and header[columns.class_id].casefold() == "labelvalue":
        name = " ".join(cells[i] for i in columns.meanings if cells[i]) or f"label {class_id}"
    if class_id and not name:
        raise place_error(file_name, where, f"no name for the id {class_id}", "a text that is not empty")
    return ClassEntry(where, class_id, name, _colour(file_name, where, cells, columns))


def _colour(file_name: str, where: str, cells: list[str], columns: _Columns) -> Colour | None:
    channels = [cells[index] for index in columns.channels]
    if any(channels):
        return colour_of_numbers(file_name, where, channels)
    if columns.colour is not None and cells[columns.colour]:
        return colour_of_hex(file_name, where, cells[columns.colour])
    return None
