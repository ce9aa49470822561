"""A picture of what was found: slices side by side, contours of the mask and the ground truth, the box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import find_boundaries
from skimage.transform import resize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medicosam.core.geometry import Geometry
    from napari_medicosam.core.prompts import BoxPrompt

MASK_COLOUR, TRUTH_COLOUR, BOX_COLOUR = (255, 140, 0), (0, 200, 255), (255, 255, 0)
_TILE = 360
_CAPTION = 44


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One axial slice: pixels uint8, mask and truth bool, all (rows, columns)."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    truth: NDArray[np.bool_]
    caption: str
    box: BoxPrompt | None = None


def save_overlay(path: Path, tiles: Sequence[Tile], geometry: Geometry, columns: int = 3) -> None:
    """Write the tiles as one PNG, shown as radiologists do: patient's right on the left, front on top."""
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * _TILE, rows * (_TILE + _CAPTION) + _CAPTION), "black")
    for number, tile in enumerate(tiles):
        corner = ((number % columns) * _TILE, (number // columns) * (_TILE + _CAPTION))
        sheet.paste(_draw(tile, geometry), corner)
    pen = ImageDraw.Draw(sheet)
    legend = (("mask", MASK_COLOUR), ("ground truth", TRUTH_COLOUR), ("box prompt", BOX_COLOUR))
    for place, (text, colour) in enumerate(legend):
        pen.text(
            (14 + place * _TILE // 2, sheet.height - _CAPTION + 10), text, colour, ImageFont.load_default(20)
        )
    sheet.save(path)


def _draw(tile: Tile, geometry: Geometry) -> Image.Image:
    # rows from front to back, columns from the patient's right to left
    flip_y, flip_x = geometry.direction_sign(1) > 0, geometry.direction_sign(2) > 0
    scale = _TILE / max(tile.pixels.shape)
    size = tuple(round(n * scale) for n in tile.pixels.shape)

    def shown(array: NDArray[Any], order: int) -> NDArray[Any]:
        large = resize(array.astype(float), size, order=order, preserve_range=True, anti_aliasing=False)
        return np.asarray(large[:: -1 if flip_y else 1, :: -1 if flip_x else 1])

    colours = np.repeat(shown(tile.pixels, 1).astype(np.uint8)[..., None], 3, axis=-1)
    for mask, colour in ((tile.truth, TRUTH_COLOUR), (tile.mask, MASK_COLOUR)):
        colours[find_boundaries(shown(mask, 1) > 0.5, mode="inner")] = colour
    picture = Image.new("RGB", (_TILE, _TILE + _CAPTION), "black")
    picture.paste(Image.fromarray(colours), (0, 0))
    pen = ImageDraw.Draw(picture)
    if tile.box is not None:
        y = sorted(size[0] - v * scale if flip_y else v * scale for v in (tile.box.y0, tile.box.y1))
        x = sorted(size[1] - v * scale if flip_x else v * scale for v in (tile.box.x0, tile.box.x1))
        pen.rectangle((x[0], y[0], x[1] - 1, y[1] - 1), outline=BOX_COLOUR, width=2)
    pen.text((14, _TILE + 10), tile.caption, "white", ImageFont.load_default(20))
    return picture
