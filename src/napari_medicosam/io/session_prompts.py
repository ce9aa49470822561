"""Prompts of a session as JSON: one record a prompt, and back to values."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from napari_medicosam.core.results import Region
from napari_medicosam.core.volume_prompts import (
    Prompt,
    VolumeBox,
    VolumeLasso,
    VolumeMask,
    VolumePoint,
    VolumePrompts,
    VolumeScribble,
)
from napari_medicosam.errors import FileError

Axis = Annotated[int, Field(ge=0, le=2)]
Index = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """What all records of a session file have in common: nothing unknown is in them, and no number is infinite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PointEntry(Record):
    """A click at `position_zyx` in voxels, made while slices along `axis` were shown."""

    kind: Literal["point"] = "point"
    axis: Axis
    position_zyx: tuple[float, float, float]
    positive: bool


class BoxEntry(Record):
    """A half-open box (y0, x0, y1, x1) in pixels of slice `index` along `axis`."""

    kind: Literal["box"] = "box"
    axis: Axis
    index: Index
    bounds_yxyx: tuple[float, float, float, float]


class PathEntry(Record):
    """A stroke, or a closed polygon, along vertices (row, column)."""

    kind: Literal["scribble", "lasso"]
    axis: Axis
    index: Index
    path_yx: tuple[tuple[float, float], ...]
    positive: bool


class MaskEntry(Record):
    """A mask: rows y0 to y1 and columns x0 to x1 of a slice, one bit a pixel, row by row, first bit highest, base64."""

    kind: Literal["mask"] = "mask"
    axis: Axis
    index: Index
    region_yxyx: tuple[Index, Index, Index, Index]
    bits: str


PromptEntry = Annotated[PointEntry | BoxEntry | PathEntry | MaskEntry, Field(discriminator="kind")]


def entry_of(prompt: Prompt) -> PointEntry | BoxEntry | PathEntry | MaskEntry:
    """A prompt as a record."""
    match prompt:
        case VolumePoint(position_zyx=position, positive=positive, axis=axis):
            return PointEntry(axis=axis, position_zyx=position, positive=positive)
        case VolumeBox(axis=axis, index=index, bounds=bounds):
            return BoxEntry(axis=axis, index=index, bounds_yxyx=bounds)
        case VolumeScribble(axis=axis, index=index, path_yx=path, positive=positive):
            return PathEntry(kind="scribble", axis=axis, index=index, path_yx=path, positive=positive)
        case VolumeLasso(axis=axis, index=index, polygon_yx=path, positive=positive):
            return PathEntry(kind="lasso", axis=axis, index=index, path_yx=path, positive=positive)
    region = prompt.region
    bits = base64.b64encode(np.packbits(prompt.patch).tobytes()).decode("ascii")
    corners = (region.y0, region.x0, region.y1, region.x1)
    return MaskEntry(axis=prompt.axis, index=prompt.index, region_yxyx=corners, bits=bits)


def prompts_of(entries: tuple[PromptEntry, ...], shape_zyx: tuple[int, int, int]) -> VolumePrompts:
    """Records as prompts in a volume of this shape.

    Raises:
        FileError: for prompts that cannot be in such a volume.
    """
    prompts = VolumePrompts()
    for entry in entries:
        prompts = prompts.with_prompt(_prompt_of(entry, shape_zyx))
    cleaned, complaints = prompts.cleaned(shape_zyx)
    if complaints:
        raise FileError(f"a prompt lies outside the image ({complaints[0]})")
    return cleaned


def _prompt_of(entry: PromptEntry, shape_zyx: tuple[int, int, int]) -> Prompt:
    match entry:
        case PointEntry():
            return VolumePoint(entry.position_zyx, entry.positive, entry.axis)
        case BoxEntry():
            return VolumeBox(entry.axis, entry.index, entry.bounds_yxyx)
        case PathEntry(kind="scribble"):
            return VolumeScribble(entry.axis, entry.index, entry.path_yx, entry.positive)
        case PathEntry():
            return VolumeLasso(entry.axis, entry.index, entry.path_yx, entry.positive)
    return _mask_of(entry, shape_zyx)


def _mask_of(entry: MaskEntry, shape_zyx: tuple[int, int, int]) -> VolumeMask:
    region = Region(*entry.region_yxyx)
    rows, columns = (length for axis, length in enumerate(shape_zyx) if axis != entry.axis)
    height, width = region.y1 - region.y0, region.x1 - region.x0
    if entry.index >= shape_zyx[entry.axis] or region.y1 > rows or region.x1 > columns or region.is_empty:
        raise FileError(f"a mask prompt lies outside the image: {entry.region_yxyx} of slice {entry.index}")
    try:
        packed = np.frombuffer(base64.b64decode(entry.bits, validate=True), dtype=np.uint8)
    except (binascii.Error, ValueError) as error:
        raise FileError(f"a mask prompt is no base64 text ({error})") from error
    if packed.size != -(-height * width // 8):
        raise FileError(f"a mask prompt of {height} x {width} pixels has {packed.size} bytes")
    patch = np.unpackbits(packed, count=height * width).astype(bool).reshape(height, width)
    patch.setflags(write=False)
    return VolumeMask(entry.axis, entry.index, patch, region)
