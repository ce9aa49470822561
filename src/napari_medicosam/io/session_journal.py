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
import struct
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import filelock
import numpy as np
import platformdirs

from napari_medicosam.core.results import Region
from napari_medicosam.core.session_state import SavedSession
from napari_medicosam.errors import FileError, MedicoSamError
from napari_medicosam.io.session_document import SessionDocument  # noqa: TC001  pydantic reads it
from napari_medicosam.io.session_prompts import Index, Record
from napari_medicosam.io.session_values import document_of, software_versions, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medicosam.core.session_state import SessionState

JOURNALS_VARIABLE = "NAPARI_MEDICOSAM_JOURNALS"
KEPT_DAYS = 30
"""A journal that nobody wanted for so long is removed."""

_MAGIC = b"napari-medicosam journal 1\n"
_HEAD = struct.Struct("<II")
_LENGTH = struct.Struct("<I")
_DIGITS = 32
_LEVEL = 1  # zlib's quickest
_SUFFIX = ".journal"
_SHORTEN_AT, _GROWTH = 64 << 20, 4

Masks = Literal["labels", "edited"]
_DTYPES: dict[Masks, str] = {"labels": "<u2", "edited": "?"}


def journals_folder() -> Path:
    """Where journals lie: `NAPARI_MEDICOSAM_JOURNALS`, or the system's folder for state; it need not exist."""
    wanted = os.environ.get(JOURNALS_VARIABLE, "").strip()
    if wanted:
        return Path(wanted).expanduser().absolute()
    return Path(platformdirs.user_state_dir("napari-medicosam", appauthor=False)) / "journals"


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """What lies in a rectangle of a z-slice of one of the two mask arrays of a session.

    Attributes:
        masks: which.
        time, z: of which slice.
        region: where.
        voxels: uint16, or bool for "edited", the shape of the region.
    """

    masks: Masks
    time: int
    z: int
    region: Region
    voxels: NDArray[Any]


class _PatchEntry(Record):
    masks: Masks
    time: Index
    z: Index
    region_yxyx: tuple[Index, Index, Index, Index]


class _Head(Record):
    session: SessionDocument
    patches: tuple[_PatchEntry, ...]


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
        entries = tuple(
            _PatchEntry(
                masks=one.masks,
                time=one.time,
                z=one.z,
                region_yxyx=(one.region.y0, one.region.x0, one.region.y1, one.region.x1),
            )
            for one in patches
        )
        head = _Head(session=document_of(state, self._software), patches=entries)
        text = head.model_dump_json().encode("utf-8")
        packer = zlib.compressobj(_LEVEL)
        parts = [packer.compress(_LENGTH.pack(len(text)) + text)]
        parts += [packer.compress(_bytes_of(one)) for one in patches]
        body = b"".join((*parts, packer.flush()))
        file.write(_HEAD.pack(len(body), zlib.crc32(body)) + body)
        file.flush()
        os.fsync(file.fileno())

    def _shorten(self) -> None:
        """One record for all that were written. The old journal is there until the new one is complete."""
        session = read_journal(self.path)
        new = self.path.with_suffix(".partial")
        file = _create(new)
        self._write(file, session.state, _patches_of(session))
        file.close()
        self._file.close()
        new.replace(self.path)
        self._file = self.path.open("ab")
        self._shorten_at = max(self._shorten_at, _GROWTH * self._file.tell())


def find_journals(folder: Path, sha256: str) -> tuple[FoundJournal, ...]:
    """Journals of an image that nobody writes any more, the newest first. Those of half an eternity ago are removed."""
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
        if is_old:
            remove_journal(path, lock)
            continue
        lock.release()
        found.append(FoundJournal(path, written))
    return tuple(sorted(found, key=lambda one: one.written, reverse=True))


def read_journal(path: Path) -> SavedSession:
    """The session as the last whole record of a journal left it, voxels counted.

    Raises:
        FileError: for a file that is no journal, of another version, or that has no whole record.
    """
    document: SessionDocument | None = None
    masks: dict[Masks, NDArray[Any]] = {}
    try:
        for head, voxels in _records(path):
            document = head.session
            if not masks:
                shape = document.image.shape_tzyx
                masks = {name: np.zeros(shape, dtype) for name, dtype in _DTYPES.items()}
            _put_patches(masks, head.patches, voxels)
        if document is None:
            raise FileError("it has no whole record: there is nothing to restore")
        state = state_of(document)
    except (MedicoSamError, OSError, ValueError, struct.error, zlib.error) as error:
        raise FileError(f"{path} cannot be read as a journal: {error}") from error
    return SavedSession(state, masks["labels"], masks["edited"]).counted()


def remove_journal(path: Path, lock: filelock.BaseFileLock | None = None) -> None:
    """Delete a journal, with its lock."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
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


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _bytes_of(patch: Patch) -> bytes:
    return np.ascontiguousarray(patch.voxels, dtype=_DTYPES[patch.masks]).tobytes()


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


def _records(path: Path) -> Iterator[tuple[_Head, bytes]]:
    """Whole records from the first on: what each says, and the voxels of its patches."""
    with path.open("rb") as file:
        if file.readline(len(_MAGIC)) != _MAGIC:
            raise FileError("it is none, or one of another version of napari-medicosam")
        while len(start := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(start)
            body = file.read(length)
            if len(body) < length or zlib.crc32(body) != checksum:
                return  # the writer died here
            content = zlib.decompress(body)
            (text_length,) = _LENGTH.unpack_from(content)
            text_end = _LENGTH.size + text_length
            yield _Head.model_validate_json(content[_LENGTH.size : text_end]), content[text_end:]


def _put_patches(masks: dict[Masks, NDArray[Any]], patches: Sequence[_PatchEntry], voxels: bytes) -> None:
    """Write the patches of a record; ValueError for one that does not fit."""
    offset = 0
    for patch in patches:
        y0, x0, y1, x1 = patch.region_yxyx
        into, dtype = masks[patch.masks], np.dtype(_DTYPES[patch.masks])
        num_times, depth, rows, columns = into.shape
        if not (patch.time < num_times and patch.z < depth and y0 <= y1 <= rows and x0 <= x1 <= columns):
            raise ValueError(f"a part of slice {patch.z} lies outside the image")
        count = (y1 - y0) * (x1 - x0)
        part = np.frombuffer(voxels, dtype, count, offset).reshape(y1 - y0, x1 - x0)
        into[patch.time, patch.z, y0:y1, x0:x1] = part
        offset += part.nbytes
