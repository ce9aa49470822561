"""Files that are there in full or not at all: written beside, verified, then moved over the old one."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError, MedicoSamError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def check_target(path: Path, overwrite: bool) -> None:
    """Raise `FileError` when nothing may be written to `path`."""
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder, wanted a file name")
    if not path.parent.is_dir():
        raise FileError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.exists() and not overwrite:
        raise FileError(f"{path} exists already: choose another name or say --overwrite (overwrite=True)")


def replace_file(
    path: Path, suffix: str, write: Callable[[Path], None], verify: Callable[[Path], None], *, overwrite: bool
) -> None:
    """Let `write` make a temporary file in the folder of `path`, `verify` read it back, then move it to `path`.

    Whatever goes wrong, Ctrl-C included, the temporary file is removed and an old file at `path` is as it was.

    Args:
        path: the file to make or replace; of a symbolic link, what it points to.
        suffix: what the temporary name ends with, for libraries that look at it.
        write: gets the temporary path.
        verify: gets the temporary path after its data has reached the disk; raises to refuse it.
        overwrite: whether an old file may be replaced.

    Raises:
        FileError: for anything that the file system or a library has against it; errors of this package go
            through as they are.
    """
    path = path.resolve()
    check_target(path, overwrite)
    temporary = temporary_beside(path, suffix)
    try:
        write(temporary)
        _flush(temporary)
        verify(temporary)
        check_target(path, overwrite)  # writing took a while: somebody else may have made it meanwhile
        temporary.replace(path)
        _flush_folder(path.parent)
    except MedicoSamError as error:
        raise type(error)(str(error).replace(str(temporary), str(path))) from error
    except Exception as error:
        raise FileError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path, suffix: str) -> Path:
    """A name in the folder of `path` that nobody uses."""
    return path.with_name(f".medicosam-{secrets.token_hex(8)}{suffix}")


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the move itself durable, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
