"""Prompts from the command line and from `--prompts FILE.json`."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_medicosam.core.geometry import SlicePlane
from napari_medicosam.core.prompts import BoxPrompt, ObjectPrompts, PointPrompt, PromptSet
from napari_medicosam.errors import FileError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medicosam.io.volumes import Volume


class ObjectRecord(BaseModel):
    """One object of a prompts file. Points and boxes are lists, or text as `--point` and `--box` take it."""

    model_config = ConfigDict(extra="forbid")

    id: int | None = Field(default=None, ge=1, le=2**32 - 1)
    name: str = ""
    points: list[str | list[bool | float | str]] = []
    boxes: list[str | list[float]] = []
    mask: str | None = None
    mask_label: int | None = None


class PromptsFile(BaseModel):
    """`{"objects": [{"id", "name", "points", "boxes", "mask", "mask_label"}]}`."""

    model_config = ConfigDict(extra="forbid")

    objects: list[ObjectRecord]


_SIGNS: dict[Any, bool] = {"+": True, "-": False, 1: True, 0: False}


@dataclass(slots=True)
class _Slice:
    points: list[PointPrompt] = field(default_factory=list)
    box: BoxPrompt | None = None
    mask: NDArray[np.bool_] | None = None


class PromptCollector:
    """Sorts the prompts of one object by slice along one axis of one image."""

    def __init__(self, image: Volume, axis: int) -> None:
        self._image, self._axis = image, axis
        self._slices: dict[int, _Slice] = defaultdict(_Slice)

    def add_point(self, fields: str | Sequence[float | str], where: str) -> None:
        """A point Z,Y,X,+|- in voxels; a 2D image leaves out Z; without a sign it is positive.

        In a list, true and 1 also stand for +, false and 0 for -.
        """
        values = _fields(fields)
        count = 2 if self._image.is_2d else 3
        wanted = "Y,X,+ or Y,X,-" if self._image.is_2d else "Z,Y,X,+ or Z,Y,X,-"
        positive = True
        if len(values) == count + 1 and values[-1] in _SIGNS:
            positive = _SIGNS[values.pop()]
        position = self._numbers(values, count, where, wanted)
        if self._image.is_2d:
            position = [0.0, *position]
        index = round(position.pop(self._axis))
        self._slice(index, where).points.append(PointPrompt((position[0], position[1]), positive))

    def add_box(self, fields: str | Sequence[float | str], where: str) -> None:
        """A box Z,Y0,X0,Y1,X1: slice along the axis, then half-open rows and columns; a 2D image leaves out Z."""
        wanted = "Y0,X0,Y1,X1" if self._image.is_2d else "Z,Y0,X0,Y1,X1"
        numbers = self._numbers(_fields(fields), 4 if self._image.is_2d else 5, where, wanted)
        index = 0 if self._image.is_2d else round(numbers.pop(0))
        here = self._slice(index, where)
        if here.box is not None:
            raise InputError(
                f"{where}: a second box for the same object on slice {index}; an object has one box a slice, "
                "several objects go into a --prompts file"
            )
        here.box = BoxPrompt(*numbers)

    def add_mask(self, mask_zyx: NDArray[np.bool_], where: str) -> None:
        """A mask of the image's shape: a mask prompt on every slice that it touches."""
        shape = self._image.geometry.shape_zyx
        if mask_zyx.shape != shape:
            raise InputError(f"{where}: the mask has shape {mask_zyx.shape}, wanted the image's {shape}")
        others = tuple(axis for axis in range(3) if axis != self._axis)
        indices = np.flatnonzero(mask_zyx.any(axis=others))
        if indices.size == 0:
            raise InputError(f"{where}: the mask is empty")
        for index in indices:
            plane = SlicePlane(self._axis, int(index))
            self._slices[int(index)].mask = plane.cut(mask_zyx)

    def collect(self, object_id: int, name: str = "") -> ObjectPrompts:
        """All prompts of the object, checked against the image's size."""
        sets = []
        for index, here in sorted(self._slices.items()):
            prompts = PromptSet(SlicePlane(self._axis, index), tuple(here.points), here.box, here.mask)
            prompts.check(prompts.plane.size_yx(self._image.geometry.shape_zyx))
            sets.append(prompts)
        return ObjectPrompts(object_id, tuple(sets), name)

    def _slice(self, index: int, where: str) -> _Slice:
        count = self._image.geometry.shape_zyx[self._axis]
        if not 0 <= index < count:
            raise InputError(
                f"{where}: slice {index} is outside the image, axis {self._axis} has 0..{count - 1}"
            )
        return self._slices[index]

    def _numbers(self, values: Sequence[float | str], count: int, where: str, wanted: str) -> list[float]:
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            numbers = []
        if len(numbers) != count or not np.isfinite(numbers).all():
            given = ",".join(str(value) for value in values)
            raise InputError(f"{where}: cannot read {given!r}, wanted {wanted}")
        return numbers


def read_objects(
    points: Sequence[str], boxes: Sequence[str], prompts: Path | None, image: Volume, axis: int
) -> list[ObjectPrompts]:
    """The objects to segment: the single one of `--point` and `--box`, or those of a prompts file.

    Raises:
        InputError: for none at all, both ways at once, or as `objects_from_file`.
    """
    if prompts is not None:
        if points or boxes:
            raise InputError("got --prompts with --point or --box: put all objects into the prompts file")
        return objects_from_file(prompts, image, axis)
    if not points and not boxes:
        raise InputError("nothing to segment: give --point, --box or --prompts")
    collector = PromptCollector(image, axis)
    for text in points:
        collector.add_point(text, f"--point {text}")
    for text in boxes:
        collector.add_box(text, f"--box {text}")
    return [collector.collect(1)]


def objects_from_file(path: Path, image: Volume, axis: int) -> list[ObjectPrompts]:
    """The objects of a prompts file; mask files are looked for beside it.

    Raises:
        FileError: when the file or a mask file cannot be read.
        InputError: for fields of a wrong form, two objects with one id, or prompts outside the image.
    """
    parsed = read_prompts_file(path)
    found: list[ObjectPrompts] = []
    for number, record in enumerate(parsed.objects, start=1):
        where = f"{path.name}, object {record.id or number}"
        collector = PromptCollector(image, axis)
        for point in record.points:
            collector.add_point(point, where)
        for box in record.boxes:
            collector.add_box(box, where)
        if record.mask is not None:
            collector.add_mask(_mask_of(path.parent / record.mask, record.mask_label, image), where)
        found.append(collector.collect(number if record.id is None else record.id, record.name))
    ids = [wanted.object_id for wanted in found]
    for object_id in ids:
        if ids.count(object_id) > 1:
            raise InputError(f"{path}: id {object_id} is used by {ids.count(object_id)} objects")
    return found


def read_prompts_file(path: Path) -> PromptsFile:
    """The records of a prompts file, at least one.

    Raises:
        FileError: when it cannot be read.
        InputError: for fields of a wrong form, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # the list of objects may also stand alone
        parsed = PromptsFile.model_validate({"objects": content} if isinstance(content, list) else content)
    except ValidationError as error:  # a ValueError too, so it comes first
        raise InputError(f"{path}: {first_problem(error)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"cannot read prompts from {path}: {error}") from error
    if not parsed.objects:
        raise InputError(f"{path} lists no object")
    return parsed


def _mask_of(path: Path, label: int | None, image: Volume) -> NDArray[np.bool_]:
    from napari_medicosam.io.volumes import read_labels

    labels = read_labels(path)
    if not image.is_2d and not labels.geometry.equals(image.geometry):
        raise InputError(
            f"mask {path.name} lies on another voxel grid than the image: its shape is "
            f"{labels.geometry.shape_zyx} and its affine\n{labels.geometry.affine_ras}\nwanted "
            f"{image.geometry.shape_zyx} and\n{image.geometry.affine_ras}"
        )
    array: NDArray[Any] = labels.array
    return np.asarray(array != 0 if label is None else array == label)


def _fields(given: str | Sequence[float | str]) -> list[float | str]:
    return [*given.split(",")] if isinstance(given, str) else [*given]


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a record of the user's, and where."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{place}: {first['msg']}"
