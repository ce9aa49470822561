"""Bad NIfTI files."""

from __future__ import annotations

import gzip
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from bad_case import BadFile, bytes_file, spoilt_everywhere

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE_ZYX = (9, 10, 11)
NOISE = np.random.default_rng(0).integers(0, 30000, SHAPE_ZYX).astype("<i2")
NUM_BYTES = NOISE.nbytes
MEGABYTE = 1 << 20

NAN, INF = float("nan"), float("inf")


@cache
def nifti(version: int = 1) -> bytes:
    """A sound file, its grid oblique in the sform and in the qform."""
    import nibabel

    affine = np.array([[0.0, -1.5, 0, 7], [0.8, 0, 0, -20], [0, 0, 2.5, 3], [0, 0, 0, 1]])
    image = (nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image)(NOISE.T, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    return bytes(image.to_bytes())


def patched(content: bytes, *patches: tuple[int, str, float | bytes]) -> bytes:
    """`content` with values of struct formats written at offsets."""
    spoilt = bytearray(content)
    for offset, layout, value in patches:
        struct.pack_into("<" + layout, spoilt, offset, value)
    return bytes(spoilt)


def bad_nifti() -> Iterator[BadFile]:
    """All of them."""
    lengths = (1, 4, 40, 200, 347, 348, 351, 352, 353, 0.5, 0.75, -1)
    yield from spoilt_everywhere(nifti, "volume", ".nii", lengths, 20, (0, 352))
    yield from spoilt_everywhere(lambda: nifti(2), "volume", ".2.nii", (5, 539, 0.6, -2), 8, (0, 544))
    packed = cache(lambda: gzip.compress(nifti(), mtime=0))
    lengths = (1, 2, 5, 10, 18, 100, 0.5, -9, -8, -4, -1)
    yield from spoilt_everywhere(packed, "volume", ".nii.gz", lengths, 10, after_flip="same or refused")
    yield from _bad_nifti_fields()
    yield from _bad_nifti_extensions()
    yield from _bad_gzip()


def _bad_nifti_fields() -> Iterator[BadFile]:
    no_sform = (254, "h", 0)
    fields = {
        "magic-of-a-pair": (((344, "4s", b"ni1\0"),), "either"),
        "magic-nonsense": (((344, "4s", b"abcd"),), "either"),
        "header-size-0": (((0, "i", 0),), "refused"),
        "header-size-540": (((0, "i", 540),), "refused"),
        "header-size-swapped": (((0, "4s", b"\0\0\1\x5c"),), "either"),
        "no-dimensions": (((40, "h", 0),), "refused"),
        "minus-one-dimensions": (((40, "h", -1),), "refused"),
        "eight-dimensions": (((40, "h", 8),), "refused"),
        "300-dimensions": (((40, "h", 300),), "refused"),
        "a-size-of-0": (((44, "h", 0),), "refused"),
        "a-negative-size": (((44, "h", -7),), "refused"),
        "all-sizes-32767": (tuple((40 + 2 * i, "h", 32767) for i in (1, 2, 3)), "refused"),
        "seven-sizes-32767": (
            ((40, "h", 7), *((40 + 2 * i, "h", 32767) for i in range(1, 8))),
            "refused",
        ),
        "unknown-type": (((70, "h", 9999),), "refused"),
        "type-0": (((70, "h", 0),), "refused"),
        "type-1-bit": (((70, "h", 1),), "refused"),
        "type-float128": (((70, "h", 1536), (72, "h", 128)), "refused"),
        "type-complex": (((40, "h", 2), (70, "h", 32), (72, "h", 64)), "refused"),
        "wrong-bits": (((72, "h", 3),), "either"),
        "offset-nan": (((108, "f", NAN),), "refused"),
        "offset-infinite": (((108, "f", INF),), "refused"),
        "offset-negative": (((108, "f", -5000.0),), "refused"),
        "offset-behind-the-end": (((108, "f", 1e9),), "refused"),
        "offset-huge": (((108, "f", 1e30),), "refused"),
        "offset-into-the-header": (((108, "f", 16.0),), "either"),
        "slope-nan": (((112, "f", NAN),), "either"),
        "slope-infinite": (((112, "f", INF),), "either"),
        "slope-largest": (((112, "f", 3.4e38),), "either"),
        "inter-nan": (((112, "f", 1.0), (116, "f", NAN)), "either"),
        "sform-nan": (((280, "f", NAN),), "refused"),
        "sform-infinite": (((284, "f", INF),), "refused"),
        "sform-origin-nan": (((292, "f", NAN),), "refused"),
        "sform-zero": (tuple((280 + 4 * i, "f", 0.0) for i in range(12)), "refused"),
        "sform-zero-spacing": (((284, "f", 0.0), (296, "f", 0.0), (280, "f", 0.0)), "refused"),
        "sform-parallel-axes": (((284, "f", 0.0), (300, "f", 0.8)), "refused"),
        "sform-largest-spacing": (((284, "f", 3e38),), "either"),
        "sform-smallest-spacing": (((284, "f", 1e-44),), "either"),
        "sform-not-orthogonal": (((288, "f", 0.4),), "read"),
        "qform-zero-spacing": ((no_sform, (80, "f", 0.0)), "read"),
        "qform-nan-spacing": ((no_sform, (84, "f", NAN)), "refused"),
        "qform-infinite-spacing": ((no_sform, (84, "f", INF)), "refused"),
        "qform-negative-spacing": ((no_sform, (84, "f", -2.0)), "either"),
        "qform-handedness-7": ((no_sform, (76, "f", 7.0)), "either"),
        "qform-quaternion-nan": ((no_sform, (256, "f", NAN)), "refused"),
        "qform-quaternion-too-long": ((no_sform, (256, "f", 5.0)), "refused"),
        "no-form-and-zero-spacing": ((no_sform, (252, "h", 0), (80, "f", 0.0)), "read"),
        "form-codes-negative": (((252, "h", -3), (254, "h", -3)), "either"),
        "unknown-units": (((123, "B", 255),), "either"),
    }  # fmt: skip
    for name, (patches, wanted) in fields.items():
        yield BadFile(
            f"{name}.nii",
            "volume",
            "a field of the header makes no sense",
            bytes_file(lambda patches=patches: patched(nifti(), *patches)),
            wanted,
            declared=8 * NUM_BYTES,
        )
    for name, value in (("negative", -1), ("2-to-the-62", 1 << 62), ("largest", (1 << 63) - 1)):
        yield BadFile(
            f"size-{name}.2.nii",
            "volume",
            "a size of 64 bits",
            bytes_file(lambda value=value: patched(nifti(2), (24, "q", value))),
            says="empty" if value < 0 else "header says|out of|too large",
        )


def _bad_nifti_extensions() -> Iterator[BadFile]:
    """Blocks between header and voxels: the size of one says where the next begins."""
    for size in (0, -16, 7, 2**31 - 16, 32):

        def content(size: int = size) -> bytes:
            header = patched(nifti()[:348], (108, "f", 384.0))
            return header + b"\1\0\0\0" + struct.pack("<ii", size, 6) + b"x" * 24 + nifti()[352:]

        yield BadFile(
            f"extension-of-{size}-bytes.nii",
            "volume",
            "an extension whose size makes no sense",
            bytes_file(content),
            "either",
        )


def _bad_gzip() -> Iterator[BadFile]:
    big = (1, 4096, 4096 * 4)
    big_header = (((42, "h", 4096), (44, "h", 4096), (46, "h", 4)),)

    def bomb(header: bytes, num_zeros: int) -> bytes:
        packer = zlib.compressobj(9, wbits=31)
        parts = [packer.compress(header)]
        parts += [packer.compress(bytes(MEGABYTE)) for _ in range(num_zeros // MEGABYTE)]
        return b"".join([*parts, packer.flush()])

    yield BadFile(
        "bomb-that-says-so.nii.gz",
        "volume",
        "128 MB of zeros in 128 kB, as its header says",
        bytes_file(lambda: bomb(patched(nifti()[:352], *big_header[0]), 128 * MEGABYTE)),
        "read",
        declared=int(np.prod(big)) * 2,
    )
    yield BadFile(
        "bomb-behind-the-voxels.nii.gz",
        "volume",
        "64 MB of zeros behind 2 kB of voxels",
        bytes_file(lambda: bomb(nifti(), 64 * MEGABYTE)),
        says="goes on",
    )
    yield BadFile(
        "bomb-that-promises-more.nii.gz",
        "volume",
        "a header of 54 TB in front of 64 MB",
        bytes_file(
            lambda: bomb(patched(nifti()[:352], *((o, "h", 30000) for o in (42, 44, 46))), 64 * MEGABYTE)
        ),
        says="header says",
    )
    yield BadFile(
        "bomb-that-promises-twice.nii.gz",
        "volume",
        "a header of 128 MB in front of 64 MB",
        bytes_file(lambda: bomb(patched(nifti()[:352], *big_header[0]), 64 * MEGABYTE)),
        declared=128 * MEGABYTE,
    )
    twice = lambda: gzip.compress(gzip.compress(nifti(), mtime=0), mtime=0)  # noqa: E731
    yield BadFile("packed-twice.nii.gz", "volume", "gzip in gzip", bytes_file(twice))
    members = lambda: b"".join(gzip.compress(part, mtime=0) for part in (nifti()[:700], nifti()[700:]))  # noqa: E731
    yield BadFile(
        "two-members.nii.gz", "volume", "gzip in two parts, which is allowed", bytes_file(members), "read"
    )
    garbage = lambda: gzip.compress(nifti(), mtime=0) + b"garbage"  # noqa: E731
    yield BadFile(
        "garbage-behind.nii.gz",
        "volume",
        "bytes behind the end of gzip",
        bytes_file(garbage),
        "same or refused",
    )
