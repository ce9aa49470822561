"""What the files of label classes share: one entry as it is written, and many of them checked into classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medicosam.core.label_classes import BY_ID, MAX_CLASS_ID, LabelClass, LabelClasses
from napari_medicosam.errors import FileError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_medicosam.core.label_classes import Colour

_WHOLE = re.compile(r"[0-9]{1,9}(?:\.0+)?")
"""A number such as 7, or 7.0 as spreadsheets like to write it."""

_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


@dataclass(frozen=True, slots=True)
class ClassEntry:
    """One class as its file says it.

    Attributes:
        where: its place, such as "line 3".
        class_id: 0 (background) or more; not checked any further.
        name: "" only for the background.
        colour: None when the file gives none.
    """

    where: str
    class_id: int
    name: str
    colour: Colour | None = None


@dataclass(frozen=True, slots=True)
class ReadEntries:
    """What a parser found: entries in order, and what it left out and why."""

    entries: tuple[ClassEntry, ...]
    skipped: tuple[str, ...] = ()


def place_error(file_name: str, where: str, got: str, wanted: str) -> FileError:
    """The error for one place of a file."""
    return FileError(f"{file_name}, {where}: got {got}, wanted {wanted}")


def id_of_text(file_name: str, where: str, text: str) -> int:
    """A class id, 0 for the background included.

    Raises:
        FileError: for what is no whole number 0..65535.
    """
    if not _WHOLE.fullmatch(text.strip()):
        raise place_error(file_name, where, f"the id {text!r}", f"a whole number 0..{MAX_CLASS_ID}")
    return checked_id(file_name, where, int(text.strip().partition(".")[0]))


def checked_id(file_name: str, where: str, class_id: int) -> int:
    """`class_id` when it is in 0..65535; `FileError` otherwise."""
    if not 0 <= class_id <= MAX_CLASS_ID:
        raise place_error(file_name, where, f"the id {class_id}", f"a whole number 0..{MAX_CLASS_ID}")
    return class_id


def colour_of_hex(file_name: str, where: str, text: str) -> Colour:
    """A colour such as #1f77b4; `FileError` for anything else."""
    found = _HEX.fullmatch(text.strip())
    if found is None:
        raise place_error(file_name, where, f"the colour {text!r}", "#rrggbb, such as #1f77b4")
    red, green, blue = bytes.fromhex(found[1])
    return red, green, blue


def colour_of_numbers(file_name: str, where: str, texts: Sequence[str]) -> Colour:
    """Red, green and blue as three numbers; `FileError` unless each is a whole number 0..255."""
    values = [int(text.strip().partition(".")[0]) if _WHOLE.fullmatch(text.strip()) else -1 for text in texts]
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        got = ", ".join(text.strip() or "nothing" for text in texts)
        raise place_error(file_name, where, f"the colour {got}", "red, green, blue as whole numbers 0..255")
    red, green, blue = values
    return red, green, blue


def classes_of_entries(file_name: str, entries: Iterable[ClassEntry]) -> LabelClasses:
    """The classes of a file, in its order, without the background.

    Raises:
        FileError: for an id that is there twice, a name that is none, or a file without any class.
    """
    places: dict[int, str] = {}
    classes: list[LabelClass] = []
    for entry in entries:
        if entry.class_id in places:
            raise FileError(
                f"{file_name}, {entry.where}: got the id {entry.class_id} again, which {places[entry.class_id]} "
                f"has already, wanted an id of its own for every class"
            )
        places[entry.class_id] = entry.where
        if entry.class_id == 0:
            continue
        try:
            classes.append(LabelClass(entry.class_id, entry.name, entry.colour or BY_ID))
        except InputError as error:
            raise FileError(f"{file_name}, {entry.where}: {error}") from error
    if not classes:
        raise FileError(f"{file_name} holds no class: wanted at least one with an id of 1..{MAX_CLASS_ID}")
    return LabelClasses(tuple(classes))
