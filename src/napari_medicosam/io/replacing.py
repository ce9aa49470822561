"""Files that are there in full or not at all: written beside, verified, then moved over the old one."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medicosam.errors import FileError, MedicoSamError
from napari_medicosam.io.exchange import exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OLD = ".old"
"""What the name of a user's own folder ends with while it is out of the way."""

_LEFTOVER = re.compile(rf"\.medicosam-([0-9a-f]{{16}}(\.\w+)*|[a-z0-9_]{{8}})(?<!\{_OLD})")
"""The names that `temporary_beside` and tempfile give, and no others: the folder is the user's."""

_LEFTOVER_AGE_S = 24 * 3600.0


def check_target(path: Path, overwrite: bool) -> None:
    """Raise `FileError` when nothing may be written to `path`."""
    if path.is_dir():
        raise FileError(f"cannot write {path}: it is a folder, wanted a file name")
    _check_place(path, overwrite)


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
    _sweep(path.parent)
    temporary = temporary_beside(path, suffix)
    try:
        with _errors_name(path, temporary):
            write(temporary)
            _flush(temporary)
            verify(temporary)
            check_target(path, overwrite)  # writing took a while: somebody else may have made it meanwhile
            temporary.replace(path)
            _flush_folder(path.parent)
    finally:
        with suppress(OSError):  # a read-only disk refuses this, too; what went wrong before is to be said
            temporary.unlink(missing_ok=True)


def replace_folder(
    path: Path, suffix: str, write: Callable[[Path], None], verify: Callable[[Path], None], *, overwrite: bool
) -> None:
    """As `replace_file` for a folder, which the caller has looked at: it is replaced whatever lies in it.

    Where the system cannot swap two folders at once, the old one stands beside under a temporary name for the moment of
    the move; it comes back when that fails.

    Raises:
        FileError: as `replace_file`.
    """
    path = path.resolve()
    check_folder_target(path, overwrite)
    _sweep(path.parent)
    temporary, old = temporary_beside(path, suffix), temporary_beside(path, _OLD)
    try:
        with _errors_name(path, temporary):
            temporary.mkdir()
            write(temporary)
            for folder, _, names in os.walk(temporary, topdown=False):
                for name in names:
                    _flush(Path(folder, name))
                _flush_folder(Path(folder))
            verify(temporary)
            check_folder_target(path, overwrite)
            _swap_folders(temporary, path, old)
            _flush_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def check_folder_target(path: Path, overwrite: bool) -> None:
    """Raise `FileError` when no folder may be written to `path`."""
    if path.is_file():
        raise FileError(f"cannot write {path}: it is a file, wanted the name of a folder")
    _check_place(path, overwrite)


def _check_place(path: Path, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise FileError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.exists() and not overwrite:
        raise FileError(f"{path} exists already: choose another name or say --overwrite (overwrite=True)")


@contextmanager
def _errors_name(path: Path, temporary: Path) -> Iterator[None]:
    """Whatever goes wrong is a `FileError`, or an error of this package, and speaks of the name that the user gave."""
    try:
        yield
    except MedicoSamError as error:
        raise type(error)(str(error).replace(str(temporary), str(path))) from error
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).replace(str(temporary), str(path))
        raise FileError(f"cannot write {path}: {reason}") from error


def _swap_folders(temporary: Path, path: Path, old: Path) -> None:
    try:
        if path.exists():
            if exchange(temporary, path):
                return  # what was there has the temporary name now
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise


def _sweep(folder: Path) -> None:
    """Remove what killed writers left in a folder more than a day ago."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _LEFTOVER.fullmatch(entry.name):
                continue
            with suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime < _LEFTOVER_AGE_S:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink()


def temporary_beside(path: Path, suffix: str) -> Path:
    """A name in the folder of `path` that nobody uses."""
    return path.with_name(f".medicosam-{secrets.token_hex(8)}{suffix}")


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
