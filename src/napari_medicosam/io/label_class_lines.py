"""Label classes, one a line of words: ITK-SNAP's label descriptions and 3D Slicer's colour tables."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError
from napari_medicosam.io.label_class_entries import (
    ClassEntry,
    ReadEntries,
    colour_of_numbers,
    id_of_text,
    place_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medicosam.core.label_classes import LabelClasses

_SNAP_WANTED = 'IDX R G B A VIS MSH "LABEL", such as 1 255 0 0 1 1 1 "liver"'
_SLICER_WANTED = "id name r g b a, such as 1 liver 221 130 101 255"
_NO_NAME = "(none)"
"""What 3D Slicer calls a place of its table that stands for nothing."""

_SNAP_HEADER = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
"""


def parse_itk_snap(file_name: str, text: str) -> ReadEntries:
    """Entries of an ITK-SNAP label description. Opacity and visibility are not kept.

    Raises:
        FileError: for a line that is no comment and no label.
    """
    entries = []
    for where, line in _lines(text):
        numbers, _, label = line.partition('"')
        words = numbers.split()
        if len(words) != 7 or not label.endswith('"') or not all(map(_is_number, words[4:])):
            raise place_error(file_name, where, _shown(line), _SNAP_WANTED)
        class_id = id_of_text(file_name, where, words[0])
        colour = colour_of_numbers(file_name, where, words[1:4])
        entries.append(ClassEntry(where, class_id, label[:-1], colour))
    return ReadEntries(tuple(entries))


def parse_slicer(file_name: str, text: str) -> ReadEntries:
    """Entries of a Slicer colour table (FreeSurfer's tables are of the same form). Opacity is not kept.

    Names are kept as they are written, with underscores where Slicer shows spaces.

    Raises:
        FileError: for a line that is no comment and no colour, and for a table of continuous colours.
    """
    if re.search(r"^\s*#\s*Color procedural file", text, re.MULTILINE | re.IGNORECASE):
        raise FileError(
            f"{file_name} is a continuous colour map (Color procedural file): wanted a table of classes"
        )
    entries, num_unnamed = [], 0
    for where, line in _lines(text):
        words = line.split()
        if len(words) < 6 or not _is_number(words[-1]):
            raise place_error(file_name, where, _shown(line), _SLICER_WANTED)
        name = " ".join(words[1:-4])  # one word, if the file keeps to the rule
        class_id = id_of_text(file_name, where, words[0])
        colour = colour_of_numbers(file_name, where, words[-4:-1])
        if class_id and name == _NO_NAME:
            num_unnamed += 1
        else:
            entries.append(ClassEntry(where, class_id, name, colour))
    skipped = (f"{num_unnamed} colours without a name, {_NO_NAME}",) if num_unnamed else ()
    return ReadEntries(tuple(entries), skipped)


def itk_snap_text(classes: LabelClasses) -> str:
    """ITK-SNAP's label description, its background line ("Clear Label") included."""
    lines = ['    0     0    0    0        0  0  0    "Clear Label"']
    for item in classes:
        red, green, blue = item.colour
        lines.append(f'{item.class_id:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{item.name}"')
    return _SNAP_HEADER + "\n".join(lines) + "\n"


def slicer_text(classes: LabelClasses) -> str:
    """3D Slicer's colour table. Its names hold no spaces: underscores stand for them, as Slicer writes it."""
    lines = [f"# Color table file\n# {len(classes) + 1} values", "0 Background 0 0 0 0"]
    lines += [" ".join(map(str, (c.class_id, slicer_name(c.name), *c.colour, 255))) for c in classes]
    return "\n".join(lines) + "\n"


def slicer_name(name: str) -> str:
    """`name` as a Slicer colour table can hold it."""
    return re.sub(r"\s", "_", name)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Place and text of every line that is neither empty nor a comment."""
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield f"line {number}", stripped


def _is_number(word: str) -> bool:
    with suppress(ValueError):
        return math.isfinite(float(word))
    return False


def _shown(line: str, at_most: int = 80) -> str:
    return repr(line if len(line) <= at_most else f"{line[:at_most]}...")
