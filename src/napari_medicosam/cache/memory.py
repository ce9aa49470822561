"""Embeddings in memory: one pool for the whole process, content-addressed, with a limit in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from napari_medicosam.cache.keys import check_digest
from napari_medicosam.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medicosam.cache.keys import EmbeddingKey
    from napari_medicosam.core.geometry import SlicePlane


class MemoryEmbeddingStore:
    """A pool of embeddings; when it is full, the one used longest ago goes.

    Entries are found by how they were made and from which pixels, never by volume or slice number, so
    volumes, viewers and models share one pool. `bind` gives the `EmbeddingStore` of one key. Safe to use from
    many threads.

    Args:
        max_bytes: limit for the sum of all embeddings; 0 keeps nothing.

    Raises:
        InputError: for a negative limit.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise InputError(f"the memory for embeddings must not be negative, got {max_bytes} bytes")
        self.max_bytes = max_bytes
        self._entries: OrderedDict[tuple[str, bytes], NDArray[Any]] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def bind(self, key: EmbeddingKey) -> BoundMemoryStore:
        """The `EmbeddingStore` of one key in this pool. Two of equal keys see the same embeddings."""
        return BoundMemoryStore(self, key)

    @property
    def num_bytes(self) -> int:
        """Sum of all embeddings held."""
        return self._num_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._num_bytes = 0

    def find(self, group: str, digest: bytes) -> NDArray[Any] | None:
        """The entry, which now counts as just used; None when there is none."""
        with self._lock:
            embedding = self._entries.get((group, digest))
            if embedding is not None:
                self._entries.move_to_end((group, digest))
            return embedding

    def contains(self, group: str, digest: bytes) -> bool:
        """True when there is such an entry. It does not count as used."""
        with self._lock:
            return (group, digest) in self._entries

    def keep(self, group: str, digest: bytes, embedding: NDArray[Any]) -> None:
        """Hold on to a read-only array and drop what was used longest ago until all fit.

        One that is larger than the whole pool is not kept and drops nothing.
        """
        if embedding.nbytes > self.max_bytes:
            return
        with self._lock:
            old = self._entries.pop((group, digest), None)
            self._entries[group, digest] = embedding
            self._num_bytes += embedding.nbytes - (0 if old is None else old.nbytes)
            while self._num_bytes > self.max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self._num_bytes -= dropped.nbytes


class BoundMemoryStore:
    """The `EmbeddingStore` of one key in a memory pool: see `MemoryEmbeddingStore.bind`.

    Of a plane only the axis counts: slices with equal pixels share one entry.
    """

    def __init__(self, pool: MemoryEmbeddingStore, key: EmbeddingKey) -> None:
        self._pool = pool
        self._key = key
        self._groups = tuple(key.group_name(axis) for axis in range(3))
        self.dtype = key.read_dtype

    def get(self, plane: SlicePlane, digest: bytes) -> NDArray[Any] | None:
        """The embedding (C, h, w), read-only, or None."""
        return self._pool.find(self._groups[plane.axis], digest)

    def put(self, plane: SlicePlane, digest: bytes, embedding: NDArray[Any]) -> NDArray[Any]:
        """Keep a copy of an embedding (C, h, w) float16 or float32; `InputError` for anything else."""
        check_digest(digest)
        prepared = self._key.prepare(embedding)
        self._pool.keep(self._groups[plane.axis], digest, prepared)
        return prepared

    def has(self, plane: SlicePlane, digest: bytes) -> bool:
        """True when `get` would give an embedding."""
        return self._pool.contains(self._groups[plane.axis], digest)
