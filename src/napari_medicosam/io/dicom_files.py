"""Which files are DICOM, and reading them: also those of old archives, which begin with their first element."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import Dataset

_PREAMBLE = 132
_START = 4096
_KINDS = {
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"),
    *(b"ST", b"TM", b"UI", b"UL", b"US"),
}  # fmt: skip
_LONG_KINDS = {b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR"}
"""Value representations, and those whose lengths take four bytes."""

_META_GROUP, _FIRST_GROUP = 0x2, 0x8
_SYNTAX, _CLASS = (_META_GROUP, 0x10), (_FIRST_GROUP, 0x16)
_RECOGNITION_CODE, _MODALITY = (_FIRST_GROUP, 0x10), (_FIRST_GROUP, 0x60)
_DICOM_ROOT = b"1.2.840.10008."


def is_dicom_file(path: Path) -> bool:
    """True for a file that begins as DICOM does: 128 bytes of anything, then DICM; or with its first elements at once.

    Without DICM it takes several elements in order, one of which says that this is DICOM, ACR-NEMA or a modality. False
    for a file that cannot be read.
    """
    try:
        if not path.is_file():  # to open a pipe would wait for ever
            return False
        with path.open("rb") as stream:
            start = stream.read(_PREAMBLE)
            if start[128:] == b"DICM":
                return True
            if start[:2] not in (b"\2\0", b"\x08\0", b"\0\x08"):
                return False
            start += stream.read(_START - _PREAMBLE)
    except OSError:
        return False
    return _is_bare(start)


def read_dataset(path: Path, **arguments: Any) -> Dataset:
    """As `pydicom.dcmread`, of a file that `is_dicom_file`; how it is written and is grey are said if it does not."""
    dataset = dcmread(path, force=True, **arguments)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    if "Rows" in dataset and "SamplesPerPixel" not in dataset:  # ACR-NEMA knew no colours
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = dataset.get("PhotometricInterpretation") or "MONOCHROME2"
    return dataset


def has_dicom_magic(path: Path) -> bool:
    """True for a file with the letters DICM after 128 bytes, as nearly all have."""
    with path.open("rb") as stream:
        return stream.read(_PREAMBLE)[128:] == b"DICM"


def _is_bare(start: bytes) -> bool:
    """True for the first elements of a file without DICM; not where all else is deflated, which nobody writes so."""
    is_meta = start[0] == _META_GROUP
    order = ">" if start[0] == 0 else "<"
    last, has_syntax, num_texts = (0, 0), False, 0
    for tag, value in _elements(start, order):
        if tag <= last:
            return False
        last = tag
        if tag[0] != _META_GROUP and is_meta:
            return has_syntax
        if tag == _SYNTAX:
            has_syntax = value.rstrip(b"\0").decode("ascii", "replace") != DeflatedExplicitVRLittleEndian
        is_named = (
            (tag == _CLASS and value.startswith(_DICOM_ROOT))
            or (tag == _RECOGNITION_CODE and value.startswith(b"ACR-NEMA"))
            or (tag == _MODALITY and value.strip().isalpha() and value.isupper() and num_texts > 0)
        )
        if is_named and not is_meta:
            return True
        num_texts += tag[0] == _FIRST_GROUP and value.isascii()
    return False


def _elements(start: bytes, order: str) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Tags and values of the two first groups, and the tag behind them; ends where something is no element."""
    place = 0
    while place + 12 <= len(start):
        tag = struct.unpack_from(f"{order}HH", start, place)
        kind = start[place + 4 : place + 6]
        if tag[0] not in (_META_GROUP, _FIRST_GROUP):
            yield tag, b""
            return
        if kind in _LONG_KINDS:
            head, length = 12, struct.unpack_from(f"{order}I", start, place + 8)[0]
        elif kind in _KINDS:
            head, length = 8, struct.unpack_from(f"{order}H", start, place + 6)[0]
        else:  # without a value representation
            head, length = 8, struct.unpack_from(f"{order}I", start, place + 4)[0]
        if place + head + length > len(start):
            return
        yield tag, start[place + head : place + head + length]
        place += head + length
