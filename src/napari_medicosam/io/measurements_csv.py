"""Measurements as a table that every spreadsheet opens."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medicosam.errors import FileError, InputError
from napari_medicosam.io.replacing import replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def write_measurements_csv(
    path: str | Path, rows: Sequence[Mapping[str, Any]], *, overwrite: bool = False
) -> None:
    """Write rows such as those of `measurements_table`: UTF-8, commas, one header line, numbers in full precision.

    The file is written beside, read back, then moved: it is there in full or not at all. Texts that a spreadsheet
    would run as a formula get an apostrophe in front.

    Args:
        path: the file to make, in a folder that exists.
        rows: at least one, all with the same columns in the same order; None is an empty cell.
        overwrite: whether an old file may be replaced.

    Raises:
        InputError: for no rows, or rows with different columns.
        FileError: when `path` exists and `overwrite` is not set, or cannot be written.
    """
    if not rows:
        raise InputError("nothing to write: there are no measurements")
    columns = list(rows[0])
    for row in rows:
        if list(row) != columns:
            raise InputError(f"all rows must have the columns {columns}, got {list(row)}")
    lines = [columns, *([_cell(value) for value in row.values()] for row in rows)]

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(lines)  # lines end as RFC 4180 has it

    def verify(temporary: Path) -> None:
        with temporary.open(encoding="utf-8", newline="") as file:
            if list(csv.reader(file)) != lines:
                raise FileError(f"{temporary} did not read back as it was written")

    replace_file(Path(path), ".csv", write, verify, overwrite=overwrite)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return str(value)
