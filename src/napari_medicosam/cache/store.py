"""Where embeddings are kept, so that a slice is encoded once: on disk, in memory, or both.

As built, on one folder: any number of processes and threads may read and write. What two of them write for
the same volume is the same, slice by slice, and each slice appears in one step, so the later one changes
nothing; at worst a slice that both meet at the same moment is encoded twice. Two volumes with the same number
of slices but other pixels replace each other's slices: slow, never wrong. So one writer a folder is what to
plan for, and nothing breaks when there are two.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_medicosam.cache.groups import SliceGroup, make_group, open_group, sweep_leftovers
from napari_medicosam.cache.keys import check_digest
from napari_medicosam.cache.memory import MemoryEmbeddingStore
from napari_medicosam.errors import CacheError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from napari_medicosam.cache.keys import EmbeddingKey
    from napari_medicosam.core.geometry import SlicePlane

__all__ = ["EmbeddingStore", "MemoryEmbeddingStore", "TieredEmbeddingStore", "ZarrEmbeddingStore"]


class EmbeddingStore(Protocol):
    """Embeddings made under one key. All methods may be called from any thread.

    Attributes:
        dtype: of what `get` returns, float16 or float32.
    """

    dtype: np.dtype[Any]

    def get(self, plane: SlicePlane, digest: bytes) -> NDArray[Any] | None:
        """The embedding (C, h, w) of the slice with these pixels, read-only.

        None when it is absent, was made from other pixels, or is damaged: then encode the slice and `put` it.
        """

    def put(self, plane: SlicePlane, digest: bytes, embedding: NDArray[Any]) -> NDArray[Any]:
        """Store an embedding (C, h, w), float16 or float32, and return it rounded as `get` will give it, read-only.

        What `get` already returns for this plane and digest stays as it is.

        Raises:
            InputError: for another shape or dtype, values that are not finite, or a digest that is none.
            CacheError: when it cannot be written. The slice then is not done.
        """

    def has(self, plane: SlicePlane, digest: bytes) -> bool:
        """True when the slice with these pixels is done. Cheap: the embedding itself is not looked at."""


class ZarrEmbeddingStore:
    """Embeddings of one volume on disk, in zarr v3: see `groups.py` for the layout.

    Nothing is written before the first `put`; a folder that can only be read serves for `get` and `has`.

    Args:
        root: the folder; made, with access for the user only, when it does not exist.
        key: how the embeddings are made.
        shape_zyx: voxels of the volume along each array axis.

    Raises:
        CacheError: by `get`, `put` and `has`, when the folder holds a volume with another number of slices
            along the axis or is damaged beyond single slices; by `put`, also when the disk is full or
            read-only.
        InputError: for a plane outside the volume.
    """

    def __init__(self, root: Path, key: EmbeddingKey, shape_zyx: tuple[int, int, int]) -> None:
        self.root = Path(root)
        self.key = key
        self.shape_zyx = shape_zyx
        self.dtype = key.read_dtype
        self._groups: dict[int, SliceGroup] = {}
        self._open_lock = threading.Lock()
        self._put_lock = threading.Lock()

    def get(self, plane: SlicePlane, digest: bytes) -> NDArray[Any] | None:
        """The embedding (C, h, w), read-only; None when absent, stale or damaged."""
        group = self._group(plane)
        return None if group is None else group.read(plane.index, digest)

    def put(self, plane: SlicePlane, digest: bytes, embedding: NDArray[Any]) -> NDArray[Any]:
        """Store an embedding (C, h, w) float16 or float32: see `EmbeddingStore.put`."""
        check_digest(digest)
        prepared = self.key.prepare(embedding)
        with self._put_lock, self._writing():
            group = self._group_to_write(plane)
            # Read back before it is left alone: a damaged slice may still be marked done.
            if group.read(plane.index, digest) is None:
                group.write(plane.index, digest, prepared)
        return prepared

    def has(self, plane: SlicePlane, digest: bytes) -> bool:
        """True when the slice with these pixels is marked done; only the mark is read."""
        group = self._group(plane)
        return group is not None and group.digest(plane.index) == digest

    def _group(self, plane: SlicePlane) -> SliceGroup | None:
        plane.check(self.shape_zyx)
        group = self._groups.get(plane.axis)
        if group is not None and group.exists:
            return group
        with self._open_lock:
            path = self.root / self.key.group_name(plane.axis)
            if plane.axis not in self._groups:
                sweep_leftovers(self.root, path)
            group = open_group(path, self.key.as_record(plane.axis), self._shape(plane.axis))
            if group is not None:
                self._groups[plane.axis] = group
            return group

    def _group_to_write(self, plane: SlicePlane) -> SliceGroup:
        group = self._group(plane)
        if group is None:
            path = self.root / self.key.group_name(plane.axis)
            make_group(path, self.key.as_record(plane.axis), self._shape(plane.axis))
            group = self._group(plane)
        if group is None:
            raise CacheError(f"the folder for embeddings {self.root} was deleted while it was written to")
        return group

    def _shape(self, axis: int) -> tuple[int, int, int, int]:
        return self.shape_zyx[axis], *self.key.spec.embedding_shape

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise CacheError(
                f"cannot write embeddings to {self.root}: {why}; "
                "wanted a folder with write access and free space"
            ) from error


class TieredEmbeddingStore:
    """Memory before disk: `get` asks memory first and fills it from disk, `put` writes both.

    `has` speaks for the disk, so that "done" means the same after a restart.

    Args:
        memory, disk: two stores of one key.

    Raises:
        InputError: when the two differ in dtype.
    """

    def __init__(self, memory: EmbeddingStore, disk: EmbeddingStore) -> None:
        if memory.dtype != disk.dtype:
            raise InputError(
                f"memory holds {memory.dtype} embeddings, the disk {disk.dtype}: wanted one dtype"
            )
        self.dtype = disk.dtype
        self._memory = memory
        self._disk = disk
        self._on_disk: set[tuple[SlicePlane, bytes]] = set()

    def get(self, plane: SlicePlane, digest: bytes) -> NDArray[Any] | None:
        """The embedding (C, h, w), read-only; None when neither has it."""
        embedding = self._memory.get(plane, digest)
        if embedding is None:
            embedding = self._disk.get(plane, digest)
            if embedding is not None:
                self._memory.put(plane, digest, embedding)
                self._on_disk.add((plane, digest))
        elif (plane, digest) not in self._on_disk:
            # It came into memory from another volume, or from a slice with equal pixels. Without this the
            # slice would be encoded after a restart. A disk that refuses must not hide what is in memory.
            with suppress(CacheError):
                self._put_on_disk(plane, digest, embedding)
        return embedding

    def put(self, plane: SlicePlane, digest: bytes, embedding: NDArray[Any]) -> NDArray[Any]:
        """Store an embedding in both. After a `CacheError` of the disk it still is in memory."""
        prepared = self._memory.put(plane, digest, embedding)
        self._put_on_disk(plane, digest, embedding)
        return prepared

    def has(self, plane: SlicePlane, digest: bytes) -> bool:
        """True when the disk has it."""
        return self._disk.has(plane, digest)

    def _put_on_disk(self, plane: SlicePlane, digest: bytes, embedding: NDArray[Any]) -> None:
        self._disk.put(plane, digest, embedding)
        self._on_disk.add((plane, digest))
