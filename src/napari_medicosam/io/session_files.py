"""A session as a file: one folder, or the same folder as one zip. docs/session_files.md describes the format.

session.json        all but the masks (`io/session_document.py`)
masks.zarr/
    labels  [t, z, y, x]  uint16, committed objects
    edited  [t, z, y, x]  uint8, 1 where the current object of a time point is while it is being edited
log.jsonl           how the masks came about (`io/session_log.py`); not there when nobody knows
"""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import LocalStore, ZipStore

from napari_medicosam.core.session_state import SavedSession
from napari_medicosam.errors import FileError, MedicoSamError
from napari_medicosam.io.checks import num_bytes_of
from napari_medicosam.io.replacing import replace_file, replace_folder
from napari_medicosam.io.session_document import parse_document
from napari_medicosam.io.session_log import lines_of, log_of
from napari_medicosam.io.session_values import document_of, software_versions, state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medicosam.core.mask_log import Entry
    from napari_medicosam.core.session_state import SessionState
    from napari_medicosam.io.session_document import SessionDocument

ZIP_SUFFIX = ".zip"
_DOCUMENT, _MASKS, _LOG = "session.json", "masks.zarr", "log.jsonl"
_MAX_DOCUMENT_BYTES = 256 << 20
_MAX_LOG_BYTES = 1 << 30
_MAX_OTHER_BYTES = 1 << 20  # zarr's own files, and what a chunk that does not shrink has more
_MAX_LINE_BYTES, _LINE_BYTES_A_VOXEL = 16 << 20, 16  # a propagation holds the masks of all of its objects
_CHUNK_BYTES = 8 << 20


def write_session(path: Path, session: SavedSession, *, overwrite: bool = False) -> None:
    """Write a session: a zip where the name ends in .zip, else a folder. Written beside, read back, then moved.

    Args:
        path: the file or folder to make, in a folder that exists.
        session: its image's digest is known.
        overwrite: whether an old session may be replaced. Nothing else than a session ever is.

    Raises:
        FileError: when something else is there, or it cannot be written.
    """
    if path.suffix.lower() == ZIP_SUFFIX:
        _check_replaced(path, is_session=path.is_file() and zipfile.is_zipfile(path))
        replace_file(
            path,
            ZIP_SUFFIX,
            lambda temporary: _write_zip(temporary, session),
            lambda temporary: _verify(temporary, session),
            overwrite=overwrite,
        )
        return
    _check_replaced(path, is_session=(path / _DOCUMENT).is_file())
    replace_folder(
        path,
        ".partial",
        lambda temporary: _write_folder(temporary, session),
        lambda temporary: _verify(temporary, session),
        overwrite=overwrite,
    )


def is_session(path: Path) -> bool:
    """True for a folder or a zip with a `session.json`, whatever that holds."""
    if path.is_dir():
        return (path / _DOCUMENT).is_file()
    if path.suffix.lower() != ZIP_SUFFIX:
        return False
    try:
        with zipfile.ZipFile(path) as packed:
            return _DOCUMENT in packed.namelist()
    except Exception:  # of a damaged zip, Python's own reader raises whatever it stumbles over
        return False


def read_state(path: Path) -> SessionState:
    """All of a session but its masks; voxels are not counted yet.

    Args:
        path: a folder, its `session.json`, or a zip.

    Raises:
        FileError: for what is no session, is damaged, or of a later version.
    """
    path = _root(path)
    document = _read_document(path)
    try:
        return state_of(document)
    except FileError as error:
        raise FileError(f"{path} cannot be read as a session: {error}") from error


def _read_document(path: Path) -> SessionDocument:
    try:
        with _stream(path, _DOCUMENT) as stream:
            text = stream.read(_MAX_DOCUMENT_BYTES + 1)
    except (FileNotFoundError, KeyError) as error:
        raise FileError(f"{path} cannot be read as a session: it has no {_DOCUMENT}") from error
    except Exception as error:  # see `is_session`
        raise FileError(
            f"{path} is damaged: its {_DOCUMENT} cannot be read ({_reason(error)}). Wanted a session, a folder or a zip"
        ) from error
    if len(text) > _MAX_DOCUMENT_BYTES:
        raise FileError(f"{path} is damaged: its {_DOCUMENT} is larger than {_MAX_DOCUMENT_BYTES >> 20} MB")
    try:
        return parse_document(text)
    except FileError as error:
        raise FileError(f"{path} cannot be read as a session: {error}") from error


def read_session(path: Path) -> SavedSession:
    """A session with its masks, voxels counted. Ask `read_state` first whether its image is one you know.

    Raises:
        FileError: as `read_state`, and for masks that are missing, damaged or of another shape.
    """
    path = _root(path)
    state = read_state(path)
    try:
        _check_packed(path, state)
        with _open_store(path) as (store, inner):
            found = [
                _read_array(store, f"{inner}{name}", dtype, state)
                for name, dtype in (("labels", "uint16"), ("edited", "uint8"))
            ]
    except MedicoSamError:
        raise
    except Exception as error:  # zarr and its codecs name many; to the user they are one
        raise FileError(f"{path} is damaged: its masks cannot be read ({_reason(error)})") from error
    return SavedSession(state, found[0], found[1] != 0, _read_log(path, state)).counted()


def read_software(path: Path) -> dict[str, str]:
    """Versions of what a session was made with, by package; raises as `read_state`."""
    return _read_document(_root(path)).software


def _root(path: Path) -> Path:
    """A file dialog can choose files alone: `session.json` stands for its folder."""
    path = path.parent if path.name == _DOCUMENT else path
    if not path.exists():
        raise FileError(f"{path} does not exist: wanted a session, a folder or a zip")
    return path


def _check_replaced(path: Path, *, is_session: bool) -> None:
    is_there = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    if is_there and not is_session:
        raise FileError(f"{path} exists and is no session: choose another name")


def _write_folder(folder: Path, session: SavedSession) -> None:
    document = document_of(session.state, software_versions())
    text = document.model_dump_json(indent=1) + "\n"
    (folder / _DOCUMENT).write_text(text, encoding="utf-8")
    if session.log:
        with (folder / _LOG).open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(f"{line}\n" for line in lines_of(session.log))
    store = LocalStore(folder / _MASKS)
    zarr.create_group(store)
    for name, masks in (("labels", session.labels), ("edited", session.edited.astype(np.uint8))):
        rows, columns = masks.shape[2:]
        slices = max(1, _CHUNK_BYTES // (rows * columns * masks.itemsize))
        made = zarr.create_array(
            store,
            name=name,
            shape=masks.shape,
            chunks=(1, min(slices, masks.shape[1]), rows, columns),
            dtype=masks.dtype,
            compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"), Crc32cCodec()],
            fill_value=0,
            dimension_names=("t", "z", "y", "x"),
        )
        made[...] = masks


def _write_zip(path: Path, session: SavedSession) -> None:
    with tempfile.TemporaryDirectory(prefix=".medicosam-", dir=path.parent) as folder:
        whole = Path(folder)
        _write_folder(whole, session)
        with zipfile.ZipFile(path, "w") as packed:
            for one in sorted(whole.rglob("*")):
                if one.is_file():
                    how = zipfile.ZIP_DEFLATED if one.suffix in (".json", ".jsonl") else zipfile.ZIP_STORED
                    packed.write(one, one.relative_to(whole).as_posix(), how)


def _verify(path: Path, session: SavedSession) -> None:
    """Raise `FileError` unless what was written is what was to be."""
    found = read_session(path)
    software = software_versions()
    is_same = (
        document_of(found.state, software) == document_of(session.state, software)
        and np.array_equal(found.labels, session.labels)
        and np.array_equal(found.edited, session.edited)
        and all(ours == theirs for ours, theirs in zip_longest(lines_of(found.log), lines_of(session.log)))
    )
    if not is_same:
        raise FileError(f"{path} was written, but reads back otherwise: nothing was replaced")


@contextmanager
def _stream(path: Path, name: str) -> Iterator[Any]:
    if path.is_dir():
        with (path / name).open("rb") as stream:
            yield stream
    else:
        with zipfile.ZipFile(path) as packed, packed.open(name) as stream:
            yield stream


def _read_log(path: Path, state: SessionState) -> tuple[Entry, ...]:
    """The log; empty where there is none."""
    try:
        with _stream(path, _LOG) as stream:
            shape = state.image.shape_tzyx
            return log_of(_lines(stream, num_bytes_of(shape, _LINE_BYTES_A_VOXEL)), shape)
    except (FileNotFoundError, KeyError):
        return ()
    except FileError as error:
        raise FileError(f"{path} is damaged: {error}") from error
    except Exception as error:  # see `is_session`
        raise FileError(f"{path} is damaged: its {_LOG} cannot be read ({_reason(error)})") from error


def _lines(stream: Any, most: int) -> Iterator[bytes]:
    """The lines of a log, none longer than `most` bytes and what has nothing to do with the size of the image."""
    left = _MAX_LOG_BYTES
    most += _MAX_LINE_BYTES
    while line := stream.readline(min(left, most) + 1):
        left -= len(line)
        if len(line) > most:
            raise FileError(f"a line of its {_LOG} is longer than {most} bytes")
        if left < 0:
            raise FileError(f"its {_LOG} is larger than {_MAX_LOG_BYTES >> 20} MB")
        yield line


@contextmanager
def _open_store(path: Path) -> Iterator[tuple[Any, str]]:
    """The store with the masks, and what their names in it begin with."""
    if path.is_dir():
        yield LocalStore(path / _MASKS, read_only=True), ""
        return
    store = ZipStore(path, mode="r", read_only=True)
    try:
        yield store, f"{_MASKS}/"
    finally:
        store.close()


def _check_packed(path: Path, state: SessionState) -> None:
    """Raise `FileError` for a zip in which a part of the masks would take more memory than all masks do."""
    if path.is_dir():
        return
    most = num_bytes_of(state.image.shape_tzyx, np.dtype(np.uint16).itemsize) + _MAX_OTHER_BYTES
    with zipfile.ZipFile(path) as packed:
        for part in packed.infolist():
            if part.filename.startswith(_MASKS) and part.file_size > most:
                raise FileError(
                    f"{path} is damaged: {part.filename} unpacks to {part.file_size} bytes, all of the masks have "
                    f"{most} at most"
                )


def _read_array(store: Any, name: str, dtype: str, state: SessionState) -> NDArray[Any]:
    array = zarr.open_array(store, path=name, mode="r")
    wanted = state.image.shape_tzyx
    if array.shape != wanted or array.dtype != np.dtype(dtype):
        raise FileError(
            f"the session is damaged: {name} is {array.dtype} of shape {array.shape}, wanted {dtype} of {wanted}"
        )
    return np.asarray(array[...])


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
