"""A journal: what was done on an image since it was opened, written as it is done, to be read after a crash.

    <32 digits of the image's sha256>-<random>.journal
        one line that says what it is
        records: length (4 bytes), crc32 (4 bytes), then so many bytes, zlib:
            length (4 bytes) and text of a JSON document {"session": ..., "patches": [...]}, then the patches' voxels
    <the same name>.lock        held by the process that writes; the operating system frees it when that dies

A record has the whole `session.json` of its moment and the parts of the masks that changed since the record before, one
rectangle a slice. A kill or a power cut leaves at worst half a record at the end, which is not read.
"""

from __future__ import annotations

import os
import secrets
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import filelock
import platformdirs

from napari_medicosam.core.label_maps import empty_label_map
from napari_medicosam.core.results import Region
from napari_medicosam.core.session_state import SavedSession
from napari_medicosam.errors import FileError, MedicoSamError
from napari_medicosam.io.journal_records import (
    MASK_DTYPES,
    Masks,
    Patch,
    begins_with_record,
    packed_record,
    put_patches,
    records_in,
)
from napari_medicosam.io.session_values import document_of, software_versions, state_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.session_state import SessionState
    from napari_medicosam.io.session_document import SessionDocument

JOURNALS_VARIABLE = "NAPARI_MEDICOSAM_JOURNALS"
KEPT_DAYS = 30
"""A journal that nobody wanted for so long is removed."""

_MAGIC = b"napari-medicosam journal 1\n"
_DIGITS = 32
_SUFFIX = ".journal"
_SHORTEN_AT, _GROWTH = 64 << 20, 4


def journals_folder() -> Path:
    """Where journals lie: `NAPARI_MEDICOSAM_JOURNALS`, or the system's folder for state; it need not exist."""
    wanted = os.environ.get(JOURNALS_VARIABLE, "").strip()
    if wanted:
        return Path(wanted).expanduser().absolute()
    return Path(platformdirs.user_state_dir("napari-medicosam", appauthor=False)) / "journals"


@dataclass(frozen=True, slots=True)
class FoundJournal:
    """A journal that nobody writes any more.

    Attributes:
        path: of the file.
        written: when it was written to last, seconds since 1970.
    """

    path: Path
    written: float


class JournalWriter:
    """Appends records to a new journal of an image; only its owner can read it.

    Args:
        folder: of journals; it is made.
        sha256: of the image.
        shorten_at: bytes from which on the journal is written anew with one record for all of them.

    Raises:
        OSError: when it cannot be written.
    """

    def __init__(self, folder: Path, sha256: str, shorten_at: int = _SHORTEN_AT) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        self.path = folder / f"{sha256[:_DIGITS]}-{secrets.token_hex(8)}{_SUFFIX}"
        self._shorten_at = shorten_at
        self._software = software_versions()
        self._lock = filelock.FileLock(_lock_of(self.path), mode=0o600, thread_local=False)
        self._lock.acquire(blocking=False)
        self._file = _create(self.path)

    def append(self, state: SessionState, patches: Sequence[Patch]) -> None:
        """Write one record, to the disk. OSError when that is full."""
        self._write(self._file, state, patches)
        if self._file.tell() > self._shorten_at:
            self._shorten()

    def close(self, *, keep: bool) -> None:
        """Write no more. What is kept can be restored from here on."""
        self._file.close()
        if keep:
            self._lock.release()
        else:
            remove_journal(self.path, self._lock)

    def _write(self, file: BinaryIO, state: SessionState, patches: Sequence[Patch]) -> None:
        file.write(packed_record(document_of(state, self._software), patches))
        file.flush()
        os.fsync(file.fileno())

    def _shorten(self) -> None:
        """One record for all that were written. The old journal is there until the new one is complete."""
        session = read_journal(self.path)
        new = _shortened(self.path)
        try:
            with _create(new) as file:
                self._write(file, session.state, _patches_of(session))
            self._file.close()
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)  # of a full disk, where it would be in the way of the next one
            if self._file.closed:
                self._file = self.path.open("ab")
        self._shorten_at = max(self._shorten_at, _GROWTH * self._file.tell())


def find_journals(folder: Path, sha256: str) -> tuple[FoundJournal, ...]:
    """Journals of an image that nobody writes any more, the newest first.

    Those of half an eternity ago are removed, and those in which there is nothing.
    """
    found = []
    for path in folder.glob(f"*{_SUFFIX}") if folder.is_dir() else ():
        try:
            written = path.stat().st_mtime
        except OSError:
            continue  # somebody was faster
        is_old = time.time() - written > KEPT_DAYS * 86400
        is_ours = path.name.startswith(f"{sha256[:_DIGITS]}-")
        if not (is_old or is_ours):
            continue
        lock = filelock.FileLock(_lock_of(path))
        try:
            lock.acquire(blocking=False)
        except (OSError, filelock.Timeout):
            continue  # it is being written
        if is_old or not _holds_something(path):
            remove_journal(path, lock)
            continue
        lock.release()
        found.append(FoundJournal(path, written))
    return tuple(sorted(found, key=lambda one: one.written, reverse=True))


def _holds_something(path: Path) -> bool:
    """False for the journal of a writer that was killed before its first record was whole."""
    try:
        with path.open("rb") as file:
            return file.readline(len(_MAGIC)) != _MAGIC or begins_with_record(file)
    except OSError:
        return True  # whoever reads it is told


def read_journal(path: Path) -> SavedSession:
    """The session as the last whole record of a journal left it, voxels counted.

    Raises:
        FileError: for a file that is no journal, of another version, or that has no whole record.
    """
    document: SessionDocument | None = None
    masks: dict[Masks, NDArray[Any]] = {}
    try:
        with path.open("rb") as file:
            if file.readline(len(_MAGIC)) != _MAGIC:
                raise FileError("it is none, or one of another version of napari-medicosam")
            for head, unpacked in records_in(file):
                document = head.session
                if not masks:
                    shape = document.image.shape_tzyx
                    masks = {name: empty_label_map(shape, dtype) for name, dtype in MASK_DTYPES.items()}
                put_patches(masks, head.patches, unpacked)
        if document is None:
            raise FileError("it has no whole record: there is nothing to restore")
        state = state_of(document)
    except (MedicoSamError, OSError, ValueError, zlib.error) as error:
        raise FileError(f"{path} cannot be read as a journal: {error}") from error
    return SavedSession(state, masks["labels"], masks["edited"]).counted()


def remove_journal(path: Path, lock: filelock.BaseFileLock | None = None) -> None:
    """Delete a journal, with its lock."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        _shortened(path).unlink(missing_ok=True)  # of a writer that died
    if lock is not None:
        lock.release()
    with suppress(OSError):  # on Windows, where another process holds it
        _lock_of(path).unlink(missing_ok=True)


def _create(path: Path) -> BinaryIO:
    """A new file that nobody else can read, with its first line."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
    file = os.fdopen(handle, "wb")
    file.write(_MAGIC)
    file.flush()
    return file


def _shortened(path: Path) -> Path:
    return path.with_suffix(".partial")


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _patches_of(session: SavedSession) -> list[Patch]:
    """All of its masks."""
    patches = []
    both: dict[Masks, NDArray[Any]] = {"labels": session.labels, "edited": session.edited}
    for name, masks in both.items():
        for time_point, volume in enumerate(masks):
            for z, one in enumerate(volume):
                region = Region.of_mask(one != 0)
                if not region.is_empty:
                    patches.append(Patch(name, time_point, z, region, one[region.slices_yx]))
    return patches
