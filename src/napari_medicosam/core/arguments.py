"""What scripts hand over becomes plain values here, or an `InputError` that says what was wanted."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def whole_number(given: Any, what: str) -> int:
    """A number without a fraction; `InputError` for anything else. `what` begins the message."""
    try:
        if isinstance(given, (bool, np.bool_)):
            raise TypeError
        is_whole = isinstance(given, (float, np.floating)) and float(given).is_integer()
        return int(given) if is_whole else operator.index(given)
    except TypeError:
        raise InputError(f"{what} must be a whole number, got {given!r}") from None


def real_number(given: Any, what: str) -> float:
    """A number, be it infinite or none; `InputError` for anything else. `what` begins the message."""
    try:
        if isinstance(given, (str, bytes)) or np.ndim(given):
            raise TypeError
        return float(given)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{what} must be a number, got {given!r}") from None


def yes_or_no(given: Any, what: str) -> bool:
    """True or False; `InputError` for anything else. `what` begins the message."""
    if not isinstance(given, (bool, np.bool_)):
        raise InputError(f"{what} must be True or False, got {given!r}")
    return bool(given)


def plain_text(given: Any, what: str) -> str:
    """Text that can be written to a file, and that is not empty; `InputError` for anything else.

    `what` begins the message: who needs the text, "an object needs a name".
    """
    try:
        if isinstance(given, str) and given.encode():
            return given
    except UnicodeEncodeError:  # half of a pair of surrogates
        pass
    raise InputError(f"{what}, got {given!r}")


def file_path(given: Any) -> Path:
    """Where a file or folder lies; `InputError` for what is neither text nor a path, or that no file can have."""
    if not isinstance(given, (str, Path)) or "\0" in str(given):
        raise InputError(f"wanted the path of a file or folder, got {given!r}")
    return Path(given)


def number_array(given: ArrayLike, what: str) -> NDArray[Any]:
    """Finite numbers, or True and False, of any shape; `InputError` for anything else. `what` begins the message."""
    try:
        array = np.asarray(given)
    except ValueError:  # rows of different lengths
        array = np.array(None)
    kind = array.dtype.kind
    if kind not in "biuf" or (kind == "f" and not np.isfinite(array).all()):
        raise InputError(
            f"{what} must be an array of finite numbers, got {type(given).__name__} of {array.dtype}"
        )
    return array
