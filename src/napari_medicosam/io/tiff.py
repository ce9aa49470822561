"""TIFF through tifffile: one 2D image or one (z, y, x) stack, grey or RGB, with its resolution if it has one."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_medicosam.core.geometry import Geometry
from napari_medicosam.errors import FileError
from napari_medicosam.io.checks import (
    DEFLATE_MAX_RATIO,
    check_data_size,
    is_plain_grid,
    num_bytes_of,
    real_array,
    rgb_array,
)
from napari_medicosam.io.itk import read_itk_pixels
from napari_medicosam.io.records import FileHeader, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.io.records import VolumeRecord

_STACK_AXES = "ZIQ"
"""Letters of tifffile that may be z: depth, a sequence of pages, an axis without a name."""

_MM_PER_UNIT = {
    "m": 1e3, "meter": 1e3, "cm": 10.0, "mm": 1.0, "millimeter": 1.0, "um": 1e-3, "micron": 1e-3,
    "micrometer": 1e-3, "µm": 1e-3, "μm": 1e-3, "\\u00b5m": 1e-3, "nm": 1e-6, "nanometer": 1e-6,
    "inch": 25.4, "in": 25.4,
}  # fmt: skip
_MM_PER_RESOLUTION_UNIT = {2: 25.4, 3: 10.0}
_SCREEN_DPI = (72.0, 96.0)
"""What programs write without knowing: nobody measured these."""

_MAX_RATIOS = {1: 1, 5: 1 << 12, 8: DEFLATE_MAX_RATIO, 32946: DEFLATE_MAX_RATIO, 32773: 128}
"""How many times a compression can shrink data: none, LZW (codes of 12 bits), deflate, PackBits."""

_ANY_MAX_RATIO = 1 << 17
_PALETTE = 3
_IMAGEJ_LIMIT = 1 << 31
_IMAGEJ_DTYPES = (np.uint8, np.uint16, np.float32)


def read_tiff(path: Path, *, palette_indices: bool = False) -> Volume:
    """Read a TIFF (plain, ImageJ or OME). Stored values as they are, also of white-is-zero images.

    The spacing is that of ImageJ or OME metadata or of the resolution tags, else 1 without a unit; 72 and 96 dots
    per inch count as no resolution. A palette becomes its colours, but with `palette_indices` its indices.
    """
    with tifffile.TiffFile(path) as tiff:
        _check_complete(path, tiff)
        series_list = [series for series in tiff.series if not series.keyframe.is_reduced] or tiff.series
        if len(series_list) != 1:
            shapes = ", ".join(str(series.shape) for series in series_list)
            raise FileError(f"{path} holds {len(series_list)} images (shapes {shapes}): wanted one")
        series = series_list[0]
        array = _zyx(path, _pixels(path, series), series.axes, series.keyframe, palette_indices)
        spacing = _spacing_zyx_mm(tiff, series.keyframe, is_stack=array.shape[0] > 1)
    is_rgb = array.ndim == 4
    array = rgb_array(path, array) if is_rgb else real_array(path, array)
    z, y, x = array.shape[:3]
    geometry = Geometry.from_spacing((z, y, x), spacing or (1.0, 1.0, 1.0))
    return Volume(array, geometry, is_rgb, z == 1, FileHeader("tiff", "mm" if spacing else None))


def write_tiff(path: Path, array: NDArray[Any], record: VolumeRecord) -> None:
    """Write labels or an image, (z, y, x[, 3]), with spacing in mm; ImageJ's dialect where it knows the dtype.

    Raises:
        FileError: for a grid with rotation, flip, shear or offset, which TIFF cannot hold.
    """
    if not is_plain_grid(record.geometry):
        raise FileError(
            f"cannot write {path}: TIFF holds a spacing but no position or orientation, and this image has one. "
            f"Use .nii.gz"
        )
    pixels = array[0] if record.is_2d else array
    is_rgb = array.ndim == 4
    z, y, x = record.geometry.spacing_zyx
    # tifffile takes a width of 1 in ImageJ's dialect for samples of a pixel.
    is_imagej = (
        array.dtype in _IMAGEJ_DTYPES and not is_rgb and array.nbytes < _IMAGEJ_LIMIT and array.shape[2] > 1
    )
    metadata: dict[str, Any] = {"axes": ("YX" if record.is_2d else "ZYX") + ("S" if is_rgb else "")}
    resolution: dict[str, Any] = {}
    if record.header.unit == "mm" or (z, y, x) != (1.0, 1.0, 1.0):
        metadata |= {"spacing": z, "unit": "mm"}
        # ImageJ counts pixels per its own unit, everybody else per centimetre.
        factor = 1.0 if is_imagej else 10.0
        resolution = {"resolution": (factor / x, factor / y)}
        if not is_imagej:
            resolution["resolutionunit"] = "CENTIMETER"
    tifffile.imwrite(
        path,
        pixels,
        imagej=is_imagej,
        photometric="rgb" if is_rgb else "minisblack",
        compression="zlib",
        metadata=metadata,
        **resolution,
    )


def _check_complete(path: Path, tiff: tifffile.TiffFile) -> None:
    """A truncated stack has a page chain that ends outside the file; tifffile then gives fewer pages."""
    pages = tiff.pages
    num_pages = len(pages)  # walks the chain to its end
    offset_format = tiff.tiff.offsetformat
    tiff.filehandle.seek(pages.next_page_offset or 0)
    stored = tiff.filehandle.read(struct.calcsize(offset_format))
    if num_pages == 0 or len(stored) < struct.calcsize(offset_format):
        raise FileError(f"{path} is truncated: {num_pages} pages could be found")
    (next_offset,) = struct.unpack(offset_format, stored)
    if next_offset:
        raise FileError(
            f"{path} is truncated: page {num_pages} should be at byte {next_offset}, which is not there"
        )


def _pixels(path: Path, series: tifffile.TiffPageSeries) -> NDArray[Any]:
    """The stored array, shape `series.shape`."""
    page = series.keyframe
    ratio = _MAX_RATIOS.get(page.compression, _ANY_MAX_RATIO)
    offset = 0 if series.dataoffset is None else series.dataoffset  # of pages that lie one behind the other
    check_data_size(path, num_bytes_of(series.shape, page.bitspersample) // 8, ratio, offset)
    _check_segments(path, series)
    try:
        return np.asarray(series.asarray())
    except ValueError as error:
        # LZW and JPEG need tifffile's optional codecs; ITK has its own, but shows a palette as colours.
        if "imagecodecs" not in str(error) or page.photometric == _PALETTE:
            raise
    pixels = read_itk_pixels(path)
    if pixels.size != np.prod(series.shape):
        raise FileError(f"{path} should have shape {series.shape}, but {pixels.shape} could be read")
    return pixels.reshape(series.shape)


def _check_segments(path: Path, series: tifffile.TiffPageSeries) -> None:
    """Strips or tiles that are missing, or end outside of the file: tifffile makes zeros of what is not there."""
    for page in series.pages:
        if page is None:
            raise FileError(f"{path} is incomplete: a page that its description promises is not there")
        pieces = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        num_wanted = math.prod(page.chunked)
        if len(pieces) < num_wanted or not all(start and count for start, count in pieces):
            raise FileError(f"{path} is incomplete: a page has {len(pieces)} pieces, wanted {num_wanted}")
        end, num_bytes = max(start + count for start, count in pieces), page.parent.filehandle.size
        if end > num_bytes:
            raise FileError(f"{path} is truncated: it has pixels up to byte {end} of {num_bytes}")


def _zyx(
    path: Path, array: NDArray[Any], axes: str, page: tifffile.TiffPage, palette_indices: bool
) -> NDArray[Any]:
    """(z, y, x) or (z, y, x, channels) of an array whose axes tifffile names."""
    if 0 in array.shape:
        raise FileError(f"{path} is empty: shape {array.shape}, wanted at least one pixel an axis")
    for axis in range(array.ndim - 1, -1, -1):
        if array.shape[axis] == 1 and axes[axis] not in "YX":
            array = array.squeeze(axis)
            axes = axes[:axis] + axes[axis + 1 :]
    if "S" in axes:
        array = np.moveaxis(array, axes.index("S"), -1)
        axes = axes.replace("S", "") + "S"
    spatial = axes.removesuffix("S")
    if spatial not in ("YX", *(f"{letter}YX" for letter in _STACK_AXES)):
        names = {"C": "channels", "T": "time points", "S": "samples"}
        found = ", ".join(f"{n} {names.get(a, a)}" for a, n in zip(axes, array.shape, strict=True))
        raise FileError(f"{path} has axes {axes} ({found}): wanted one 2D image or one stack (z, y, x)")
    if page.photometric == _PALETTE and page.colormap is not None and not palette_indices:
        colours = (np.asarray(page.colormap) >> 8).astype(np.uint8).T  # stored with 16 bits for 8
        is_grey = (colours == colours[:, :1]).all()
        array = (colours[:, 0] if is_grey else colours)[array]
    return array if len(spatial) == 3 else array[None]


def _spacing_zyx_mm(
    tiff: tifffile.TiffFile, page: tifffile.TiffPage, is_stack: bool
) -> tuple[float, float, float] | None:
    """Spacing in mm, or None when the file does not say all of it."""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_spacing(tiff.ome_metadata, is_stack)
    shaped = (tiff.shaped_metadata or ({},))[0]
    metadata = tiff.imagej_metadata or shaped
    mm_per_unit = _MM_PER_UNIT.get(str(metadata.get("unit", "")).lower(), 0.0)
    xy_unit = mm_per_unit
    if not tiff.is_imagej:
        unit_tag = page.tags.get("ResolutionUnit")
        xy_unit = _MM_PER_RESOLUTION_UNIT.get(int(unit_tag.value), 0.0) if unit_tag is not None else 0.0
    pixels_x, pixels_y = (_rational(page, name) for name in ("XResolution", "YResolution"))
    is_screen = not tiff.is_imagej and xy_unit == 25.4 and pixels_x in _SCREEN_DPI
    if not (xy_unit and pixels_x and pixels_y) or is_screen:
        return None
    # ImageJ leaves out a slice distance of one unit; for others it is unknown, and then the grid as a whole is.
    z = float(metadata.get("spacing", 1.0 if tiff.is_imagej else 0.0)) * mm_per_unit
    return _known((z, xy_unit / pixels_y, xy_unit / pixels_x), is_stack)


def _rational(page: tifffile.TiffPage, name: str) -> float:
    tag = page.tags.get(name)
    if tag is None:
        return 0.0
    numerator, denominator = tag.value
    return float(numerator / denominator) if denominator else 0.0


def _ome_spacing(xml: str, is_stack: bool) -> tuple[float, float, float] | None:
    image = tifffile.xml2dict(xml)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    z, y, x = (
        float(pixels.get(f"PhysicalSize{axis}", 0.0))
        * _MM_PER_UNIT.get(str(pixels.get(f"PhysicalSize{axis}Unit", "µm")).lower(), 0.0)
        for axis in "ZYX"
    )
    return _known((z, y, x), is_stack)


def _known(spacing_zyx: tuple[float, float, float], is_stack: bool) -> tuple[float, float, float] | None:
    z, y, x = spacing_zyx
    if not all(np.isfinite(v) and v > 0 for v in (y, x)):
        return None
    if np.isfinite(z) and z > 0:
        return z, y, x
    return None if is_stack else (1.0, y, x)
