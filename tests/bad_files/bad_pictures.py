"""Bad TIFF, PNG and JPEG files."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from bad_case import BadFile, bytes_file, spoilt_everywhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
STACK = np.random.default_rng(0).integers(0, 30000, (5, 20, 22)).astype(np.uint16)
MEGABYTE = 1 << 20


@cache
def picture(kind: str) -> bytes:
    """A sound PNG, JPEG or BMP."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind)
    return stream.getvalue()


def png(header: bytes, data: bytes, extra: bytes = b"") -> bytes:
    """A PNG of chunks with right checksums."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def ihdr(width: int, height: int, depth: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)


def bad_png() -> Iterator[BadFile]:
    """All of them."""
    lengths = (1, 8, 20, 33, 45, 0.5, 0.9)
    yield from spoilt_everywhere(
        lambda: picture("PNG"), "volume", ".png", lengths, 10, after_flip="same or refused"
    )
    rows = zlib.compress(bytes(51 * 40))
    files: dict[str, tuple[Callable[[], bytes], str]] = {
        "width-0": (lambda: png(ihdr(0, 40), rows), "refused"),
        "width-2-to-31": (lambda: png(ihdr(2**31 - 1, 2**31 - 1), rows), "refused"),
        "60000-squared": (lambda: png(ihdr(60000, 60000), rows), "refused"),
        "60000-squared-16-bit-colours": (lambda: png(ihdr(60000, 60000, 16, 2), rows), "refused"),
        "12000-squared-of-nothing": (lambda: png(ihdr(12000, 12000), rows), "refused"),
        "9000-squared-16-bit-colours-of-nothing": (lambda: png(ihdr(9000, 9000, 16, 2), rows), "refused"),
        "depth-3": (lambda: png(ihdr(50, 40, 3), rows), "refused"),
        "colour-type-9": (lambda: png(ihdr(50, 40, 8, 9), rows), "refused"),
        "palette-that-is-missing": (lambda: png(ihdr(50, 40, 8, 3), rows), "either"),
        "no-rows": (lambda: png(ihdr(50, 40), b""), "refused"),
        "half-the-rows": (lambda: png(ihdr(50, 40), zlib.compress(bytes(51 * 20))), "either"),
        "too-many-rows": (lambda: png(ihdr(50, 40), zlib.compress(bytes(51 * 4000))), "either"),
        "rows-bomb": (lambda: png(ihdr(50, 40), zlib.compress(bytes(64 * MEGABYTE))), "either"),
        "filter-77": (lambda: png(ihdr(50, 40), zlib.compress(b"\x4d" * (51 * 40))), "refused"),
        "text-bomb": (
            lambda: png(ihdr(50, 40), rows, chunk_of_text(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 * MEGABYTE)))),
            "either",
        ),
        "profile-bomb": (
            lambda: png(ihdr(50, 40), rows, chunk_of_text(b"iCCP", b"a\0\0" + zlib.compress(bytes(64 * MEGABYTE)))),
            "either",
        ),
        "chunk-that-never-ends": (
            lambda: picture("PNG")[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(100),
            "refused",
        ),
        "a-jpeg": (lambda: picture("JPEG"), "read"),
        "a-gif": (lambda: b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;", "refused"),
    }  # fmt: skip
    for name, (content, wanted) in files.items():
        yield BadFile(
            f"{name}.png",
            "volume",
            "a PNG that makes no sense",
            bytes_file(content),
            wanted,
            declared=1 << 16,
        )


def chunk_of_text(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def bad_bmp() -> Iterator[BadFile]:
    """All of them."""
    yield from spoilt_everywhere(lambda: picture("BMP"), "volume", ".bmp", (1, 14, 40, 0.5, -3), 12, (0, 60))
    sizes = ((0, 40), (-50, 40), (65500, 65500), (9000, 9000), (2**31 - 1, 2**31 - 1))
    for width, height in sizes:
        yield BadFile(
            f"{width}-by-{height}.bmp",
            "volume",
            "its size is not that of its pixels",
            bytes_file(
                lambda size=(width, height): (
                    picture("BMP")[:18] + struct.pack("<ii", *size) + picture("BMP")[26:]
                )
            ),
        )


def bad_jpeg() -> Iterator[BadFile]:
    """All of them."""
    lengths = (1, 2, 20, 160, 0.5, 0.8)
    yield from spoilt_everywhere(lambda: picture("JPEG"), "volume", ".jpg", lengths, 12)

    def size(width: int, height: int) -> bytes:
        content = picture("JPEG")
        place = content.index(b"\xff\xc0") + 5
        return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]

    for width, height in ((0, 40), (50, 0), (65500, 65500), (9000, 9000)):
        yield BadFile(
            f"{width}-by-{height}.jpg",
            "volume",
            "its size is not that of its pixels",
            bytes_file(lambda width=width, height=height: size(width, height)),
            declared=width * height,
        )
    segment = b"\xff\xe1\xff\xffExif\0\0II*\0\xff\xff\xff\xff" + bytes(0xFFFF - 20)
    yield BadFile(
        "exif-that-points-nowhere.jpg",
        "volume",
        "its EXIF leads outside",
        bytes_file(lambda: picture("JPEG")[:2] + segment + picture("JPEG")[2:]),
        "either",
        declared=1 << 16,
    )


@cache
def tiff(**options: Any) -> bytes:
    """A sound stack as tifffile writes it."""
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, STACK, photometric="minisblack", software=None, **options)
    return stream.getvalue()


_TYPE_SIZES = {3: ("H", 2), 4: ("I", 4), 5: ("II", 8), 2: ("s", 1), 16: ("Q", 8)}


def small_tiff(changes: dict[int, tuple[int, int, int] | None] | None = None, next_ifd: int = 0) -> bytes:
    """A TIFF of 50 x 40 pixels in one strip: tags as (type, count, value or offset); None leaves one out.

    Its directory lies at byte 8, the strip begins at byte 512.
    """
    tags: dict[int, tuple[int, int, int] | None] = {
        256: (3, 1, 50), 257: (3, 1, 40), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 512),
        277: (3, 1, 1), 278: (3, 1, 40), 279: (4, 1, 2000),
    }  # fmt: skip
    tags |= changes or {}
    entries = [struct.pack("<HHII", tag, *value) for tag, value in sorted(tags.items()) if value is not None]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", next_ifd)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(512, b"\0") + PIXELS.tobytes()


def bad_tiff() -> Iterator[BadFile]:
    """All of them."""
    yield from spoilt_everywhere(tiff, "volume", ".tif", (1, 4, 8, 0.5, 0.85), 14, (0, 400))
    packed = cache(lambda: tiff(compression="zlib"))
    yield from spoilt_everywhere(packed, "volume", ".zlib.tif", (0.5, 0.9), 6)
    huge = (4, 1, 2**31)
    changes: dict[str, tuple[dict[int, tuple[int, int, int] | None], int, str]] = {
        "directory-loop": ({}, 8, "refused"),
        "directory-behind-the-end": ({}, 10**8, "refused"),
        "directory-in-the-pixels": ({}, 600, "refused"),
        "width-0": ({256: (3, 1, 0)}, 0, "refused"),
        "no-width": ({256: None}, 0, "refused"),
        "width-huge": ({256: huge}, 0, "refused"),
        "all-huge": ({256: huge, 257: huge, 278: huge, 279: huge}, 0, "refused"),
        "all-huge-lzw": ({256: (4, 1, 300000), 257: (4, 1, 300000), 259: (3, 1, 5)}, 0, "refused"),
        "all-huge-packbits": ({256: (4, 1, 300000), 257: (4, 1, 300000), 259: (3, 1, 32773)}, 0, "refused"),
        "all-huge-zlib": ({256: (4, 1, 300000), 257: (4, 1, 300000), 259: (3, 1, 8)}, 0, "refused"),
        "all-huge-jpeg": ({256: (4, 1, 300000), 257: (4, 1, 300000), 259: (3, 1, 7)}, 0, "refused"),
        "zlib-that-is-none": ({259: (3, 1, 8)}, 0, "refused"),
        "lzw-that-is-none": ({259: (3, 1, 5)}, 0, "either"),
        "unknown-compression": ({259: (3, 1, 4711)}, 0, "refused"),
        "strip-behind-the-end": ({273: (4, 1, 10**8)}, 0, "refused"),
        "strip-too-short": ({279: (4, 1, 20)}, 0, "either"),
        "a-strip-of-two": ({278: (3, 1, 20), 279: (4, 1, 1000)}, 0, "refused"),
        "strip-of-nothing": ({273: (4, 1, 0), 279: (4, 1, 0)}, 0, "refused"),
        "strips-without-end": ({273: (4, 2**30, 512), 279: (4, 2**30, 512)}, 0, "refused"),
        "no-strips": ({273: None, 279: None}, 0, "refused"),
        "bits-0": ({258: (3, 1, 0)}, 0, "refused"),
        "bits-65535": ({258: (3, 1, 65535)}, 0, "refused"),
        "bits-3": ({258: (3, 1, 3)}, 0, "either"),
        "samples-65535": ({277: (3, 1, 65535)}, 0, "refused"),
        "samples-0": ({277: (3, 1, 0)}, 0, "either"),
        "format-complex": ({258: (3, 1, 64), 339: (3, 1, 6)}, 0, "refused"),
        "format-unknown": ({339: (3, 1, 77)}, 0, "either"),
        "rows-a-strip-0": ({278: (3, 1, 0)}, 0, "either"),
        "tiles-of-0": ({322: (3, 1, 0), 323: (3, 1, 0), 324: (4, 1, 512), 325: (4, 1, 2000)}, 0, "either"),
        "tiles-huge": ({322: huge, 323: huge, 324: (4, 1, 512), 325: (4, 1, 2000)}, 0, "either"),
        "palette-behind-the-end": ({262: (3, 1, 3), 320: (3, 768, 10**8)}, 0, "either"),
        "resolution-of-0-by-0": ({282: (5, 1, 200), 283: (5, 1, 200), 296: (3, 1, 3)}, 0, "read"),
        "resolution-behind-the-end": ({282: (5, 1, 10**8), 283: (5, 1, 10**8), 296: (3, 1, 3)}, 0, "either"),
    }  # fmt: skip
    for name, (change, next_ifd, wanted) in changes.items():
        yield BadFile(
            f"{name}.tif",
            "volume",
            "a tag that makes no sense",
            bytes_file(lambda change=change, next_ifd=next_ifd: small_tiff(change, next_ifd)),
            wanted,
            declared=1 << 16,
        )
    yield BadFile("sound-small.tif", "volume", "nothing is wrong", bytes_file(small_tiff), "read")
    yield BadFile(
        "big-tiff-to-nowhere.tif",
        "volume",
        "its first directory is at byte 2**63",
        bytes_file(lambda: b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63) + bytes(64)),
    )
    for name, description, wanted in _descriptions():
        yield BadFile(
            f"{name}.tif",
            "volume",
            "a description that lies",
            bytes_file(lambda text=description: tiff(description=text, metadata=None)),
            wanted,
            declared=64 << 20 if "laughs" in name else 1 << 16,  # expat stops it, but not at once
        )


def _descriptions() -> Iterator[tuple[str, str, Any]]:
    """What the first page says of the whole."""
    yield "imagej-a-billion-slices", "ImageJ=1.53\nimages=1000000000\nslices=1000000000\n", "either"
    yield "imagej-no-number", "ImageJ=1.53\nimages=many\nslices=-3\nspacing=wide\nunit=mm\n", "either"
    yield "imagej-spacing-nan", "ImageJ=1.53\nimages=5\nslices=5\nspacing=nan\nunit=mm\n", "either"
    yield "shaped-lies", '{"shape": [1000000, 1000000, 1000000]}', "either"
    yield "shaped-no-json", '{"shape": [5, 20', "either"
    yield "shaped-negative", '{"shape": [-5, 20, 22]}', "either"
    ome = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{}</OME>'
    pixels = '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" {}/></Image>'
    sizes = 'SizeX="22" SizeY="20" SizeZ="5" SizeC="1" SizeT="1"'
    yield "ome-broken-xml", ome.format("<Image")[:-8], "either"
    yield "ome-without-images", ome.format(""), "either"
    yield "ome-huge", ome.format(pixels.format(sizes.replace("22", "2000000000"))), "either"
    yield "ome-no-sizes", ome.format(pixels.format("")), "either"
    yield (
        "ome-spacing-nan",
        ome.format(pixels.format(f'{sizes} PhysicalSizeX="nan" PhysicalSizeY="-1"')),
        "either",
    )
    yield "ome-spacing-a-word", ome.format(pixels.format(f'{sizes} PhysicalSizeX="wide"')), "either"
    elsewhere = (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" {sizes}>'
        '<TiffData IFD="0" PlaneCount="5"><UUID FileName="../../../etc/passwd">urn:uuid:1</UUID></TiffData>'
        "</Pixels></Image>"
    )
    yield "ome-in-another-folder", ome.format(elsewhere), "either"
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    yield (
        "ome-billion-laughs",
        f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY l0 "ha">{laughs}]><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">&l11;</OME>',
        "either",
    )
