"""What image a JPEG, JPEG-LS or JPEG 2000 codestream says it holds: decoders ask for as much memory as it says."""

from __future__ import annotations

import struct
from typing import NamedTuple

_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Start of frame: of JPEG (without tables, which share the range) and of JPEG-LS."""


class CodestreamImage(NamedTuple):
    """The image in a codestream: rows and columns, bits a sample, samples a pixel."""

    size_yx: tuple[int, int]
    bits: int
    num_samples: int


def image_in(codestream: bytes) -> CodestreamImage | None:
    """The image; None for another kind of codestream, or one that ends before it says."""
    try:
        if codestream.startswith(_JPEG_2000_START):
            right, bottom, left, top = struct.unpack_from(">4I", codestream, 8)
            num_samples, depth = struct.unpack_from(">HB", codestream, 40)
            return CodestreamImage((bottom - top, right - left), (depth & 0x7F) + 1, num_samples)
        return _image_in_jpeg(codestream) if codestream.startswith(_JPEG_START) else None
    except struct.error:
        return None


def _image_in_jpeg(codestream: bytes) -> CodestreamImage | None:
    at = 2
    while True:
        prefix, marker, length = struct.unpack_from(">BBH", codestream, at)
        if prefix != 0xFF:
            return None
        if marker in _FRAME_MARKERS:
            bits, rows, columns, num_samples = struct.unpack_from(">BHHB", codestream, at + 4)
            return CodestreamImage((rows, columns), bits, num_samples)
        at += 1 if marker == 0xFF else 2 + length  # markers may be filled up with 0xff
