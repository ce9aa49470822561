"""Bad DICOM files and series."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from bad_case import BadFile, bytes_file, flipped, spoilt_everywhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pydicom import Dataset

SLICES = np.random.default_rng(0).integers(0, 4000, (5, 20, 22)).astype(np.int16)


def dataset(number: int = 0, **changes: Any) -> Dataset:
    """One slice of a CT; a change of None leaves its field out."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    fields = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": f"1.2.3.4.{number + 1}", "SeriesInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3", "Modality": "CT", "InstanceNumber": number + 1, "Rows": 20, "Columns": 22,
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16,
        "HighBit": 15, "PixelRepresentation": 1, "ImagePositionPatient": [0, 0, 2.5 * number],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.7, 0.7], "SliceThickness": 2.5,
        "RescaleSlope": 1, "RescaleIntercept": -1024, "PixelData": SLICES[number].tobytes(),
    }  # fmt: skip
    for name, value in (fields | changes).items():
        if value is not None:
            setattr(made, name, value)
    made["PixelData"].VR = "OW"
    return made


def as_bytes(made: Dataset) -> bytes:
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@cache
def sound() -> bytes:
    return as_bytes(dataset())


def raw(old: bytes, new: bytes) -> Callable[[], bytes]:
    """The sound file with stored bytes replaced: what pydicom would refuse to write."""

    def changed() -> bytes:
        content = sound()
        assert content.count(old) == 1, old
        return content.replace(old, new)

    return changed


def bare() -> bytes:
    """The sound file as old archives keep it: what follows the letters DICM."""
    return sound()[132:]


def bare_implicit() -> bytes:
    """Without the elements that say how it is written, too."""
    made = dataset()
    del made.file_meta
    stream = io.BytesIO()
    made.save_as(stream, implicit_vr=True, little_endian=True)
    return stream.getvalue()


@cache
def mosaic() -> bytes:
    """Four slices in a picture, and the header of the scanner that says so."""
    tags = {"NumberOfImagesInMosaic": ("4",), "SliceNormalVector": ("0", "0", "1")}
    header = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, values in tags.items():
        header += struct.pack("<64si4s3i", name.encode(), len(values), b"FD", 4, len(values), 77)
        header += b"".join(struct.pack("<4i4s", 2, 2, 77, 2, value.encode()) for value in values)
    made = dataset(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"], Modality="MR")
    made.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", header)
    return as_bytes(made)


def bad_mosaics() -> Iterator[BadFile]:
    """Mosaics whose scanner's header, or their own, makes no sense."""
    place = cache(lambda: mosaic().index(b"SV10"))
    for number in range(40):
        name = f"flip-{number}.mosaic.dcm"
        content = lambda name=name: flipped(mosaic(), name, place(), place() + 310)  # noqa: E731
        yield BadFile(
            name, "volume", "a bit of the scanner's header", bytes_file(content), "either", declared=1 << 16
        )
    for count in (b"0\0", b"-1", b"x\0", b"\xff\xff", b"9\0", b"99"):
        slices = lambda count=count: mosaic().replace(b"\x02\0\0\x004\0", b"\x02\0\0\0" + count)  # noqa: E731
        yield BadFile(
            f"slices-{count.hex()}.mosaic.dcm", "volume", "slices that are not there", bytes_file(slices)
        )


def bad_bare_dicom() -> Iterator[BadFile]:
    """Single files without DICM."""
    for content, suffix in ((bare, ".bare"), (bare_implicit, ".implicit.bare")):
        yield from spoilt_everywhere(content, "volume", suffix, (1, 7, 60, 200, 0.3, 0.6, -1), 16, (0, 500))
    bomb = lambda: _deflate_bomb()[132:]  # noqa: E731
    yield BadFile("deflate-bomb.bare", "volume", "deflated, without DICM", bytes_file(bomb))


def _number(group: int, element: int, value: int) -> bytes:
    return struct.pack("<HH2sHH", group, element, b"US", 2, value)


def bad_dicom() -> Iterator[BadFile]:
    """Single files."""
    yield from spoilt_everywhere(
        sound, "volume", ".dcm", (1, 100, 128, 131, 200, 0.3, 0.6, -1), 20, (128, 700)
    )
    rows, columns = _number(0x28, 0x10, 20), _number(0x28, 0x11, 22)
    text = {"spacing": b"0.7\\0.7 ", "position": b"0.0\\0.0\\0.0 "}
    files: dict[str, tuple[Callable[[], bytes], str]] = {
        "rows-0": (raw(rows, _number(0x28, 0x10, 0)), "refused"),
        "rows-65535": (raw(rows, _number(0x28, 0x10, 65535)), "refused"),
        "rows-and-columns-65535": (
            lambda: raw(rows, _number(0x28, 0x10, 65535))().replace(columns, _number(0x28, 0x11, 65535)), "refused",
        ),
        "frames-2-to-31": (lambda: as_bytes(dataset(NumberOfFrames=2**31 - 1)), "refused"),
        "frames-negative": (lambda: as_bytes(dataset(NumberOfFrames=-3)), "refused"),
        "samples-7": (lambda: as_bytes(dataset(SamplesPerPixel=7)), "refused"),
        "bits-13": (lambda: as_bytes(dataset(BitsAllocated=13)), "refused"),
        "bits-65535": (raw(_number(0x28, 0x100, 16), _number(0x28, 0x100, 65535)), "refused"),
        "no-rows": (lambda: as_bytes(dataset(Rows=None)), "refused"),
        "no-pixels": (lambda: as_bytes(_without_pixels()), "refused"),
        "half-the-pixels": (lambda: as_bytes(dataset(PixelData=bytes(440))), "refused"),
        "spacing-0": (lambda: as_bytes(dataset(PixelSpacing=[0, 0.7])), "refused"),
        "spacing-negative": (lambda: as_bytes(dataset(PixelSpacing=[-1, 0.7])), "refused"),
        "spacing-nan": (raw(text["spacing"], b"nan\\0.7 "), "refused"),
        "spacing-a-word": (raw(text["spacing"], b"wide\\0.7"), "refused"),
        "position-nan": (raw(text["position"], b"nan\\0.0\\0.0 "), "refused"),
        "position-infinite": (raw(text["position"], b"0.0\\inf\\0.0 "), "refused"),
        "orientation-zero": (lambda: as_bytes(dataset(ImageOrientationPatient=[0] * 6)), "refused"),
        "orientation-parallel": (lambda: as_bytes(dataset(ImageOrientationPatient=[1, 0, 0, 1, 0, 0])), "refused"),
        "orientation-of-four": (lambda: as_bytes(dataset(ImageOrientationPatient=[1, 0, 0, 0])), "refused"),
        "slope-0": (lambda: as_bytes(dataset(RescaleSlope=0)), "either"),
        "unknown-syntax": (raw(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"), "refused"),
        "unknown-character-set": (lambda: as_bytes(dataset(SpecificCharacterSet="ISO_IR 9999")), "either"),
        "deflate-bomb": (_deflate_bomb, "either"),
        "sequences-without-end": (_deep_sequences, "either"),
    }  # fmt: skip
    for name, (content, wanted) in files.items():
        yield BadFile(
            f"{name}.dcm",
            "volume",
            "a field that makes no sense",
            bytes_file(content),
            wanted,
            declared=1 << 16,
        )


def _without_pixels() -> Dataset:
    made = dataset()
    del made.PixelData
    return made


def _deflate_bomb() -> bytes:
    """64 MB of empty elements in a deflated file of a few kB."""
    plain = sound().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    length = plain.index(b"\x02\0\x00\0UL\x04\0") + 8
    end_of_meta = length + 4 + struct.unpack_from("<I", plain, length)[0] + 2
    head = bytearray(plain[:end_of_meta])
    struct.pack_into("<I", head, length, end_of_meta - length - 4)
    place = head.index(b"1.2.840.10008.1.2.1.99") - 2
    struct.pack_into("<H", head, place, 22)
    packer = zlib.compressobj(9, wbits=-15)
    body = packer.compress(plain[end_of_meta:]) + packer.compress(bytes(1 << 26))
    return bytes(head) + body + packer.flush()


def _deep_sequences() -> bytes:
    """A sequence in a sequence, 3000 times."""
    content = sound()
    place = content.index(struct.pack("<HH", 0x28, 0x2))
    begin = struct.pack("<HH2sHI", 0x8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return content[:place] + begin * 3000 + end * 3000 + content[place:]


def bad_series() -> Iterator[BadFile]:
    """Folders of slices."""

    def series(spoil: Callable[[Path], object], **changes: Any) -> Callable[[Path], object]:
        def make(folder: Path) -> None:
            folder.mkdir()
            for number in range(5):
                (folder / f"{number}.dcm").write_bytes(as_bytes(dataset(number, **changes)))
            spoil(folder)

        return make

    def put(number: int, name: str = "more.dcm", **changes: Any) -> Callable[[Path], object]:
        return lambda folder: (folder / name).write_bytes(as_bytes(dataset(number, **changes)))

    def spoil_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
        return lambda folder: (folder / "2.dcm").write_bytes(change((folder / "2.dcm").read_bytes()))

    folders: dict[str, tuple[Callable[[Path], object], str]] = {
        "a-slice-twice": (series(put(2)), "either"),
        "a-slice-twice-with-other-pixels": (series(put(2, SOPInstanceUID="1.2.9", PixelData=bytes(880))), "refused"),
        "a-slice-of-another-series": (series(put(2, SOPInstanceUID="1.2.9", SeriesInstanceUID="1.9")), "refused"),
        "a-slice-of-another-size": (
            series(put(2, "2.dcm", Rows=10, Columns=22, PixelData=bytes(440))), "refused",
        ),
        "a-slice-missing": (series(lambda folder: (folder / "2.dcm").unlink()), "refused"),
        "a-slice-out-of-line": (series(put(2, "2.dcm", ImagePositionPatient=[30, 0, 5])), "refused"),
        "a-slice-turned": (
            series(put(2, "2.dcm", ImageOrientationPatient=[0, 1, 0, 0, 0, 1])), "refused",
        ),
        "a-slice-cut": (series(spoil_bytes(lambda content: content[:700])), "refused"),
        "a-slice-empty": (series(spoil_bytes(lambda content: b"")), "refused"),
        "a-slice-that-is-a-text": (series(spoil_bytes(lambda content: b"notes\n" * 50)), "refused"),
        "a-slice-with-a-bit-changed": (
            series(spoil_bytes(lambda content: flipped(content, "series", 700, 900))), "either",
        ),
        "all-at-one-place": (series(lambda folder: None, ImagePositionPatient=[0, 0, 0]), "refused"),
        "no-positions": (series(lambda folder: None, ImagePositionPatient=None), "either"),
        "a-link-to-itself": (series(lambda folder: (folder / "loop").symlink_to(folder)), "read"),
        "an-empty-folder": (lambda folder: folder.mkdir(), "refused"),
    }  # fmt: skip
    for name, (make, wanted) in folders.items():
        yield BadFile(f"{name}.series", "volume", "a folder of slices", make, wanted, declared=1 << 16)


def sound_series(folder: Path) -> None:
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.dcm").write_bytes(as_bytes(dataset(number)))
