"""PNG, JPEG and BMP through Pillow: pixels as they are stored, never rotated by what EXIF says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import (
    DEFLATE_MAX_RATIO,
    check_data_size,
    check_opaque,
    real_array,
    rgb_array,
)
from napari_medicosam.io.itk import read_itk_pixels
from napari_medicosam.io.records import FileHeader, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.io.records import VolumeRecord

_FORMATS = ("PNG", "JPEG", "BMP")
_JPEG_MAX_RATIO = 1 << 9
"""Blocks of 64 pixels take at least a bit each: with the bit a pixel that is counted here, 64 times; and some."""

_RUN_LENGTHS = (1, 2)
"""Compressions of a BMP that shrink it."""

_BAND_PIXELS = 1 << 20
_GREY_MODES = ("1", "L", "I;16", "I;16B", "I")


def read_picture(path: Path, *, palette_indices: bool = False) -> Volume:
    """Read a PNG, JPEG or BMP as a 2D image with a spacing of 1; the dots per inch of a picture say nothing of a body.

    Grey 8 or 16 bit, RGB 8 or 16 bit. A palette becomes its colours (grey, if all are), but with `palette_indices` its
    indices: that is how class maps are commonly stored. Alpha: see `checks.rgb_array`.
    """
    with Image.open(path, formats=_FORMATS) as picture:
        if picture.format == "PNG":
            _check_chunks(path)
        bits, ratio = _least_bits_and_ratio(picture)
        check_data_size(path, picture.width * picture.height * bits // 8, ratio)
        num_frames = getattr(picture, "n_frames", 1)
        if picture.format == "PNG" and num_frames > 1:
            raise FileError(f"{path} is an animation of {num_frames} frames: wanted one 2D image")
        pixels = _pixels(path, picture, palette_indices)
    is_rgb = pixels.ndim == 3
    array = rgb_array(path, pixels) if is_rgb else real_array(path, pixels)
    rows, columns = array.shape[:2]
    geometry = Geometry.from_spacing((1, rows, columns))
    return Volume(array[None], geometry, is_rgb, is_2d=True, header=FileHeader("picture"))


def write_picture(path: Path, labels_zyx: NDArray[Any], record: VolumeRecord) -> None:
    """Write labels of a 2D image, uint8 or uint16, as a grey PNG.

    Raises:
        FileError: for a volume, for a grid that has a spacing or a place (PNG holds neither), for ids over 65535.
    """
    if labels_zyx.shape[0] != 1:
        raise FileError(
            f"cannot write {path}: PNG holds one 2D image, got {labels_zyx.shape[0]} slices. Use .nii.gz"
        )
    if not np.array_equal(record.geometry.affine_ras, np.eye(4)):
        raise FileError(
            f"cannot write {path}: PNG holds no spacing or position, this image has. Use .nii.gz or .tif"
        )
    if labels_zyx.dtype.itemsize > 2:
        raise FileError(
            f"cannot write {path}: PNG holds labels up to 65535, got {labels_zyx.max()}. Use .tif or .nii.gz"
        )
    Image.fromarray(labels_zyx[0]).save(path, format="PNG")


def _pixels(path: Path, picture: Image.Image, palette_indices: bool) -> NDArray[Any]:
    """(y, x) or (y, x, channels), unsigned integers."""
    if picture.mode == "P":
        return _array_of(picture) if palette_indices else _palette_colours(path, picture)
    if picture.format == "PNG" and picture.mode not in _GREY_MODES and _png_bit_depth(path) == 16:
        return _opaque_grey(path, read_itk_pixels(path))  # Pillow would cut it down to 8 bits
    if picture.mode in _GREY_MODES:
        if "transparency" in picture.info and picture.mode in ("1", "L"):
            check_opaque(path, np.asarray(picture.convert("LA"))[..., 1])
        pixels = _array_of(picture)
        return pixels.astype(np.uint16) if picture.mode.startswith("I") else pixels
    if picture.mode == "LA":
        return _opaque_grey(path, _array_of(picture))
    if picture.mode in ("RGB", "RGBA"):
        return _array_of(picture.convert("RGBA") if "transparency" in picture.info else picture)
    raise FileError(f"{path} has colour mode {picture.mode}: wanted grey, RGB or a palette")


def _least_bits_and_ratio(picture: Image.Image) -> tuple[int, int]:
    """How few bits of a pixel may be stored, and how many times the file's compression may shrink these."""
    if picture.format == "PNG":
        return 1, DEFLATE_MAX_RATIO
    is_plain = picture.format == "BMP" and picture.info.get("compression") not in _RUN_LENGTHS
    return (16 if picture.mode.startswith("RGB") else 1, 1) if is_plain else (1, _JPEG_MAX_RATIO)


def _array_of(picture: Image.Image) -> NDArray[Any]:
    """The pixels, band by band: Pillow's own way holds three of them at a time."""
    picture.load()
    width, height = picture.size
    rows = max(_BAND_PIXELS // width, 1)
    bands = (
        np.asarray(picture.crop((0, top, width, min(top + rows, height)))) for top in range(0, height, rows)
    )
    first = next(bands)
    pixels = np.empty((height, *first.shape[1:]), first.dtype)
    pixels[:rows] = first
    for number, band in enumerate(bands, start=1):
        pixels[number * rows : (number + 1) * rows] = band
    return pixels


def _check_chunks(path: Path) -> None:
    """Raise `FileError` for a PNG whose chunks go on behind its end; Pillow asks for the memory of each first."""
    num_bytes = path.stat().st_size
    with path.open("rb") as stream:
        place, name = 8, b""
        while name != b"IEND":
            stream.seek(place)
            head = stream.read(8)
            name = head[4:]
            place += 12 + int.from_bytes(head[:4], "big")
            if len(head) < 8 or place > num_bytes:
                raise FileError(
                    f"{path} is truncated: wanted a chunk up to byte {place}, the file has {num_bytes}"
                )


def _palette_colours(path: Path, picture: Image.Image) -> NDArray[Any]:
    colours = rgb_array(path, np.asarray(picture.convert("RGBA")))
    is_grey = (colours == colours[..., :1]).all()
    return np.ascontiguousarray(colours[..., 0]) if is_grey else colours


def _opaque_grey(path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    """The grey channel of (y, x, 2); anything else as it is."""
    if pixels.ndim != 3 or pixels.shape[-1] != 2:
        return pixels
    check_opaque(path, pixels[..., 1])
    return np.ascontiguousarray(pixels[..., 0])


def _png_bit_depth(path: Path) -> int:
    with path.open("rb") as stream:
        return stream.read(25)[24]  # after the signature, the chunk's head, width and height
