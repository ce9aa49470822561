"""Masks made small on a thread of their own, so that keeping one costs who works no more than a copy."""

from __future__ import annotations

import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_LEVEL = 1  # zlib's quickest


class Content:
    """Bytes, compressed on a thread: who makes one does not wait for it."""

    def __init__(self, packed: Future[bytes], num_raw: int) -> None:
        self._packed = packed
        self._num_raw = num_raw

    @classmethod
    def of(cls, array: NDArray[Any]) -> Content:
        """The voxels of an array, which nobody changes any more: bool as one bit each, else little-endian."""
        return cls(_thread().submit(_pack, array), array.nbytes)

    @classmethod
    def of_made(cls, make: Callable[[], NDArray[Any]], num_bytes: int) -> Content:
        """The voxels of an array that is made on the thread, from something of this size that nobody changes."""
        return cls(_thread().submit(lambda: _pack(make())), num_bytes)

    @classmethod
    def of_packed(cls, packed: bytes) -> Content:
        """What `packed` of another one gave."""
        known: Future[bytes] = Future()
        known.set_result(packed)
        return cls(known, len(packed))

    @property
    def packed(self) -> bytes:
        """Compressed; waits until it is."""
        return self._packed.result()

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        return len(self._packed.result()) if self._packed.done() else self._num_raw

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """The voxels again.

        Raises:
            ValueError, zlib.error: for bytes that are not those of such an array.
        """
        count = int(np.prod(shape))
        is_bits = np.dtype(dtype) == bool
        wanted = -(-count // 8) if is_bits else 2 * count
        unpacking = zlib.decompressobj()
        raw = unpacking.decompress(self.packed, wanted + 1)
        if len(raw) != wanted:
            raise ValueError(f"an array of shape {shape} has {len(raw)} bytes, wanted {wanted}")
        if is_bits:
            return np.unpackbits(np.frombuffer(raw, np.uint8), count=count).view(np.bool_).reshape(shape)
        return np.frombuffer(raw, "<u2").reshape(shape)


def _pack(array: NDArray[Any]) -> bytes:
    raw = np.packbits(array) if array.dtype == bool else np.ascontiguousarray(array, "<u2")
    return zlib.compress(raw.data, _LEVEL)


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="medicosam-log")
