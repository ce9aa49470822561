"""What image a JPEG, JPEG-LS or JPEG 2000 codestream says it holds: decoders ask for as much memory as it says."""

from __future__ import annotations

import struct
from typing import NamedTuple

_JPEG_START = b"\xff\xd8"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_JP2_START, _JP2_BOX = b"\0\0\0\x0cjP  ", struct.Struct(">I4s")
"""A file around a codestream, made of boxes: each begins with its length and a name."""

_FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Start of frame: of JPEG (without tables, which share the range) and of JPEG-LS."""


class CodestreamImage(NamedTuple):
    """The image in a codestream: rows and columns, bits a sample, samples a pixel."""

    size_yx: tuple[int, int]
    bits: int
    num_samples: int


def image_in(codestream: bytes) -> CodestreamImage | None:
    """The image; None for another kind of codestream, or one that ends before it says.

    Raises:
        ValueError: for a file of JPEG 2000 whose boxes make no sense; pydicom would look for the next one for ever.
    """
    try:
        if codestream.startswith(_JP2_START):
            codestream = _out_of_boxes(codestream)
        if codestream.startswith(_JPEG_2000_START):
            right, bottom, left, top = struct.unpack_from(">4I", codestream, 8)
            num_samples, depth = struct.unpack_from(">HB", codestream, 40)
            return CodestreamImage((bottom - top, right - left), (depth & 0x7F) + 1, num_samples)
        return _image_in_jpeg(codestream) if codestream.startswith(_JPEG_START) else None
    except struct.error:
        return None


def _out_of_boxes(file: bytes) -> bytes:
    at = len(_JP2_START) + 4
    while True:
        length, name = _JP2_BOX.unpack_from(file, at)
        if name == b"jp2c":
            return file[at + _JP2_BOX.size :]
        if length < _JP2_BOX.size:
            raise ValueError(
                f"it has a box of JPEG 2000 that is {length} bytes long: wanted at least {_JP2_BOX.size}"
            )
        at += length


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
