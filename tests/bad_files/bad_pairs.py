"""Bad NIfTI and Analyze images in two files: folders with `a.hdr` and `a.img`."""

from __future__ import annotations

import gzip
from functools import cache
from typing import TYPE_CHECKING

from bad_case import BadFile, flipped
from bad_nifti import MEGABYTE, NOISE, NUM_BYTES, SHAPE_ZYX, patched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@cache
def pair_header() -> bytes:
    """That of a sound NIfTI image in two files."""
    import nibabel

    header = nibabel.Nifti1Pair.header_class()
    header.set_data_dtype("<i2")
    header.set_data_shape(SHAPE_ZYX[::-1])
    header.set_zooms((0.8, 1.5, 2.5))
    return bytes(header.binaryblock)


@cache
def analyze_header() -> bytes:
    import nibabel

    header = nibabel.Spm99AnalyzeImage.header_class()
    header.set_data_dtype("<i2")
    header.set_data_shape(SHAPE_ZYX[::-1])
    header.set_zooms((0.8, 1.5, 2.5))
    return bytes(header.binaryblock)


def pair(
    header: Callable[[], bytes], voxels: Callable[[], bytes] | None = NOISE.tobytes, ending: str = ".img"
) -> Callable[[Path], object]:
    """Writes the two files, or the header alone."""

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "a.hdr").write_bytes(header())
        if voxels is not None:
            (folder / f"a{ending}").write_bytes(voxels())

    return make


def bad_pairs() -> Iterator[BadFile]:
    """All of them."""
    cases: dict[str, tuple[Callable[[Path], object], str]] = {}
    for kind, sound in (("nifti", pair_header), ("analyze", analyze_header)):
        for length in (0, 1, 4, 200, 347):
            cut = lambda sound=sound, length=length: sound()[:length]  # noqa: E731
            cases[f"{kind}-header-of-{length}-bytes"] = pair(cut), "refused"
        for number in range(14):
            name = f"{kind}-flip-{number}"
            cases[name] = pair(lambda sound=sound, name=name: flipped(sound(), name)), "either"
        for name, (patches, wanted) in _fields().items():
            changed = lambda sound=sound, patches=patches: patched(sound(), *patches)  # noqa: E731
            cases[f"{kind}-{name}"] = pair(changed), wanted
        cases[f"{kind}-without-voxels"] = pair(sound, None), "refused"
        cases[f"{kind}-voxels-cut"] = pair(sound, lambda: NOISE.tobytes()[:-1]), "refused"
        cases[f"{kind}-voxels-empty"] = pair(sound, lambda: b""), "refused"
        cases[f"{kind}-voxels-packed"] = pair(sound, _packed, ".img.gz"), "read"
        cases[f"{kind}-voxels-packed-and-cut"] = pair(sound, lambda: _packed()[:-9], ".img.gz"), "refused"
        bomb = lambda: gzip.compress(bytes(64 * MEGABYTE), mtime=0)  # noqa: E731
        cases[f"{kind}-voxels-a-bomb"] = pair(sound, bomb, ".img.gz"), "refused"
        cases[f"{kind}-voxels-a-folder"] = _folder_of_voxels(sound), "refused"
        cases[f"{kind}-voxels-a-link-to-themselves"] = _endless_link(sound), "refused"
    for name, (make, wanted) in cases.items():
        yield BadFile(f"{name}.pair", "pair", "one of two files", make, wanted, declared=8 * NUM_BYTES)


def _fields() -> dict[str, tuple[tuple[tuple[int, str, float | bytes], ...], str]]:
    sizes = tuple((40 + 2 * i, "h", 32767) for i in (1, 2, 3))
    return {
        "no-dimensions": (((40, "h", 0),), "refused"),
        "a-size-of-0": (((44, "h", 0),), "refused"),
        "a-negative-size": (((44, "h", -7),), "refused"),
        "all-sizes-32767": (sizes, "refused"),
        "unknown-type": (((70, "h", 9999),), "refused"),
        "type-complex": (((40, "h", 2), (70, "h", 32), (72, "h", 64)), "refused"),
        "offset-negative": (((108, "f", -400.0),), "refused"),
        "offset-nan": (((108, "f", float("nan")),), "refused"),
        "offset-behind-the-end": (((108, "f", 1e9),), "refused"),
        "spacing-nan": (((84, "f", float("nan")),), "refused"),
        "spacing-infinite": (((84, "f", float("inf")),), "refused"),
        "spacing-zero": (((84, "f", 0.0),), "read"),
        "spacing-negative": (((84, "f", -2.0),), "either"),
        "header-size-0": (((0, "i", 0),), "refused"),
        "magic-nonsense": (((344, "4s", b"abcd"),), "either"),
    }  # fmt: skip


def _packed() -> bytes:
    return gzip.compress(NOISE.tobytes(), mtime=0)


def _folder_of_voxels(header: Callable[[], bytes]) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        pair(header, None)(folder)
        (folder / "a.img").mkdir()

    return make


def _endless_link(header: Callable[[], bytes]) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        pair(header, None)(folder)
        (folder / "a.img").symlink_to("a.img")

    return make
