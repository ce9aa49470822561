"""Bad NRRD and MetaImage files."""

from __future__ import annotations

import bz2
import gzip
import zlib
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bad_case import BadFile, bytes_file, spoilt_everywhere
from bad_nifti import MEGABYTE, NOISE, NUM_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator


@cache
def itk(suffix: str) -> bytes:
    """A sound file as SimpleITK writes it, header and voxels in one."""
    import SimpleITK

    with TemporaryDirectory() as folder:
        path = Path(folder, f"sound{suffix}")
        image = SimpleITK.GetImageFromArray(NOISE)
        image.SetSpacing((0.8, 1.5, 2.5))
        SimpleITK.WriteImage(image, str(path))
        return path.read_bytes()


NRRD_FIELDS = {
    "type": "int16", "dimension": "3", "sizes": "11 10 9", "encoding": "raw", "endian": "little",
    "space": "left-posterior-superior", "space directions": "(0.8,0,0) (0,1.5,0) (0,0,2.5)",
    "space origin": "(1,2,3)",
}  # fmt: skip


def nrrd(magic: str = "NRRD0004", body: bytes | None = None, **changes: str | None) -> bytes:
    """A file of fields as text; a change of None leaves the field out, `_` stands for a space."""
    fields = NRRD_FIELDS | {name.replace("_", " "): value for name, value in changes.items()}
    lines = [magic, *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\n".join([*lines, "", ""]).encode() + (NOISE.tobytes() if body is None else body)


def packed_nrrd() -> bytes:
    return nrrd(encoding="gzip", body=gzip.compress(NOISE.tobytes(), mtime=0))


def bz2_nrrd() -> bytes:
    return nrrd(encoding="bzip2", body=bz2.compress(NOISE.tobytes()))


LIST_FIELDS = {
    "dimension": "4", "sizes": "11 10 3 3", "kinds": "domain domain domain time",
    "space_directions": "(0.8,0,0) (0,1.5,0) (0,0,2.5) none",
}  # fmt: skip


def list_nrrd(**changes: str | None) -> bytes:
    """Three volumes over time."""
    return nrrd(**LIST_FIELDS | changes)


def bad_nrrd_lists() -> Iterator[BadFile]:
    """Over time, and written anew for ITK."""
    yield from spoilt_everywhere(list_nrrd, "times", ".list.nrrd", (1, 100, 0.5, -1), 12, (0, 250))
    changes: dict[str, dict[str, str | None]] = {
        "kinds-too-few": {"kinds": "domain time"},
        "kinds-too-many": {"kinds": "domain domain domain domain domain time"},
        "kinds-all-times": {"kinds": "time time time time"},
        "kinds-of-two-lists": {"kinds": "domain domain list time"},
        "kinds-unknown": {"kinds": "domain domain domain moon"},
        "directions-all-none": {"space_directions": "none none none none", "kinds": None},
        "sizes-huge": {"sizes": "11 10 3 2000000000"},
        "sizes-of-0": {"sizes": "11 10 3 0"},
        "sizes-no-numbers": {"sizes": "a b c d", "encoding": "bzip2"},
        "sizes-none": {"sizes": None, "encoding": "bzip2"},
        "skip-no-number": {"byte_skip": "a lot", "encoding": "bzip2"},
        "in-several-files": {"data_file": "slice%d.raw 1 9 1"},
        "in-itself": {"data_file": "in-itself.list.nrrd", "sizes": "11 10 3 999"},
        "bzip2-that-is-none": {"encoding": "bzip2"},
    }
    for name, change in changes.items():
        yield BadFile(
            f"{name}.list.nrrd",
            "times",
            "a field of the header makes no sense",
            bytes_file(lambda change=change: list_nrrd(**change)),
            "either" if name.startswith("kinds") else "refused",
            declared=NUM_BYTES,
        )


def _bad_bzip2() -> Iterator[BadFile]:
    lengths = (0.6, -1, -5, -9)
    yield from spoilt_everywhere(bz2_nrrd, "volume", ".bz2.nrrd", lengths, 12, (250, None), "same or refused")
    zeros = cache(lambda: bz2.compress(bytes(64 * MEGABYTE)))
    sizes = {"more": "11 10 9", "as-much": "4096 4096 2", "less": "4096 4096 4"}
    for name, size in sizes.items():
        yield BadFile(
            f"bomb-of-{name}.bz2.nrrd",
            "volume",
            "64 MB of zeros in 50 bytes",
            bytes_file(lambda size=size: nrrd(encoding="bzip2", sizes=size, body=zeros())),
            "read" if name == "as-much" else "refused",
            declared=64 * MEGABYTE if name == "as-much" else NUM_BYTES,
        )


def bad_nrrd() -> Iterator[BadFile]:
    """All of them."""
    yield from _bad_bzip2()
    yield from spoilt_everywhere(
        packed_nrrd, "volume", ".gz.nrrd", (0.6, -1, -5, -9), 10, (300, None), "same or refused"
    )
    yield from spoilt_everywhere(lambda: itk(".nrrd"), "volume", ".nrrd", (1, 8, 60, 0.5, -1), 14, (0, 250))
    huge = "30000 30000 30000"
    changes: dict[str, dict[str, str | None]] = {
        "no-sizes": {"sizes": None},
        "two-sizes": {"sizes": "11 10"},
        "a-size-of-0": {"sizes": "11 0 9"},
        "a-negative-size": {"sizes": "11 -10 9"},
        "huge-sizes": {"sizes": huge},
        "sizes-over-64-bits": {"sizes": "99999999999 99999999999 99999999999"},
        "sizes-that-wrap-around": {"sizes": "4294967296 4294967296 3"},
        "sizes-no-numbers": {"sizes": "eleven ten nine"},
        "no-dimension": {"dimension": None},
        "dimension-0": {"dimension": "0"},
        "dimension-17": {"dimension": "17", "sizes": " ".join(["1"] * 17)},
        "dimension-huge": {"dimension": "1000000"},
        "dimension-1": {"dimension": "1", "sizes": "990", "space": None, "space_directions": None,
                        "space_origin": None},
        "unknown-type": {"type": "quaternion"},
        "type-block": {"type": "block", "block_size": "4"},
        "unknown-encoding": {"encoding": "rot13"},
        "gzip-that-is-none": {"encoding": "gzip"},
        "huge-gzip": {"encoding": "gzip", "sizes": huge},
        "huge-hex": {"encoding": "hex", "sizes": huge},
        "huge-text": {"encoding": "text", "sizes": huge},
        "text-that-is-none": {"encoding": "text"},
        "huge-bzip2": {"encoding": "bzip2", "sizes": huge},
        "directions-nan": {"space_directions": "(nan,0,0) (0,1.5,0) (0,0,2.5)"},
        "directions-infinite": {"space_directions": "(inf,0,0) (0,1.5,0) (0,0,2.5)"},
        "directions-zero": {"space_directions": "(0,0,0) (0,1.5,0) (0,0,2.5)"},
        "directions-parallel": {"space_directions": "(1,0,0) (1,0,0) (0,0,2.5)"},
        "directions-malformed": {"space_directions": "(1,0 0,1,0) ("},
        "origin-nan": {"space_origin": "(nan,2,3)"},
        "unknown-space": {"space": "the-moon"},
        "skip-all-bytes": {"byte_skip": "100000000"},
        "data-elsewhere": {"data_file": "../../../../../../etc/hostname"},
        "data-of-a-device": {"data_file": "/dev/zero", "sizes": huge},
        "data-files-without-end": {"data_file": "slice%d.raw 1 2000000000 1"},
        "data-files-that-are-not-there": {"data_file": "slice%d.raw 1 9 1"},
        "data-format-string": {"data_file": "%s%s%s%n 1 9 1"},
    }  # fmt: skip
    for name, change in changes.items():
        yield BadFile(
            f"{name}.nrrd",
            "volume",
            "a field of the header makes no sense",
            bytes_file(lambda change=change: nrrd(**change)),
            declared=NUM_BYTES,
        )
    yield BadFile(
        "skip-negative.nrrd", "volume", "bytes to skip", bytes_file(lambda: nrrd(byte_skip="-5")), "either"
    )
    yield BadFile(
        "without-endian.nrrd",
        "volume",
        "byte order not said",
        bytes_file(lambda: nrrd(endian=None)),
        "either",
    )
    yield BadFile(
        "spacing-zero.nrrd",
        "volume",
        "zero spacing",
        bytes_file(lambda: nrrd(space=None, space_directions=None, space_origin=None, spacings="0 1 1")),
    )
    yield BadFile(
        "spacing-nan.nrrd",
        "volume",
        "spacing that is no number",
        bytes_file(
            lambda: nrrd(space=None, space_directions=None, space_origin=None, spacings="nan nan nan")
        ),
        "either",
    )
    yield BadFile(
        "not-orthogonal.nrrd",
        "volume",
        "sheared axes",
        bytes_file(lambda: nrrd(space_directions="(1,0,0) (0.3,1,0) (0,0,2)")),
        "read",
    )
    yield BadFile("magic.nrrd", "volume", "another magic", bytes_file(lambda: nrrd("NRRD9999")))
    yield BadFile(
        "one-endless-line.nrrd",
        "volume",
        "1 MB without an end of line",
        bytes_file(lambda: b"NRRD0004\n" + b"a" * MEGABYTE),
    )
    yield BadFile(
        "header-of-fields.nrrd",
        "volume",
        "20000 fields",
        bytes_file(lambda: b"NRRD0004\n" + b"".join(b"k%d:=v\n" % i for i in range(20000))),
    )
    bomb = lambda: nrrd(  # noqa: E731
        encoding="gzip", body=gzip.compress(bytes(64 * MEGABYTE), mtime=0)
    )
    yield BadFile(
        "bomb.nrrd",
        "volume",
        "64 MB packed behind a header of 2 kB",
        bytes_file(bomb),
        "either",
        declared=NUM_BYTES,
    )
    yield BadFile(
        "traversal.nhdr",
        "volume",
        "voxels in a file outside of the folder that is not there",
        bytes_file(lambda: nrrd(data_file="../../nothing/voxels.raw", body=b"")),
    )


META_FIELDS = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "1 2 3",
    "ElementSpacing": "0.8 1.5 2.5", "DimSize": "11 10 9", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
}  # fmt: skip


def meta(body: bytes | None = None, **changes: str | None) -> bytes:
    """A file of fields as text; `ElementDataFile` stays the last one."""
    fields = META_FIELDS | changes
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    return "\n".join([*lines, ""]).encode() + (NOISE.tobytes() if body is None else body)


def packed_meta() -> bytes:
    return meta(zlib.compress(NOISE.tobytes()), CompressedData="True")


def bad_meta() -> Iterator[BadFile]:
    """All of them."""
    yield from spoilt_everywhere(
        packed_meta, "volume", ".zlib.mha", (0.6, -1, -5, -9), 10, (300, None), "same or refused"
    )
    colons = lambda: meta().replace(b" = ", b": ")  # noqa: E731
    yield BadFile("colons.mha", "volume", "another sign between name and value", bytes_file(colons), "read")
    yield from spoilt_everywhere(lambda: itk(".mha"), "volume", ".mha", (1, 20, 200, 0.5, -1), 14, (0, 300))
    huge = "30000 30000 30000"
    changes: dict[str, dict[str, str | None]] = {
        "no-dimensions": {"NDims": "0"},
        "minus-one-dimensions": {"NDims": "-1"},
        "eleven-dimensions": {"NDims": "11", "DimSize": " ".join(["2"] * 11)},
        "many-dimensions": {"NDims": "1000", "DimSize": " ".join(["1"] * 1000)},
        "dimensions-without-end": {"NDims": "2000000000"},
        "no-sizes": {"DimSize": None},
        "two-sizes": {"DimSize": "11 10"},
        "a-size-of-0": {"DimSize": "11 0 9"},
        "a-negative-size": {"DimSize": "11 -10 9"},
        "huge-sizes": {"DimSize": huge},
        "sizes-over-32-bits": {"DimSize": "4294967307 10 9"},
        "huge-packed": {"DimSize": huge, "CompressedData": "True"},
        "huge-as-text": {"DimSize": huge, "BinaryData": "False"},
        "packed-that-is-none": {"CompressedData": "True"},
        "packed-size-that-lies": {"CompressedData": "True", "CompressedDataSize": "99999999999"},
        "packed-size-negative": {"CompressedData": "True", "CompressedDataSize": "-4"},
        "spacing-zero": {"ElementSpacing": "0 1 1"},
        "spacing-nan": {"ElementSpacing": "nan nan nan"},
        "matrix-nan": {"TransformMatrix": "nan 0 0 0 1 0 0 0 1"},
        "matrix-zero": {"TransformMatrix": "0 0 0 0 0 0 0 0 0"},
        "matrix-parallel": {"TransformMatrix": "1 0 0 1 0 0 0 0 1"},
        "offset-nan": {"Offset": "nan 0 0"},
        "unknown-type": {"ElementType": "MET_QUATERNION"},
        "type-none": {"ElementType": "MET_NONE"},
        "channels-0": {"ElementNumberOfChannels": "0"},
        "channels-negative": {"ElementNumberOfChannels": "-1"},
        "channels-a-billion": {"ElementNumberOfChannels": "1000000000"},
        "header-size-huge": {"HeaderSize": "99999999"},
        "data-not-there": {"ElementDataFile": "../../nothing/voxels.raw"},
        "data-of-a-device": {"ElementDataFile": "/dev/zero", "DimSize": huge},
        "data-of-itself": {"ElementDataFile": "data-of-itself.mha", "DimSize": "1000 1000 9"},
        "data-list-of-devices": {"ElementDataFile": "LIST\n/dev/zero\n/dev/zero", "DimSize": huge},
        "data-files-without-end": {"ElementDataFile": "slice%d.raw 1 2000000000 1"},
        "data-format-string": {"ElementDataFile": "%s%s%s%n 1 9 1"},
    }  # fmt: skip
    for name, change in changes.items():
        yield BadFile(
            f"{name}.mha",
            "volume",
            "a field of the header makes no sense",
            bytes_file(lambda change=change: meta(**change)),
            declared=NUM_BYTES,
        )
    sheared = {"TransformMatrix": "1 0 0 0.3 1 0 0 0 1"}
    yield BadFile(
        "not-orthogonal.mha", "volume", "sheared axes", bytes_file(lambda: meta(**sheared)), "either"
    )
    yield BadFile(
        "type-string.mha", "volume", "text", bytes_file(lambda: meta(ElementType="MET_STRING")), "either"
    )
    yield BadFile(
        "spacing-negative.mha",
        "volume",
        "negative spacing",
        bytes_file(lambda: meta(ElementSpacing="-1 1 1")),
        "either",
    )
    yield BadFile(
        "endless-line.mha",
        "volume",
        "1 MB without an end",
        bytes_file(lambda: b"ObjectType = " + b"a" * MEGABYTE),
    )
    bomb = lambda: meta(zlib.compress(bytes(64 * MEGABYTE)), CompressedData="True")  # noqa: E731
    yield BadFile(
        "bomb.mha",
        "volume",
        "64 MB packed behind a header of 2 kB",
        bytes_file(bomb),
        "either",
        declared=NUM_BYTES,
    )
