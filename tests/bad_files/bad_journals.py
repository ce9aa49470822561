"""Bad journals: cut short by a kill, damaged by a disk, or made by somebody else."""

from __future__ import annotations

import json
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

from bad_case import BadFile, bytes_file, spoilt_everywhere
from bad_sessions import MEGABYTE, SOUND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST_LINE = b"napari-medicosam journal 1\n"
NUM_RECORDS = 3


@cache
def journal() -> bytes:
    """A sound journal: all masks of the sound session, one record after the other the same."""
    return FIRST_LINE + record(_text()) * NUM_RECORDS


@cache
def _text() -> bytes:
    """What a record says, and the voxels of its two patches."""
    import zipfile

    with zipfile.ZipFile(SOUND) as packed:
        document = json.loads(packed.read("session.json"))
    patches = [
        {"masks": "labels", "time": 0, "z": 1, "region_yxyx": [2, 3, 6, 9]},
        {"masks": "edited", "time": 0, "z": 2, "region_yxyx": [0, 0, 2, 2]},
    ]
    voxels = bytes([1, 0]) * (4 * 6) + bytes([1, 0, 0, 1])
    return packed_text({"session": document, "patches": patches}, voxels)


def packed_text(head: Any, voxels: bytes) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<I", len(text)) + text + voxels


def record(content: bytes) -> bytes:
    """A record of this content, whose checksum holds."""
    body = zlib.compress(content)
    return struct.pack("<II", len(body), zlib.crc32(body)) + body


def _one(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A journal of one record whose text was changed."""
    content = _text()
    (length,) = struct.unpack_from("<I", content)
    head = json.loads(content[4 : 4 + length])
    change(head)
    return FIRST_LINE + record(packed_text(head, content[4 + length :]))


def _with_shape(*shape: int) -> bytes:
    return _one(lambda head: head["session"]["image"].update(shape_tzyx=shape))


def _with_region(*region: int) -> bytes:
    return _one(lambda head: head["patches"][0].update(region_yxyx=region))


def bad_journals() -> Iterator[BadFile]:
    """All of them."""
    # What follows a whole record may be cut or damaged: what was whole is read.
    whole = len(FIRST_LINE) + 8
    yield from spoilt_everywhere(
        journal,
        "journal",
        ".journal",
        (0.1, 1, 20, 27, 35),
        8,
        flip_range=(0, whole),
        after_flip="same or refused",
    )
    files: dict[str, tuple[Callable[[], bytes], str]] = {
        "last-record-cut": (lambda: journal()[:-5], "read"),
        "last-length-huge": (lambda: journal() + struct.pack("<II", 2**32 - 1, 0) + b"x", "read"),
        "last-record-damaged": (lambda: journal()[:-5] + b"noise", "read"),
        "first-length-huge": (lambda: FIRST_LINE + struct.pack("<II", 2**32 - 1, 0) + b"x", "refused"),
        "another-version": (lambda: journal().replace(b"journal 1", b"journal 2"), "refused"),
        "no-zlib": (
            lambda: FIRST_LINE + struct.pack("<II", 5, zlib.crc32(b"noise")) + b"noise", "refused",
        ),
        "empty-record": (lambda: FIRST_LINE + record(b""), "refused"),
        "text-longer-than-it-is": (lambda: FIRST_LINE + record(struct.pack("<I", 2**20) + b"{}"), "refused"),
        "text-bomb": (
            lambda: FIRST_LINE + record(struct.pack("<I", 300 * MEGABYTE) + bytes(300 * MEGABYTE)), "refused",
        ),
        "voxels-bomb": (lambda: FIRST_LINE + record(_text() + bytes(300 * MEGABYTE)), "read"),
        "voxels-missing": (lambda: FIRST_LINE + record(_text()[:-9]), "refused"),
        "deep-text": (lambda: FIRST_LINE + record(struct.pack("<I", 100_000) + b"[" * 100_000), "refused"),
        "shape-huge": (lambda: _with_shape(1, 10**6, 10**6, 10**6), "refused"),
        "shape-negative": (lambda: _with_shape(1, -6, 12, 17), "refused"),
        "region-outside": (lambda: _with_region(0, 0, 4, 10**9), "refused"),
        "region-turned": (lambda: _with_region(6, 9, 2, 3), "refused"),
        "unknown-field": (lambda: _one(lambda head: head.update(patient="x")), "refused"),
        "other-masks": (lambda: _one(lambda head: head["patches"][0].update(masks="image")), "refused"),
    }  # fmt: skip
    for name, (content, wanted) in files.items():
        yield BadFile(
            f"{name}.journal", "journal", "a journal that makes no sense", bytes_file(content), wanted,
            declared=1 << 16,
        )  # fmt: skip
