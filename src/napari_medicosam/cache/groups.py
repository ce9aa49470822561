"""One zarr group on disk: the embeddings of all slices along one axis, made under one key.

    <root>/<32 hex digits>/          the key's `group_name`; attributes: the key's record
        embeddings   [N, C, h, w]    one chunk a slice, compressed
        slice_digest [N, 20]         one chunk a slice: 16 bytes digest of the pixels, 4 bytes seal

Embeddings in int8 (`quantisation.py`) have their C exponents in the entry of the slice, behind the seal: [N, 20 + C].

An entry of `slice_digest` is written after the slice's data and says three things: the slice is done, from
which pixels, and (the seal: crc32 over values and exponents) with which data. Every chunk also ends in its own
crc32c.

The seal is why no lock is needed: chunks are replaced one by one, so two writers, a kill or a power cut can
leave an entry beside another writer's data, but such a pair never passes for an embedding.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import LocalStore

from napari_medicosam.cache.keys import DIGEST_SIZE
from napari_medicosam.cache.quantisation import dequantise, quantise
from napari_medicosam.errors import CacheError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEAL_SIZE = 4
_ENTRY_SIZE = DIGEST_SIZE + _SEAL_SIZE
"""Without exponents."""

_FLAT = {"name": "default", "separator": "."}
"""Chunk files side by side instead of four folders a slice."""

_LEFTOVER_AGE_S = 24 * 3600.0
"""A write takes milliseconds, so a temporary file this old has lost its writer."""

_CHUNK_LEFTOVER = re.compile(r"c(\.\d+)*\.[0-9a-f]{32}\.partial")  # the names LocalStore gives
_GROUP_LEFTOVER = re.compile(r"\.[0-9a-f]{32}-\w+\.partial")


@dataclass(frozen=True, slots=True)
class SliceGroup:
    """An open group. Use `make_group` and `open_group` to get one."""

    path: Path
    embeddings: zarr.Array[Any]
    slice_digest: zarr.Array[Any]

    @property
    def exists(self) -> bool:
        """False after someone deleted the folder."""
        return (self.path / "zarr.json").is_file()

    def digest(self, index: int) -> bytes | None:
        """Digest of the pixels that slice `index` was encoded from; None when it is not done or damaged."""
        return self._entry(index)[:DIGEST_SIZE] or None

    def read(self, index: int, digest: bytes) -> NDArray[Any] | None:
        """The embedding (C, h, w), read-only; None unless it is whole and was made from these pixels."""
        entry = self._entry(index)
        if entry[:DIGEST_SIZE] != digest:
            return None
        embedding = _read_chunk(self.embeddings, index)
        exponents = entry[_ENTRY_SIZE:]
        if embedding is None or _seal(embedding, exponents) != entry[DIGEST_SIZE:_ENTRY_SIZE]:
            return None
        if embedding.dtype == np.int8:
            embedding = dequantise(embedding, np.frombuffer(exponents, np.int8))
        embedding.setflags(write=False)
        return embedding

    def write(self, index: int, digest: bytes, embedding: NDArray[Any]) -> None:
        """Write or replace slice `index`. OSError when the disk is full or read-only; it then is not done."""
        if self._entry(index):
            # Not done from here on: a kill before the last line must not leave the old claim to new data.
            self.slice_digest[index] = np.zeros(self.slice_digest.shape[1], np.uint8)
        exponents = b""
        if self.embeddings.dtype == np.int8:
            embedding, steps = quantise(embedding)
            exponents = steps.tobytes()
        self.embeddings[index] = embedding
        self.slice_digest[index] = np.frombuffer(digest + _seal(embedding, exponents) + exponents, np.uint8)

    def _entry(self, index: int) -> bytes:
        chunk = _read_chunk(self.slice_digest, index)
        return chunk.tobytes() if chunk is not None and chunk.any() else b""


def _read_chunk(array: zarr.Array[Any], index: int) -> NDArray[Any] | None:
    try:
        return np.asarray(array[index])
    except MemoryError:
        raise
    except Exception:
        # Whatever a codec or the disk makes of a damaged chunk, the cure is the same: encode the slice again.
        return None


def _seal(embedding: NDArray[Any], exponents: bytes) -> bytes:
    values = np.ascontiguousarray(embedding, dtype=embedding.dtype.newbyteorder("<"))
    checksum = zlib.crc32(exponents, zlib.crc32(values.reshape(-1).view(np.uint8).data))
    return checksum.to_bytes(_SEAL_SIZE, "little")


def _entry_size(shape: tuple[int, ...], record: dict[str, Any]) -> int:
    return _ENTRY_SIZE + (shape[1] if record["dtype"] == "int8" else 0)


def make_group(path: Path, record: dict[str, Any], shape: tuple[int, int, int, int]) -> None:
    """Make a group at `path`, whole or not at all; nothing happens when one is there, or gets there first.

    Args:
        path: of the group; the folder above is made with access for the user only.
        record: JSON-ready attributes.
        shape: (N, C, h, w) of the embeddings; `record["dtype"]` is their dtype.

    Raises:
        OSError: when the disk is full or read-only.
    """
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    # mkdtemp gives mode 0700, and a sibling can be renamed into place in one step.
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".partial", dir=path.parent))
    try:
        store = LocalStore(temporary)
        zarr.create_group(store, attributes=record)
        # lz4 on shuffled bits: as small as zstd on such data (7 % off), and twice as fast to read.
        packed = [BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle"), Crc32cCodec()]
        for name, array_shape, dtype, compressors in (
            ("embeddings", shape, record["dtype"], packed),
            ("slice_digest", (shape[0], _entry_size(shape, record)), "uint8", [Crc32cCodec()]),
        ):
            zarr.create_array(
                store,
                name=name,
                shape=array_shape,
                chunks=(1, *array_shape[1:]),
                dtype=dtype,
                compressors=compressors,
                fill_value=0,
                chunk_key_encoding=_FLAT,  # type: ignore[arg-type]
            )
        _move_into_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: Path, path: Path) -> None:
    debris = temporary.with_name(f".{path.name}-debris_{temporary.name.split('-')[1]}")
    if _is_debris(path):
        with suppress(OSError):
            path.rename(debris)
    try:
        temporary.rename(path)
    except OSError:
        if not path.is_dir():
            raise  # else another process made the group first
    finally:
        shutil.rmtree(debris, ignore_errors=True)


def _is_debris(path: Path) -> bool:
    """True for chunks without a group: someone deleted the group while a writer was at work on it."""
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    return bool(names) and names <= {"embeddings", "slice_digest"}


def open_group(path: Path, record: dict[str, Any], shape: tuple[int, int, int, int]) -> SliceGroup | None:
    """Open the group at `path`; None when there is none.

    Args:
        path: of the group.
        record: the attributes it must have.
        shape: (N, C, h, w) its embeddings must have.

    Raises:
        CacheError: for a group of a volume with another number of slices, or one that cannot be read as ours.
    """
    try:
        if not path.is_dir() or not any(path.iterdir()) or _is_debris(path):
            return None
        store = LocalStore(path)
        attributes = zarr.open_group(store, mode="r").attrs.asdict()
        embeddings = zarr.open_array(store, path="embeddings", mode="r+")
        digests = zarr.open_array(store, path="slice_digest", mode="r+")
    except Exception as error:  # zarr names many; to the user they are one
        raise CacheError(f"{_not_ours(path)}: {str(error) or type(error).__name__}") from error
    if embeddings.shape[1:] == shape[1:] and embeddings.shape[0] != shape[0]:
        raise CacheError(
            f"{path.parent} holds the embeddings of another volume: got {embeddings.shape[0]} slices "
            f"along axis {record['axis']}, wanted {shape[0]}; choose another folder"
        )
    entry_size = _entry_size(shape, record)
    for what, got, wanted in (
        ("attributes", attributes, record),
        ("embeddings", _layout(embeddings), (shape, (1, *shape[1:]), record["dtype"])),
        ("slice_digest", _layout(digests), ((shape[0], entry_size), (1, entry_size), "uint8")),
    ):
        if got != wanted:
            raise CacheError(f"{_not_ours(path)}: {what}: got {got}, wanted {wanted}")
    return SliceGroup(path, embeddings, digests)


def _layout(array: zarr.Array[Any]) -> tuple[Any, ...]:
    return array.shape, array.chunks, np.dtype(array.dtype).name


def _not_ours(path: Path) -> str:
    return (
        f"{path} cannot be read as stored embeddings; "
        "delete this folder to have them encoded again, or choose another one"
    )


def sweep_leftovers(root: Path, group_path: Path) -> None:
    """Remove temporary files and folders that killed writers left more than a day ago.

    Only names that this store and zarr give are touched: `root` may be a folder with other things in it.
    """
    for folder, pattern in (
        (root, _GROUP_LEFTOVER),
        (group_path / "embeddings", _CHUNK_LEFTOVER),
        (group_path / "slice_digest", _CHUNK_LEFTOVER),
    ):
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if pattern.fullmatch(entry.name)]
        except OSError:
            continue
        for name in names:
            _remove_if_old(folder / name)


def _remove_if_old(path: Path) -> None:
    try:
        if time.time() - path.stat().st_mtime < _LEFTOVER_AGE_S:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return  # another process was faster, or the folder is read-only: no harm either way
