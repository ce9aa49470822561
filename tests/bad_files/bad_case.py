"""What a bad file is, and the ways to spoil a sound one that all formats share."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

Wanted = Literal["refused", "read", "same or refused", "either"]
"""`refused`: an error of ours. `read`: it is odd, but sound. `same or refused`: a checksum guards it, so what is read
is what was written. `either`: a changed bit may be another picture, and then that is what the file says."""


@dataclass(frozen=True)
class BadFile:
    """One file of the corpus.

    `reader` is a key of `bad_readers.READERS`, `says` a regular expression that the refusal must match, `declared` the
    bytes that a reader has a right to: those of the voxels that the file really holds.
    """

    name: str
    reader: str
    why: str
    make: Callable[[Path], object]
    wanted: Wanted = "refused"
    says: str = ""
    declared: int = 0


def bytes_file(content: Callable[[], bytes]) -> Callable[[Path], object]:
    """Writes what `content` gives, which is asked only then: the list of files costs nothing."""
    return lambda path: path.write_bytes(content())


def flipped(content: bytes, name: str, first: int = 0, last: int | None = None) -> bytes:
    """`content` with one bit changed between two places; which one follows from `name`."""
    spoilt = bytearray(content)
    place = np.random.default_rng(zlib.crc32(name.encode())).integers(first, last or len(content))
    spoilt[place] ^= 1 << int(np.random.default_rng(int(place)).integers(8))
    return bytes(spoilt)


def spoilt_everywhere(
    sound: Callable[[], bytes],
    reader: str,
    suffix: str,
    lengths: Iterable[float],
    num_flips: int,
    flip_range: tuple[int, int | None] = (0, None),
    after_flip: Wanted = "either",
) -> Iterator[BadFile]:
    """Truncated files, files with one bit changed, and files of another kind, of one sound file.

    A length below 1 is a share of the file, a negative one is counted from its end.
    """

    def cut(length: float) -> bytes:
        content = sound()
        return content[: int(length * len(content)) if 0 < length < 1 else int(length)]

    for length in lengths:
        yield BadFile(
            f"cut-to-{length}{suffix}", reader, "truncated", bytes_file(lambda length=length: cut(length))
        )
    for number in range(num_flips):
        name = f"flip-{number}{suffix}"
        yield BadFile(
            name,
            reader,
            "one bit changed",
            bytes_file(lambda name=name: flipped(sound(), name, *flip_range)),
            after_flip,
            declared=1 << 16,
        )
    other_kinds = {
        "text": lambda: b"this is a text and nothing else\n" * 40,
        "zeros": lambda: bytes(4096),
        "noise": lambda: np.random.default_rng(1).bytes(4096),
        "first-bytes-only": lambda: sound()[:8] + bytes(4096),
    }
    for kind, content in other_kinds.items():
        yield BadFile(f"{kind}{suffix}", reader, "wrong magic or nothing behind it", bytes_file(content))
