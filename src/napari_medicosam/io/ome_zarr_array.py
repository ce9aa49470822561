"""An array on disk or on a server that is read where it is indexed, chunk by chunk."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import real_array

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

KEPT_BYTES = 1 << 29
"""Of the chunks read last as much is kept: the next slice mostly lies in the same ones."""


class LazyArray:
    """Some axes of a zarr array; the others are held at one index. Read-only; integers and slices index it.

    Args:
        source: the zarr array.
        axes: its axes, letters of `ome_zarr_metadata.AXES`.
        kept: axes of this array, in the same order; one that `source` lacks has size 1.
        at: index along each axis of `source` that is not kept.
        where: how the array is called in messages.

    Raises:
        FileError: for an array that holds no real numbers; later, on indexing, for chunks that cannot be read.
    """

    def __init__(self, source: Any, axes: str, kept: str, at: Mapping[str, int], where: str) -> None:
        self._source = source
        self._axes = axes
        self._names = kept
        self._at = dict(at)
        self._where = where
        self._last: tuple[tuple[range, ...], NDArray[Any]] | None = None
        sizes = dict(zip(axes, source.shape, strict=True))
        self.shape = tuple(int(sizes.get(name, 1)) for name in kept)
        self.dtype = real_array(where, np.empty(0, source.dtype)).dtype
        chunks = dict(zip(axes, source.chunks, strict=True))
        self.chunks = tuple(
            min(int(chunks.get(name, 1)), n) for name, n in zip(kept, self.shape, strict=True)
        )
        """Size of a chunk along each axis."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, in memory."""
        return np.asarray(self[...], dtype=dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """A copy of what `key` selects; reads the chunks that hold it, and no others."""
        parts = self._parts(key)
        spans = tuple(_span(part, n) for part, n in zip(parts, self.shape, strict=True))
        found = self._read(spans)
        return found[tuple(slice(None) if isinstance(part, slice) else 0 for part in parts)]

    def _parts(self, key: Any) -> list[Any]:
        """One part of the key for each axis."""
        parts = list(key) if isinstance(key, tuple) else [key]
        missing = self.ndim - sum(part is not Ellipsis for part in parts)
        if missing < 0:
            raise IndexError(f"too many indices for an array of {self.ndim} axes: {key!r}")
        at = next((n for n, part in enumerate(parts) if part is Ellipsis), None)
        if at is None:
            return parts + [slice(None)] * missing
        return parts[:at] + [slice(None)] * missing + parts[at + 1 :]

    def _read(self, spans: tuple[range, ...]) -> NDArray[Any]:
        if not all(spans):
            return np.empty([len(span) for span in spans], self.dtype)
        last = self._last
        if last is not None and all(_covers(known, span) for known, span in zip(last[0], spans, strict=True)):
            return _part(last, spans)
        hull = tuple(
            range(span[0] // c * c, min(-(-(span[-1] + 1) // c) * c, n))
            for span, c, n in zip(spans, self.chunks, self.shape, strict=True)
        )
        num_bytes = math.prod(len(span) for span in hull) * self.dtype.itemsize
        if num_bytes > KEPT_BYTES or any(span.step > 1 for span in spans):
            return self._fetch(spans)
        # A chunk is decoded as a whole in any case.
        last = self._last = (hull, self._fetch(hull))
        return _part(last, spans)

    def _fetch(self, spans: Sequence[range]) -> NDArray[Any]:
        wanted = {
            name: slice(span.start, span.stop, span.step)
            for name, span in zip(self._names, spans, strict=True)
        }
        key = tuple(wanted.get(name, self._at.get(name, 0)) for name in self._axes)
        try:
            found = np.asarray(self._source[key])
        except Exception as error:  # codecs, file systems and networks raise anything
            reason = str(error).strip() or type(error).__name__
            raise FileError(
                f"cannot read {self._where}, a chunk may be damaged or out of reach: {reason}"
            ) from error
        missing = tuple(n for n, name in enumerate(self._names) if name not in self._axes)
        return real_array(self._where, np.expand_dims(found, missing))


def _span(part: Any, size: int) -> range:
    """The indices along one axis that a part of a key selects."""
    if isinstance(part, slice):
        span = range(*part.indices(size))
        if span.step < 0:
            raise IndexError(f"slices must go forward, got {part}")
        return span
    try:
        index = operator.index(part)
    except TypeError:
        raise IndexError(f"wanted slices and whole numbers, got {type(part).__name__}") from None
    if not -size <= index < size:
        raise IndexError(f"index {index} is outside an axis of {size}")
    return range(index % size, index % size + 1)


def _covers(known: range, span: range) -> bool:
    return known.start <= span[0] and span[-1] < known.stop


def _part(last: tuple[tuple[range, ...], NDArray[Any]], spans: Sequence[range]) -> NDArray[Any]:
    known, array = last
    return array[
        tuple(
            slice(span.start - all_of.start, span[-1] + 1 - all_of.start, span.step)
            for all_of, span in zip(known, spans, strict=True)
        )
    ].copy()
