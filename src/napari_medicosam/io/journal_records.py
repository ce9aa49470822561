"""One record of a journal to bytes and back: a session's document, and the parts of its masks that changed."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medicosam.io.session_document import SessionDocument  # noqa: TC001  pydantic reads it
from napari_medicosam.io.session_prompts import Index, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

    from napari_medicosam.core.results import Region

_HEAD = struct.Struct("<II")
_LENGTH = struct.Struct("<I")
_LEVEL = 1  # zlib's quickest
_PIECE = 1 << 16
_MAX_TEXT_BYTES = 256 << 20
"""As of a session's document."""

Masks = Literal["labels", "edited"]
MASK_DTYPES: dict[Masks, str] = {"labels": "<u2", "edited": "?"}


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


class PatchEntry(Record):
    """Where a patch lies; its voxels follow the text."""

    masks: Masks
    time: Index
    z: Index
    region_yxyx: tuple[Index, Index, Index, Index]


class RecordHead(Record):
    """The text of a record."""

    session: SessionDocument
    patches: tuple[PatchEntry, ...]


class Unpacked:
    """What packed bytes hold, a part at a time: only what was asked for takes memory, whatever else is in there."""

    def __init__(self, packed: bytes) -> None:
        self._stream = io.BytesIO(packed)
        self._unpacker = zlib.decompressobj()

    def take(self, num_bytes: int) -> bytes:
        """The next bytes; ValueError when there are fewer."""
        found = bytearray()
        piece = self._unpacker.unconsumed_tail
        while len(found) < num_bytes:
            part = self._unpacker.decompress(piece, num_bytes - len(found))
            piece = self._unpacker.unconsumed_tail or (b"" if part else self._stream.read(_PIECE))
            if not part and not piece:
                raise ValueError("a record ends before it should")
            found += part
        return bytes(found)


def packed_record(document: SessionDocument, patches: Sequence[Patch]) -> bytes:
    """A record, with its length and checksum."""
    entries = tuple(
        PatchEntry(
            masks=one.masks,
            time=one.time,
            z=one.z,
            region_yxyx=(one.region.y0, one.region.x0, one.region.y1, one.region.x1),
        )
        for one in patches
    )
    text = RecordHead(session=document, patches=entries).model_dump_json().encode("utf-8")
    packer = zlib.compressobj(_LEVEL)
    parts = [packer.compress(_LENGTH.pack(len(text)) + text)]
    for one in patches:
        voxels = np.ascontiguousarray(one.voxels, dtype=MASK_DTYPES[one.masks])
        parts.append(packer.compress(voxels.tobytes()))
    body = b"".join((*parts, packer.flush()))
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def begins_with_record(file: BinaryIO) -> bool:
    """True when a record begins here and is as long as it says."""
    start = file.read(_HEAD.size)
    return (
        len(start) == _HEAD.size and _HEAD.unpack(start)[0] <= os.fstat(file.fileno()).st_size - file.tell()
    )


def records_in(file: BinaryIO) -> Iterator[tuple[RecordHead, Unpacked]]:
    """Whole records from here on: what each says, and the voxels of its patches, which `put_patches` takes.

    Raises:
        ValueError, zlib.error: for a record that is whole and makes no sense.
    """
    num_bytes = os.fstat(file.fileno()).st_size
    while len(start := file.read(_HEAD.size)) == _HEAD.size:
        length, checksum = _HEAD.unpack(start)
        # Compared first: Python takes the memory that it is asked for before it looks at the file.
        body = file.read(length) if length <= num_bytes - file.tell() else b""
        if len(body) < length or zlib.crc32(body) != checksum:
            return  # the writer died here
        unpacked = Unpacked(body)
        (text_length,) = _LENGTH.unpack(unpacked.take(_LENGTH.size))
        if text_length > _MAX_TEXT_BYTES:
            raise ValueError(
                f"the text of a record has {text_length} bytes: wanted at most {_MAX_TEXT_BYTES}"
            )
        yield RecordHead.model_validate_json(unpacked.take(text_length)), unpacked


def put_patches(
    masks: Mapping[Masks, NDArray[Any]], patches: Sequence[PatchEntry], unpacked: Unpacked
) -> None:
    """Write the patches of a record into mask arrays [t, z, y, x]; ValueError for one that does not fit."""
    for patch in patches:
        y0, x0, y1, x1 = patch.region_yxyx
        into, dtype = masks[patch.masks], np.dtype(MASK_DTYPES[patch.masks])
        num_times, depth, rows, columns = into.shape
        if not (patch.time < num_times and patch.z < depth and y0 <= y1 <= rows and x0 <= x1 <= columns):
            raise ValueError(f"a part of slice {patch.z} lies outside the image")
        voxels = unpacked.take((y1 - y0) * (x1 - x0) * dtype.itemsize)
        into[patch.time, patch.z, y0:y1, x0:x1] = np.frombuffer(voxels, dtype).reshape(y1 - y0, x1 - x0)
